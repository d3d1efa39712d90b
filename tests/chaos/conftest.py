import os
import pathlib
import signal
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / "e2e")]


@pytest.fixture(autouse=True)
def deadline():
    """A run that hangs is a failed one. A test sets the alarm itself, as it knows how long it runs."""
    def late(*_):
        raise TimeoutError("the run took longer than its limit")

    signal.signal(signal.SIGALRM, late)
    yield
    signal.alarm(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and "hosts" in item.funcargs:
        report.sections.append(("hosts", item.funcargs["hosts"].log()))
    return report


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make namespaces and containers: run scripts/e2e.sh as root or through sudo", 2)
