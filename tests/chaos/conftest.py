import os
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / "e2e")]


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make namespaces and containers: run scripts/e2e.sh as root or through sudo", 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and "hosts" in item.funcargs:
        report.sections.append(("hosts", item.funcargs["hosts"].log()))
    return report
