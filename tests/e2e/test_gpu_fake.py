"""GPUs by a driver that the test plays: what a node finds and shows, what it does when a GPU, the driver or a program
on it is not well, and what of it a user can see."""
import os
import re
import signal
import subprocess

import pytest

from fake_gpu import GIB, FakeDriver
from harness import BIN, Daemon, comm, probe_spec, proc_state, until
from test_contract import check


def start(folder, count=2, before=None):
    driver = FakeDriver(folder, count)
    if before:
        before(driver)
    config = folder / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\n" + driver.config())
    daemon = Daemon(config=config)
    daemon.start()
    daemon.driver = driver
    return daemon


@pytest.fixture
def gantry(tmp_path):
    daemon = start(tmp_path, before=lambda driver: driver.set(1, gpm={"1": 50, "5": 12.5, "10": 25, "20": 3, "21": 4}))
    until(lambda: driver_state(daemon) == "ready", "the driver answers")
    yield daemon
    daemon.stop()


def node(gantry):
    return gantry.client.get("/v1/nodes/n1").json()


def driver_state(gantry):
    return node(gantry).get("gpu_driver", {}).get("state")


def gpu(gantry, number):
    return node(gantry)["gpus"][number]


def deploy(gantry, name, want=None, **more):
    gantry.put(name, probe_spec(resources={"memory": "64MiB", "gpu": want or {"count": 1}},
                                scale={"min": 1, "max": 1}, **more))
    return gantry.wait_replicas(name, 1)[0]


def place(gantry, replica):
    return next(i for i, g in enumerate(node(gantry)["gpus"]) if g["uuid"] == replica["gpus"][0]["uuid"])


def log(gantry, name):
    return gantry.client.get(f"/v1/functions/{name}/logs").text


def cli(gantry, *words):
    env = {**os.environ, "GANTRY_URL": gantry.url, "GANTRY_TOKEN": gantry.token}
    return subprocess.run([str(BIN / "gantry"), *words], env=env, capture_output=True, text=True, check=True).stdout


def events(gantry, kind):
    return [e for e in gantry.events() if e["type"] == kind]


def moved(gantry, name, old):
    return until(lambda: [r for r in gantry.replicas(name, "ready") if r["id"] != old["id"]],
                 f"another replica of {name}", 20)[0]


