"""Functions that are too large together for one GPU take turns on it: by calls alone, with the memory of the GPU in
the books of everybody, and with what a driver may do wrong. The GPU is simulated; the calls to its driver, their order and
their errors are not."""
import json
import time

import pytest

from fake_gpu import FakeDriver
from harness import Daemon, crash, echo_spec, until

PARK = {"method": "auto", "after": "60s"}


@pytest.fixture
def own(tmp_path):
    daemons = []

    def make(**script):
        name = tmp_path / "script.json"
        name.write_text(json.dumps({"bandwidth_bytes": 100 << 30, **script}))
        config = tmp_path / "gantryd.conf"
        config.write_text(f"[agent]\nnode = n1\nparking_memory = 64GiB\ngpus = sim:1x8GiB:H100,script={name}\n")
        daemons.append(Daemon(config=config))
        return daemons[-1].start()

    yield make
    for daemon in daemons:
        daemon.stop()


@pytest.fixture
def fake(tmp_path):
    """A GPU of 80 GiB by a driver that a test plays, and 4 GiB of memory for parked replicas."""
    driver = FakeDriver(tmp_path, 1)
    config = tmp_path / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\nparking_memory = 4GiB\n" + driver.config())
    daemon = Daemon(config=config).start()
    daemon.driver = driver
    until(lambda: daemon.client.get("/v1/nodes/n1").json().get("gpu_driver", {}).get("checkpoints") == "yes", "it can park", 20)
    yield daemon
    daemon.stop()


def deploy(daemon, name, **more):
    daemon.put(name, echo_spec(**{"resources": {"memory": "64MiB", "gpu": {"share": 0.6}}, "park": PARK, **more}))


def call_ok(daemon, name, path="/"):
    reply = daemon.call(name, path)
    assert reply.status == 200, reply
    return reply


def taken(daemon):
    return daemon.client.get("/v1/nodes/n1").json()["gpus"][0]["taken"]


def view(daemon, name):
    return daemon.client.get(f"/v1/functions/{name}").json()


def test_four_functions_of_sixty_percent_share_one_gpu(own):
    daemon = own()
    names = ("a", "b", "c", "d")
    for name in names:
        deploy(daemon, name)
    ids = {name: call_ok(daemon, name).headers["Gantry-Replica"] for name in names}
    for _ in range(3):
        for name in names:
            assert call_ok(daemon, name).headers["Gantry-Replica"] == ids[name]
            assert taken(daemon) <= 1
    for name in names:
        assert view(daemon, name)["starts_total"] == 1, name
        replica = daemon.replicas(name, "ready", "parked")[0]
        assert replica["park"]["method"] == "cuda" and replica["park"]["refused"] == 0
        assert ("gpus" in replica) == (replica["state"] == "ready")
    assert sum(v for k, v in daemon.metrics().items() if k.startswith("gantry_parks_total") and "refused" in k) == 0
    decisions = daemon.client.get("/v1/functions/a/autoscaler/decisions").json()["items"]
    assert any(d["kind"] == "park" and d["outcome"].get("for") in names for d in decisions)
    for name in names:
        daemon.client.request("DELETE", f"/v1/functions/{name}?force=1")
    until(lambda: taken(daemon) == 0, "the GPU is free", 20)


def test_one_that_was_given_a_gpu_is_parked_by_what_it_has_there(fake):
    """As soon as it serves: the memory of the whole GPU is far more than a node can spare."""
    for name in ("a", "b"):
        deploy(fake, name, resources={"memory": "64MiB", "gpu": {"count": 1}}, park={"method": "cuda", "after": "60s"})
    first = call_ok(fake, "a").headers["Gantry-Replica"]
    replica = fake.replicas("a", "ready")[0]
    fake.driver.set(0, processes=[{"pid": replica["pid"], "bytes": 1 << 30}])
    call_ok(fake, "b")
    parked = fake.replicas("a", "parked")
    assert [r["id"] for r in parked] == [first], fake.replicas("a")
    assert call_ok(fake, "a").headers["Gantry-Replica"] == first
    assert view(fake, "a")["starts_total"] == view(fake, "b")["starts_total"] == 1


def test_one_whose_processes_nobody_knows_is_not_parked(fake):
    """The driver tells of a process that is not there by that number: whose memory is it?"""
    for name in ("a", "b"):
        deploy(fake, name, resources={"memory": "64MiB", "gpu": {"count": 1}}, park={"method": "cuda", "after": "60s"})
    first = call_ok(fake, "a").headers["Gantry-Replica"]
    fake.driver.set(0, processes=[{"pid": 4194304, "bytes": 1 << 30}])
    call = fake.client.background("GET", "/f/b/", timeout=60)
    refused = until(lambda: [e for e in fake.events() if e["type"] == "replica.park_refused"], "it is not parked", 20)
    assert refused[0]["replica"] == first and "its processes on the GPU could not be found" in refused[0]["text"], refused
    fake.driver.set(0, processes=[])
    assert call.result(60).status == 200


