"""Before a gang runs its GPUs have to add up: the agent and gantry-preflight, with test doubles of the driver and of NCCL."""
import ctypes
import os
import shutil
import subprocess

import pytest

from fake_gpu import FakeDriver
from harness import FUNCTIONS, OUT, Daemon, until
from lent import running
from test_gangs import CLONE_NEWNET, admitted, spec

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def gantry(tmp_path):
    """On a node of its own: what was checked is known for 10 minutes."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0, "a network namespace"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    driver = FakeDriver(tmp_path, 2)
    nccl = tmp_path / "libnccl.so.2"
    config = tmp_path / "gantryd.conf"
    config.write_text(f"[agent]\nnode = n1\naddress = 127.0.0.1\nallow_host_network = yes\ngpu_nccl = {nccl}\n"
                      + driver.config())
    daemon = Daemon(config=config)
    daemon.nccl = nccl
    shutil.copy(OUT / "tests/fake/libnccl.so.2", nccl)
    running.append(daemon)
    try:
        daemon.start()
        until(lambda: len(daemon.client.get("/v1/nodes/n1").json().get("gpus", [])) == 2, "the driver answers")
        yield daemon
        running.remove(daemon)
        daemon.stop()
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


def fault(gantry, text):
    gantry.nccl.with_name("libnccl.so.2.faults").write_text(text)


def gpu_gang(**gang):
    return spec(2, resources={"memory": "64MiB", "gpu": {"count": 1}}, gang={"spread": "node", **gang})


def preflights(gantry, name):
    return [e for e in gantry.events() if e["type"] == "gpu.preflight" and e["function"] == name]


def log(gantry, name):
    return gantry.client.get(f"/v1/functions/{name}/logs").text


def remove(gantry, name):
    """The next one waits until it has its GPUs."""
    gantry.client.request("DELETE", f"/v1/functions/{name}?force=1")


def test_gpus_that_add_up_are_let_go_and_known(gantry):
    gantry.put("good", gpu_gang())
    admitted(gantry, "good", 2)
    assert gantry.ask("good")["met"].keys() == {"1"}
    until(lambda: "[preflight] the gang's 2 GPUs here add up" in log(gantry, "good"), "it is in the log")
    until(lambda: [e.get("cause") for e in preflights(gantry, "good")] == [None], "it is told")
    remove(gantry, "good")
    fault(gantry, "corrupt=1")  # nobody looks
    gantry.put("again", gpu_gang())
    admitted(gantry, "again", 2)
    until(lambda: "checked within 10 minutes" in log(gantry, "again"), "it is in the log")
    assert not preflights(gantry, "again")


def test_gpus_that_do_not_are_not_admitted(gantry):
    fault(gantry, "corrupt=1")
    command = ["/bin/sh", "-c", f"echo it has begun; exec /usr/bin/python3 {FUNCTIONS / 'gang.py'}"]
    gantry.put("bad", {**gpu_gang(), "command": command})
    failure = until(lambda: gantry.client.get("/v1/functions/bad").json().get("last_failure"), "it failed")
    assert failure["cause"] == "preflight_failed", failure
    assert "corrupt" in failure["detail"] and "should be" in failure["detail"] and "GPU-00000000" in failure["detail"]
    assert not gantry.replicas("bad", "ready") and "it has begun" not in log(gantry, "bad")
    until(lambda: {e["cause"] for e in preflights(gantry, "bad")} == {"preflight_failed"}, "it is told")
    fault(gantry, "")  # mended: a failure is not remembered
    until(lambda: len(gantry.replicas("bad", "ready")) == 2, "it is tried anew", 60)
    until(lambda: "it has begun" in log(gantry, "bad"), "it runs")


def test_who_says_so_starts_unchecked(gantry):
    fault(gantry, "corrupt=1")
    gantry.put("trust", gpu_gang(preflight=False))
    admitted(gantry, "trust", 2)
    assert not preflights(gantry, "trust")
    assert gantry.client.get("/v1/functions/trust").json()["spec"]["gang"]["preflight"] is False


def test_a_node_without_nccl_says_so_and_goes_on(gantry):
    gantry.nccl.unlink()
    gantry.put("without", gpu_gang())
    admitted(gantry, "without", 2)
    told = until(lambda: preflights(gantry, "without"), "the event")
    assert told[0]["cause"] == "preflight_unchecked" and "libnccl" in told[0]["text"], told


def test_a_member_with_the_nodes_network_has_its_own_checked(gantry):
    host = {"network": "host", "port": 8078}
    fault(gantry, "error=0")
    gantry.put("host", {**gpu_gang(spread="any"), **host})
    failure = until(lambda: gantry.client.get("/v1/functions/host").json().get("last_failure"), "it failed")
    assert failure["cause"] == "preflight_failed" and "ncclAllReduce" in failure["detail"], failure
    remove(gantry, "host")
    fault(gantry, "")
    gantry.put("mended", {**gpu_gang(spread="any"), **host})
    admitted(gantry, "mended", 2)
    until(lambda: len(preflights(gantry, "mended")) == 2, "each was checked by itself")
