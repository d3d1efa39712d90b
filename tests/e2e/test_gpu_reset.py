"""The program that resets a GPU: when it is run, with what, and what follows. The driver is played by the test."""
import pathlib

import pytest

from fake_gpu import FakeDriver
from harness import Daemon, probe_spec, until

# Says who of the agent's children lives, and what it was given; then does as it is told.
PROGRAM = """#!/usr/bin/python3
import os, pathlib, sys, time
def is_gpud(p):
    try:
        stat = (p / "stat").read_text()
        return int(stat[stat.rindex(")") + 2:].split()[1]) == os.getppid() and b"gpud" in (p / "cmdline").read_bytes()
    except (OSError, ValueError):
        return False
here = pathlib.Path({folder!r})
gpuds = sum(is_gpud(p) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit())
with open(here / "runs", "a") as f:
    print(sys.argv[1:], gpuds, os.environ["GANTRY_GPU_PCI"], os.environ["GANTRY_GPU_MINOR"], os.environ["GANTRY_GPU_REASON"],
          len(os.listdir("/proc/self/fd")), file=f)
print("reset it\\x1b[31m")
sys.exit(int((here / "status").read_text()))
"""


@pytest.fixture
def gantry(tmp_path):
    driver = FakeDriver(tmp_path, 2)
    program, config = tmp_path / "reset", tmp_path / "gantryd.conf"
    program.write_text(PROGRAM.format(folder=str(tmp_path)))
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    config.write_text(f"[agent]\nnode = n1\ngpu_reset = {program}\n" + driver.config())
    daemon = Daemon(config=config).start()
    daemon.driver, daemon.program, daemon.folder = driver, program, tmp_path
    until(lambda: node(daemon).get("gpu_driver", {}).get("state") == "ready", "the driver answers")
    yield daemon
    daemon.stop()


def node(gantry):
    return gantry.client.get("/v1/nodes/n1").json()


def health(gantry, number):
    return node(gantry)["gpus"][number]["health"]


def told(gantry):
    return [e for e in gantry.events() if e["type"] == "gpu.reset"]


def runs(gantry):
    path = pathlib.Path(gantry.folder / "runs")
    return path.read_text().splitlines() if path.exists() else []


def deploy(gantry):
    gantry.put("web", probe_spec(resources={"memory": "64MiB", "gpu": {"count": 1}}, scale={"min": 1, "max": 1}))
    replica = gantry.wait_replicas("web", 1)[0]
    return replica, next(i for i, g in enumerate(node(gantry)["gpus"]) if g["uuid"] == replica["gpus"][0]["uuid"])


def test_it_is_reset_when_its_replica_has_gone(gantry):
    replica, number = deploy(gantry)
    call = gantry.client.background("GET", "/f/web/hang?s=1.5", timeout=60)
    until(lambda: gantry.client.get("/v1/functions/web").json()["in_flight"] == 1, "the call is there")
    gantry.driver.xid(number, 62)
    until(lambda: health(gantry, number) == "reset", "it has to be reset")
    assert not runs(gantry) or call.value, "a call is on it"
    assert call.result(60).status == 200
    event = until(lambda: told(gantry), "it was reset", 30)[0]
    assert "it was reset: reset it [31m" in event["text"] and "cause" not in event, event
    uuid = replica["gpus"][0]["uuid"]
    assert len(runs(gantry)) == 1 and runs(gantry)[0].startswith(f"['{uuid}'] 0 0000:{0xc0 + number:02x}:00.0 {number} XID 62"), runs(gantry)
    assert runs(gantry)[0].endswith(" 5")  # three, its file, and the one that lists them
    until(lambda: health(gantry, number) == "well", "it is well")
    until(lambda: node(gantry)["gpu_driver"]["state"] == "ready", "the driver is asked again")
    types = [(e["type"], e.get("replica")) for e in gantry.events()]
    assert types.index(("replica.stopped", replica["id"])) < types.index(("gpu.reset", event.get("replica")))
    assert gantry.call("web").status == 200


def test_one_that_can_not_be_reset_stays_as_it_is(gantry):
    (gantry.folder / "status").write_text("3")
    gantry.driver.xid(1, 62)
    event = until(lambda: told(gantry), "it was tried", 20)[0]
    assert event["cause"] == "gpu_reset_failed" and "exit status 3: reset it" in event["text"], event
    assert health(gantry, 1) == "reset"
    gantry.driver.xid(0, 62)  # another one is tried at once, the same one is not
    until(lambda: len(told(gantry)) == 2, "the other one was tried", 20)
    assert len(runs(gantry)) == 2 and health(gantry, 1) == "reset"


def test_a_program_that_others_may_write_is_not_run(gantry):
    gantry.program.chmod(0o777)
    gantry.driver.xid(1, 62)
    event = until(lambda: told(gantry), "it is told", 20)[0]
    assert "must be a file that belongs to root" in event["text"] and not runs(gantry), event


def test_what_other_processes_have_is_waited_for(gantry):
    gantry.driver.set(1, processes=[{"pid": 1, "bytes": 1 << 30}])
    until(lambda: node(gantry)["gpus"][1].get("foreign_bytes"), "it is seen", 20)
    gantry.driver.xid(1, 62)
    until(lambda: health(gantry, 1) == "reset", "it has to be reset")
    gantry.driver.xid(0, 62)  # a look at all of them
    until(lambda: told(gantry), "the other one was reset", 20)
    assert len(runs(gantry)) == 1 and node(gantry)["gpus"][0]["uuid"] in runs(gantry)[0]
    gantry.driver.set(1, processes=[])
    until(lambda: len(runs(gantry)) == 2, "then this one is", 20)
