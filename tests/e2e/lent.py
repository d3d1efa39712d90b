"""Daemons and rigs of the tests that run: whoever fails shows their logs (conftest.py)."""
import contextlib

from harness import until

running = []


def checked(rig):
    """Lends it; afterwards it must hold no more than before: no call, no connection."""
    rig.reset()
    before = rig.sockets()
    yield rig
    rig.close_peers()
    for name in rig.routes:
        rig.wait_calls(0, 0, name)
    until(lambda: rig.sockets() <= before, f"the gateway has {before} sockets again")


@contextlib.contextmanager
def started(rig):
    running.append(rig)
    try:
        yield rig
    finally:
        running.remove(rig)
        rig.stop()
