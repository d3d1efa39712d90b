import itertools
import os
import signal

import pytest

from harness import SLOW, Daemon
from lent import checked, running, started
from rig import Rig


@pytest.fixture(scope="module")
def gantry():
    """The daemon of this module."""
    daemon = Daemon()
    running.append(daemon)
    daemon.start()
    yield daemon
    running.remove(daemon)
    daemon.stop()


@pytest.fixture(scope="module")
def module_rig():
    with started(Rig()) as rig:
        yield rig


@pytest.fixture
def rig(module_rig):
    """The gateway alone between peers that the test plays, and the proof that nothing leaks."""
    yield from checked(module_rig)


@pytest.fixture(scope="module")
def module_tls_rig():
    with started(Rig(tls=True)) as rig:
        yield rig


@pytest.fixture(params=["plain", "tls"])
def either_rig(request):
    """The same, once without and once with TLS."""
    tls = request.param == "tls"
    yield from checked(request.getfixturevalue("module_tls_rig" if tls else "module_rig"))


@pytest.fixture
def small_rig():
    """The same, with room for three clients."""
    with started(Rig("[gateway]\nmax_connections = 3\n")) as rig:
        yield from checked(rig)


@pytest.fixture
def poor_rig():
    """The same, under a hard limit of descriptors far below what its connections may be."""
    with started(Rig(descriptors=400)) as rig:
        yield from checked(rig)


@pytest.fixture
def own():
    """Makes daemons for one test: own(), own(config=FILE), own(state=DIR). Started, and ended after it."""
    made = []

    def make(**more):
        daemon = Daemon(**more)
        made.append(daemon)
        running.append(daemon)
        return daemon.start()

    yield make
    for daemon in made:
        running.remove(daemon)
    for daemon in made:
        daemon.stop()


numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def deadline(request):
    """A test that hangs is a failed one, with the place where it hangs."""
    def late(*_):
        raise TimeoutError("the test took longer than its limit")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(240 if "llm" in request.node.nodeid else 90 * SLOW)
    yield
    signal.alarm(0)


@pytest.fixture
def name(gantry):
    """A function name of this test's own; the function is deleted afterwards."""
    unique = f"f{next(numbers)}"
    yield unique
    gantry.client.request("DELETE", f"/v1/functions/{unique}?force=1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for daemon in running:
            report.sections.append(("gantryd", daemon.log()[-20000:]))
    return report


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make containers: run scripts/e2e.sh as root or through sudo", 2)
    # A cut-off run must still end its daemons.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
