import itertools
import os
import signal

import pytest

from gateway_rig import Rig
from harness import SLOW, Daemon, until

running = []


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
def rig_process():
    gateway = Rig()
    running.append(gateway)
    yield gateway
    running.remove(gateway)
    gateway.stop()


@pytest.fixture
def rig(rig_process):
    """The gateway alone between peers that the test plays. After the test it must hold no more than
    before it: no call, no connection, no descriptor."""
    rig_process.reset()
    before = rig_process.fds()
    yield rig_process
    rig_process.close_peers()
    for name in rig_process.routes:
        rig_process.wait_calls(0, 0, name)
    until(lambda: rig_process.fds() <= before,
          f"the gateway has its {before} descriptors again, not {rig_process.fds()}")


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
            report.sections.append(("gantryd", daemon.log()[-6000:]))
    return report


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make containers: run scripts/e2e.sh as root or through sudo", 2)
    # A cut-off run must still end its daemons.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