def test_a_container_has_its_gpu_and_no_other(gantry):
    """Nodes without a driver: what is let through opens with ENXIO."""
    script = ("cd /dev; echo nodes nvidia*; (exec 3</dev/nvidia$0) 2>&1; ls /proc/driver/nvidia/gpus; nvidia-smi; "
              "cat $(echo $LD_LIBRARY_PATH | cut -d: -f1)/libcuda.so.1; echo cuda $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES; "
              "echo caps $NVIDIA_DRIVER_CAPABILITIES; echo said; exec sleep 1000")
    gantry.put("has", {"image": "host:", "command": ["/bin/sh", "-c", script, "0"], "port": 8000, "scale": {"min": 1, "max": 1},
                       "env": {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,graphics"},
                       "resources": {"memory": "64MiB", "gpu": {"count": 1}}})
    text = until(lambda: (t := log(gantry, "has")) and "said" in t and t, "the program said it")
    replica = gantry.replicas("has")[0]
    number, uuid = place(gantry, replica), replica["gpus"][0]["uuid"]
    assert f"nodes nvidia-uvm nvidia-uvm-tools nvidia{number} nvidiactl" in text, text
    assert number != 0 or "/dev/nvidia0: No such device or address" in text, text
    assert f'"line":"{gantry.driver.root.pci[number]}"' in text and "this is nvidia-smi" in text, text
    assert '"line":"libcuda.so"' in text and f"cuda {uuid} {uuid}" in text and '"line":"caps compute,utility"' in text, text


def test_a_node_shows_what_the_driver_found(gantry):
    view = node(gantry)
    until(lambda: node(gantry)["gpu_driver"]["checkpoints"] == "yes", "CUDA was loaded")
    assert view["gpu_driver"]["backend"] == "fake" and view["gpu_driver"]["version"] == "580.95.05"
    first = view["gpus"][0]
    assert first["pci"] == "0000:c0:00.0" and first["minor"] == 0 and first["capability"] == "9.0"
    assert first["health"] == "well" and first["healthy"] and first["memory_bytes"] == 80 * GIB
    check("listNodes", gantry.client.get("/v1/nodes"))
    assert "2 x NVIDIA H100 80GB HBM3 80 GiB (fake)" in cli(gantry, "nodes")


def test_dashboards_for_dcgm_find_their_names(gantry):
    until(lambda: any(k.startswith("DCGM_FI_DEV_GPU_TEMP{") for k in gantry.metrics()), "GPUs are measured", 20)
    found = gantry.metrics()
    names = {k.split("{")[0] for k in found}
    assert len([n for n in names if n.startswith("DCGM_FI_DEV_")]) >= 20, names
    temperature = next(k for k in found if k.startswith("DCGM_FI_DEV_GPU_TEMP{"))
    for label in ("gpu=", "UUID=", "pci_bus_id=", "device=", "modelName=", "Hostname=", "DCGM_FI_DRIVER_VERSION=",
                  'backend="fake"'):
        assert label in temperature
    assert found[temperature] == 41
    used = next(v for k, v in found.items() if k.startswith("DCGM_FI_DEV_FB_FREE{"))
    assert used == 80 * 1024 - 512  # MiB
    until(lambda: any(k.startswith("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{") for k in gantry.metrics()), "the tensor panel has an answer", 20)
    prof = {k: v for k, v in gantry.metrics().items() if k.startswith("DCGM_FI_PROF_")}
    assert all('gpu="1"' in k for k in prof)  # the other one does not count them
    assert {k.split("{")[0]: v for k, v in prof.items()} == {"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.5, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.125, "DCGM_FI_PROF_DRAM_ACTIVE": 0.25,
                    "DCGM_FI_PROF_PCIE_TX_BYTES": 3 << 20, "DCGM_FI_PROF_PCIE_RX_BYTES": 4 << 20}
    # What the panels of its stock dashboard ask for, of a host and a GPU of their lists.
    for name in ("DEV_GPU_TEMP", "DEV_POWER_USAGE", "DEV_SM_CLOCK", "DEV_FB_USED", "DEV_FB_FREE", "PROF_GR_ENGINE_ACTIVE", "PROF_PIPE_TENSOR_ACTIVE"):
        assert [k for k in gantry.metrics() if k.startswith(f"DCGM_FI_{name}{{") and 'gpu="1"' in k and 'Hostname="n1"' in k], name
    gantry.driver.set(0, temperature=None)  # what the driver does not tell is not there
    until(lambda: len([k for k in gantry.metrics() if k.startswith("DCGM_FI_DEV_GPU_TEMP{")]) == 1, "it is gone", 20)
    assert not any(v > 9e18 for v in gantry.metrics().values())


def test_a_gpu_that_fell_off_fails_over(gantry):
    old = deploy(gantry, "web")
    number = place(gantry, old)
    gantry.driver.xid(number, 79)
    new = moved(gantry, "web", old)
    assert place(gantry, new) != number
    assert gpu(gantry, number)["health"] == "lost" and not gpu(gantry, number)["healthy"]
    assert gpu(gantry, number)["reason"] == "XID 79: the GPU has fallen off the bus"
    # The new one was not to wait for the end of the old one.
    until(lambda: old["id"] in [r["id"] for r in gantry.replicas("web", "failed", "stopped")], "the old one ended")
    until(lambda: events(gantry, "gpu.health") and events(gantry, "gpu.xid"), "events tell of it")
    assert "XID 79" in events(gantry, "gpu.health")[0]["text"]
    uuid = gpu(gantry, number)["uuid"]
    assert f"[gpu-health] [CRITICAL] {uuid}: XID 79: the GPU has fallen off the bus" in log(gantry, "web")
    assert re.search(rf"n1: {uuid} is lost: XID 79", cli(gantry, "nodes"))
    assert gantry.metrics()[f'gantry_gpu_health{{node="n1",gpu="{uuid}",model="NVIDIA H100 80GB HBM3",backend="fake"}}'] == 3


def test_a_gpu_that_needs_a_reset_is_drained(gantry):
    old = deploy(gantry, "web")
    number = place(gantry, old)
    gantry.driver.event(number, 95)
    new = moved(gantry, "web", old)
    assert place(gantry, new) != number
    sick = gpu(gantry, number)
    assert sick["health"] == "reset"
    reply = gantry.client.request("POST", f"/v1/nodes/n1/gpus/{sick['uuid']}/clear")
    check("clearGpu", reply)
    assert reply.json() == {"uuid": sick["uuid"], "health": "well"}
    until(lambda: gpu(gantry, number)["healthy"], "it takes replicas again")
    assert gantry.client.request("POST", "/v1/nodes/n1/gpus/GPU-no/clear").status == 404
    gantry.driver.event(number, 46)
    until(lambda: not gpu(gantry, number)["healthy"], "another error")
    assert cli(gantry, "node", "clear", "n1", sick["uuid"]) == f"{sick['uuid']} on n1 is well\n"
    until(lambda: gpu(gantry, number)["healthy"], "it takes replicas again")
    gantry.driver.set(number, recovery=2)  # the driver's word stays
    until(lambda: gpu(gantry, number)["health"] == "drain", "the driver says so")
    assert re.match(rf"{sick['uuid']} on n1 is drain: \S", cli(gantry, "node", "clear", "n1", sick["uuid"]))


def test_the_driver_s_word_drains_and_gives_back(gantry):
    old = deploy(gantry, "web")
    number = place(gantry, old)
    gantry.driver.set(number, recovery=2)
    assert place(gantry, moved(gantry, "web", old)) != number
    assert gpu(gantry, number)["health"] == "drain"
    gantry.driver.set(number, recovery=0)
    until(lambda: gpu(gantry, number)["healthy"], "it is well again")


def test_an_error_of_a_program_restarts_it(gantry):
    old = deploy(gantry, "web")
    other = deploy(gantry, "other")
    number = place(gantry, old)
    gantry.driver.event(number, 31)
    gantry.driver.xid(number, 31)  # the same one, told twice
    new = moved(gantry, "web", old)
    ended = next(r for r in gantry.replicas("web") if r["id"] == old["id"])
    assert ended["cause"] == "gpu_error" and "XID 31" in str(ended["end"])
    assert gpu(gantry, number)["healthy"] and place(gantry, new) == number
    assert gantry.replicas("other", "ready")[0]["id"] == other["id"]
    assert len(events(gantry, "gpu.xid")) == 1


def test_the_kernel_names_the_guilty_one(gantry):
    replicas = {name: deploy(gantry, name, {"share": 0.5, "memory": "30GiB"}) for name in ("left", "right")}
    assert place(gantry, replicas["left"]) == place(gantry, replicas["right"])
    gantry.driver.xid(place(gantry, replicas["left"]), 13, pid=replicas["left"]["pid"])
    moved(gantry, "left", replicas["left"])
    assert gantry.replicas("right", "ready")[0]["id"] == replicas["right"]["id"]


def test_a_storm_of_what_is_ignored_changes_nothing(gantry):
    replica = deploy(gantry, "web")
    number = place(gantry, replica)
    before = len(gantry.log())
    for _ in range(40):
        gantry.driver.kmsg("".join(f"NVRM: Xid (PCI:0000:{0xc0 + number:02x}:00): {xid}, x\n"
                                   for xid in (43, 45, 63, 92, 154) * 20))
    gantry.driver.xid(number, 31, pid=1)  # after them all; of a process that is no replica's
    until(lambda: any("XID 31" in e["text"] for e in events(gantry, "gpu.xid")), "it was read to the end", 20)
    assert gantry.replicas("web", "ready")[0]["id"] == replica["id"] and gpu(gantry, number)["healthy"]
    assert len(events(gantry, "gpu.xid")) <= 40
    assert len(gantry.log()) - before < 20000


def test_more_than_was_given_is_told_and_ended(gantry):
    replica = deploy(gantry, "greedy", {"memory": "10GiB"})
    number = place(gantry, replica)
    gantry.driver.set(number, processes=[{"pid": replica["pid"], "bytes": 10 * GIB}])
    until(lambda: gantry.replicas("greedy", "ready")[0].get("usage", {}).get("gpu_memory_bytes") == 10 * GIB, "it is seen", 20)
    gantry.driver.set(number, processes=[{"pid": replica["pid"], "bytes": 11 * GIB}])
    until(lambda: events(gantry, "gpu.overuse"), "the excess is told", 20)
    event = events(gantry, "gpu.overuse")[0]
    assert event["function"] == "greedy" and event["cause"] == "gpu_overuse" and "11264 MiB" in event["text"]
    assert gantry.replicas("greedy", "ready")[0]["id"] == replica["id"]
    gantry.driver.set(number, processes=[])
    gantry.put("greedy", probe_spec(resources={"memory": "64MiB", "gpu": {"memory": "10GiB", "overuse": "kill"}},
                                    scale={"min": 1, "max": 1}))
    replica = moved(gantry, "greedy", replica)
    until(lambda: len(gantry.replicas("greedy", "ready")) == 1, "the old one went")
    gantry.driver.set(place(gantry, replica), processes=[{"pid": replica["pid"], "bytes": 12 * GIB}])
    ended = until(lambda: [r for r in gantry.replicas("greedy", "failed") if r["id"] == replica["id"]], "it is ended", 20)
    assert ended[0]["cause"] == "gpu_overuse"


def test_what_others_have_is_not_given_away(gantry):
    gantry.driver.set(0, processes=[{"pid": os.getpid(), "bytes": 50 * GIB}])
    gantry.driver.set(1, processes=[{"pid": os.getpid(), "bytes": 70 * GIB}])
    until(lambda: [g.get("foreign_bytes") for g in node(gantry)["gpus"]] == [50 * GIB, 70 * GIB], "it is seen", 20)
    replica = deploy(gantry, "web", {"memory": "20GiB"})
    assert place(gantry, replica) == 0
    gantry.driver.set(1, processes=[])
    until(lambda: "foreign_bytes" not in gpu(gantry, 1), "it is free again", 20)


def test_what_a_dying_process_still_has_is_not_foreign(gantry):
    """The kernel shows it in no control group any more, and it may have been a replica's."""
    with subprocess.Popen(["true"]) as dying:
        until(lambda: proc_state(dying.pid) == "Z", "it has ended, and nobody waited for it")
        gantry.driver.set(0, processes=[{"pid": os.getpid(), "bytes": GIB}, {"pid": dying.pid, "bytes": 50 * GIB}])
        until(lambda: gpu(gantry, 0).get("foreign_bytes"), "it is seen", 20)
        assert gpu(gantry, 0)["foreign_bytes"] == GIB
        gantry.driver.set(0, processes=[])
        until(lambda: "foreign_bytes" not in gpu(gantry, 0), "it is free again", 20)


def gpud(gantry):
    found = [p for p in gantry.descendants() if comm(p) == "gantry-gpud"]
    return found[0] if found else None


def test_a_driver_that_crashes_takes_nobody_with_it(gantry):
    replica = deploy(gantry, "web")
    agent = gantry.roles()["agent"]
    first = until(lambda: gpud(gantry), "gpud has its name")
    os.kill(first, signal.SIGKILL)
    until(lambda: gpud(gantry) not in (None, first) and driver_state(gantry) == "ready", "another gpud", 20)
    gantry.driver.call("nvmlDeviceGetTemperature", "crash")
    until(lambda: driver_state(gantry) == "failed", "it crashes", 20)
    assert gantry.call("web").status == 200
    gantry.driver.call("nvmlDeviceGetTemperature", None)
    until(lambda: driver_state(gantry) == "ready", "the driver is back", 40)
    assert gantry.roles()["agent"] == agent
    assert gantry.replicas("web", "ready")[0]["id"] == replica["id"]


def test_replicas_outlive_an_agent_that_does_not_know_its_gpus_yet(gantry):
    replica = deploy(gantry, "web")
    agent = gantry.roles()["agent"]
    gantry.driver.call("nvmlInit_v2", "hang")
    os.kill(agent, signal.SIGKILL)
    until(lambda: gantry.roles().get("agent") not in (None, agent) and node(gantry)["state"] == "ready", "another agent", 20)
    until(lambda: driver_state(gantry) == "starting", "its driver hangs")
    assert gantry.replicas("web", "ready")[0]["id"] == replica["id"] and gantry.call("web").status == 200
    assert sum(g["taken"] for g in node(gantry)["gpus"]) == 1 and "H100" in cli(gantry, "nodes")
    gantry.driver.call("nvmlInit_v2", None)
    os.kill(until(lambda: gpud(gantry), "gpud has its name"), signal.SIGKILL)
    until(lambda: driver_state(gantry) == "ready", "the driver answers", 20)
    assert gantry.replicas("web", "ready")[0]["id"] == replica["id"]
    assert sum(g["taken"] for g in node(gantry)["gpus"]) == 1


def test_what_a_node_does_not_know_yet_may_come(tmp_path):
    """A driver that takes longer to begin than a node does: its GPUs are awaited, not missing."""
    daemon = start(tmp_path, before=lambda d: d.call("nvmlInit_v2", "wait"))
    try:
        until(lambda: driver_state(daemon) == "starting", "the node says it")
        assert "not known yet" in cli(daemon, "nodes")
        check("listNodes", daemon.client.get("/v1/nodes"))
        daemon.put("web", probe_spec(resources={"memory": "64MiB", "gpu": {"count": 2}}))
        call = daemon.client.background("GET", "/f/web/", timeout=60)
        blocked = until(lambda: events(daemon, "scale.blocked"), "it waits")[0]
        assert "not known yet on node n1" in blocked["text"], blocked
        daemon.driver.call("nvmlInit_v2", None)
        assert call.result(60).status == 200
        assert len(daemon.replicas("web", "ready")[0]["gpus"]) == 2
    finally:
        daemon.stop()


def test_what_no_driver_tells_of_is_refused(tmp_path):
    daemon = start(tmp_path, before=lambda d: d.call("nvmlInit_v2", "wait"))
    try:
        until(lambda: driver_state(daemon) == "starting", "the node says it")
        daemon.driver.call("nvmlInit_v2", 18)
        until(lambda: driver_state(daemon) == "failed", "the driver failed")
        spec = probe_spec(resources={"memory": "64MiB", "gpu": {"count": 1}})
        reply = daemon.client.request("PUT", "/v1/functions/web", spec)
        assert reply.status == 422 and "no node has a GPU" in reply.text, reply
    finally:
        daemon.stop()


@pytest.mark.parametrize("call,what,state,words", [
    ("nvmlInit_v2", 18, "failed", "different versions"),
    ("nvmlInit_v2", 34, "failed", "stub"),
    ("nvmlInit_v2", 9, "failed", "modprobe"),
    ("nvmlInit_v2", "hang", "starting", "not answered"),
    ("nvmlInit_v2", "crash", "failed", "signal"),
])
def test_a_node_starts_whatever_its_driver_does(tmp_path, call, what, state, words):
    daemon = start(tmp_path, before=lambda d: d.call(call, what))
    try:
        until(lambda: driver_state(daemon) == state, "the node says it")
        until(lambda: words in node(daemon)["gpu_driver"]["text"], words)
        assert node(daemon)["gpus"] == [] and words in cli(daemon, "nodes")
        daemon.echo("plain")
        assert daemon.call("plain").status == 200
    finally:
        daemon.stop()


def test_without_a_driver_a_node_says_what_is_missing(tmp_path):
    config = tmp_path / "gantryd.conf"
    config.write_text(f"[agent]\nnode = n1\ngpus = nvidia\ngpu_driver_root = {tmp_path}\n")
    daemon = Daemon(config=config)
    daemon.start()
    try:
        until(lambda: driver_state(daemon) == "failed", "the node says it")
        assert "libnvidia-ml.so.1 is not there" in node(daemon)["gpu_driver"]["text"]
        assert "libnvidia-ml.so.1 is not there" in daemon.log()
    finally:
        daemon.stop()


def test_no_program_is_linked_to_the_driver():
    for program in ("gantryd", "gantry"):
        done = subprocess.run(["ldd", str(BIN / program)], capture_output=True, text=True, check=True)
        assert not re.search("nvidia|libcuda|libnccl", done.stdout)