def test_busy_functions_take_turns_and_neither_starves(own):
    daemon = own()
    begin, calls = time.monotonic(), {}
    for name in ("a", "b"):
        deploy(daemon, name, scale={"concurrency": 1, "max": 1})
        calls[name] = [daemon.client.background("GET", f"/f/{name}/sleep?ms=100", timeout=120) for _ in range(60)]
    for name in ("a", "b"):  # each has 6 s of work: both must have had the GPU in between
        assert [c.result(120).status for c in calls[name]] == [200] * 60
        assert view(daemon, name)["starts_total"] == 1
    swaps = sum(v for k, v in daemon.metrics().items() if k.startswith("gantry_parks_total") and '"park"' in k)
    assert 1 <= swaps <= 2 + (time.monotonic() - begin) / 2, swaps  # a turn lasts 2 s at least


def parked_by(daemon, first, second):
    """`first` is parked for a call of `second`."""
    deploy(daemon, first)
    deploy(daemon, second)
    replica = call_ok(daemon, first).headers["Gantry-Replica"]
    call_ok(daemon, second)
    return replica


def test_a_restore_that_fails_is_a_cold_start(own):
    daemon = own(faults=[{"op": "restore", "kind": "oom", "nth": 1}])
    first = parked_by(daemon, "a", "b")
    assert call_ok(daemon, "a").headers["Gantry-Replica"] != first
    ended = daemon.replicas("a", "failed")[0]
    assert ended["cause"] == "unpark_failed" and "did not restore" in ended["end"]["detail"], ended
    assert view(daemon, "a").get("failures", 0) == 0


def test_a_lock_that_times_out_leaves_it_as_it_is(own):
    daemon = own(faults=[{"op": "lock", "kind": "timeout", "nth": 1}])
    first = parked_by(daemon, "a", "b")  # at the second try
    assert call_ok(daemon, "a").headers["Gantry-Replica"] == first
    assert daemon.metrics()['gantry_parks_total{function="a",step="refused"}'] == 1


@pytest.mark.parametrize("op, victim", [("lock", "b"), ("checkpoint", "b"), ("restore", "a"), ("unlock", "a")])
def test_a_helper_that_dies_leaves_nothing_stuck(own, tmp_path, op, victim):
    """In the middle of a call of `victim`; the next helper would die of the same, were it not for a new script."""
    daemon = own(faults=[{"op": op, "kind": "crash", "nth": 1}])
    for name in ("a", "b"):
        deploy(daemon, name)
    call_ok(daemon, "a")
    if victim == "a":
        call_ok(daemon, "b")
    call = daemon.client.background("GET", f"/f/{victim}/", timeout=60)
    until(lambda: f": {op}: " in daemon.log(), "the helper has died", 20)
    (tmp_path / "next.json").write_text(json.dumps({"bandwidth_bytes": 100 << 30}))
    (tmp_path / "next.json").rename(tmp_path / "script.json")  # who reads it finds one or the other
    assert call.result(60).status == 200
    for name in ("a", "b", "a"):
        call_ok(daemon, name)
    states = {r["state"] for name in "ab" for r in daemon.replicas(name)}
    assert states <= {"ready", "parked", "failed", "stopped", "parking"}, states
    assert taken(daemon) <= 1


def test_an_agent_that_dies_leaves_nothing_stuck(own):
    daemon = own()
    parked_by(daemon, "a", "b")
    crash(daemon, "agent")
    for name in ("a", "b", "a"):
        until(lambda n=name: daemon.call(n).status == 200, f"{name} answers", 30)
    assert taken(daemon) <= 1


def begins(daemon):
    driver = daemon.client.get("/v1/nodes/n1").json()["gpu_driver"]
    return driver["state"] == "starting" or driver.get("checkpoints") == "it is being loaded"


@pytest.mark.parametrize("slow", ["nvmlInit_v2", "cuInit"])
def test_one_that_is_parked_waits_for_a_driver_that_begins(fake, slow):
    """Its agent, and with it the process that talks to the driver, has just started: what it can not do yet it does later."""
    for name in ("a", "b"):
        deploy(fake, name, resources={"memory": "64MiB", "gpu": {"count": 1}}, park={"method": "cuda", "after": "60s"})
    first = call_ok(fake, "a").headers["Gantry-Replica"]
    fake.driver.set(0, processes=[{"pid": fake.replicas("a")[0]["pid"], "bytes": 1 << 30}])
    call_ok(fake, "b")
    assert [r["id"] for r in fake.replicas("a", "parked")] == [first]
    fake.delete("b")
    until(lambda: taken(fake) == 0, "the GPU is free")
    fake.driver.call(slow, "wait")
    crash(fake, "agent")
    until(lambda: begins(fake), "its driver begins")
    call = fake.client.background("GET", "/f/a/", timeout=60)
    until(lambda: fake.replicas("a", "unparking"), "it is woken")
    assert begins(fake)
    fake.driver.call(slow, None)
    reply = call.result(60)
    assert reply.status == 200 and reply.headers["Gantry-Replica"] == first
    assert view(fake, "a")["starts_total"] == 1
