"""Parking: an idle replica stays in memory and is back for the next call; it outlives each part of the daemon, and
nothing of it stays behind when it goes."""
import os
import signal
import subprocess

import pytest

from harness import BIN, FUNCTIONS, Daemon, alive, crash, echo_spec, until
from test_contract import check

PARK = {"method": "auto", "after": "100ms"}


@pytest.fixture
def own(tmp_path):
    daemons = []

    def make(text="[agent]\nnode = n1\nparking_memory = 1GiB\n"):
        config = tmp_path / f"gantryd{len(daemons)}.conf"
        config.write_text(text)
        daemon = Daemon(config=config)
        daemons.append(daemon)
        return daemon.start()

    yield make
    for daemon in daemons:
        daemon.stop()


def parked(daemon, name, count=1):
    return daemon.wait_replicas(name, count, "parked")


def deploy(daemon, name, **more):
    """Deploys the echo and calls it once; returns its replica, which is parked soon after."""
    daemon.put(name, echo_spec(**{"park": PARK, **more}))
    assert daemon.call(name).status == 200
    return daemon.replicas(name)[0]


def call_ok(daemon, name):
    reply = daemon.call(name)
    assert reply.status == 200, reply
    return reply


def engine(daemon, name, fail="", **more):
    spec = {"image": "host:", "command": ["/usr/bin/python3", "/engine/engine.py", "8000"], "port": 8000,
            "volumes": [{"host": str(FUNCTIONS), "path": "/engine"}], "env": {"FAIL": fail},
            "park": {**PARK, "http": {"sleep": "/sleep?level=1", "wake": "/wake_up"}}}
    daemon.put(name, {**spec, **more})
    return call_ok(daemon, name).headers["Gantry-Replica"]


def frozen(pid):
    """What the kernel says of its control group; None where there is none of version 2."""
    for line in open(f"/proc/{pid}/cgroup"):
        path = line.rstrip("\n").split(":", 2)[2]
        for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"):
            for name, yes in (("cgroup.events", "frozen 1"), ("freezer.state", "FROZEN")):
                try:
                    return yes in open(f"{base}{path}/{name}").read()
                except OSError:
                    pass
    return None


def test_an_idle_replica_is_parked_and_the_same_one_is_back(own):
    daemon = own()
    first = deploy(daemon, "p")
    view = parked(daemon, "p")[0]
    assert (view["id"], view["pid"]) == (first["id"], first["pid"])
    assert view["park"]["method"] == "freeze" and view["park"]["why"] == "it has no GPU"
    assert view["park"]["memory_bytes"] > 0 and view["park"]["parks"] == 1
    assert frozen(view["pid"]) is not False
    assert daemon.client.get("/v1/functions/p").json()["state"] == "parked"
    reply = call_ok(daemon, "p")
    assert reply.headers["Gantry-Replica"] == first["id"]
    after = daemon.replicas("p", "ready", "parking", "parked")[0]
    assert after["pid"] == first["pid"] and after["park"]["unparks"] == 1
    for _ in range(5):
        parked(daemon, "p")
        call_ok(daemon, "p")
    assert daemon.client.get("/v1/functions/p").json()["starts_total"] == 1


def test_it_is_seen_and_explained(own):
    daemon = own()
    deploy(daemon, "p")
    parked(daemon, "p")
    call_ok(daemon, "p")
    view = parked(daemon, "p")[0]
    check("listReplicas", daemon.client.get("/v1/functions/p/replicas"))
    check("getNode", daemon.client.get("/v1/nodes/n1"))
    node = daemon.client.get("/v1/nodes/n1").json()
    assert node["parking_bytes"] == 1 << 30 and node["parked_bytes"] == view["park"]["memory_bytes"]
    metrics = daemon.metrics()
    assert metrics['gantry_replicas{function="p",state="parked"}'] == 1
    assert metrics['gantry_parks_total{function="p",step="park"}'] == 2
    assert metrics['gantry_parks_total{function="p",step="unpark"}'] == 1
    assert metrics['gantry_node_parked_bytes{node="n1"}'] == node["parked_bytes"]
    page = daemon.client.get("/v1/functions/p/autoscaler/decisions")
    check("listDecisions", page)
    kinds = [(d["outcome"]["action"], d["why"]) for d in page.json()["items"] if d["kind"] == "park"]
    assert kinds == [("park", "idle"), ("unpark", "called"), ("park", "idle")]
    env = {**os.environ, "GANTRY_URL": daemon.url, "GANTRY_TOKEN": daemon.token}
    shown = subprocess.run([BIN / "gantry", "explain", "p"], env=env, capture_output=True, text=True, check=True).stdout
    assert "parks" in shown and "freeze" in shown and "unparks" in shown, shown
    shown = subprocess.run([BIN / "gantry", "ps"], env=env, capture_output=True, text=True, check=True).stdout
    assert "parked" in shown and "freeze: it has no GPU" in shown, shown


def test_without_park_it_is_stopped_as_ever(own):
    daemon = own()
    daemon.echo("plain", scale={"idle": "100ms"})
    call_ok(daemon, "plain")
    daemon.wait_zero("plain")
    assert daemon.replicas("plain")[0]["state"] == "stopped"


def test_a_node_without_memory_for_it_stops(own):
    daemon = own("[agent]\nnode = n1\nparking_memory = 0\n")
    deploy(daemon, "p", scale={"idle": "100ms"})
    daemon.wait_zero("p")
    view = daemon.replicas("p")[0]
    assert view["state"] == "stopped" and view["park"]["method"] == "stop"
    assert view["park"]["why"] == "the node's parking_memory is 0"


def test_scale_idle_ends_the_parking(own):
    daemon = own()
    deploy(daemon, "p", scale={"idle": "300ms"})
    assert daemon.wait_replicas("p", 1, "stopped")[0]["park"]["parks"] == 1


@pytest.mark.parametrize("role", ["agent", "control", "gateway"])
def test_it_outlives(own, role):
    daemon = own()
    first = deploy(daemon, "p")
    parked(daemon, "p")
    crash(daemon, role)

    def same():
        reply = daemon.call("p")
        return reply.status == 200 and reply.headers["Gantry-Replica"] == first["id"]

    until(same, "the same replica answers", 30)
    assert parked(daemon, "p")[0]["pid"] == first["pid"]


def test_it_outlives_the_daemon(own):
    daemon = own()
    first = deploy(daemon, "p")
    parked(daemon, "p")
    assert daemon.signal(signal.SIGTERM) == 0
    assert alive(first["pid"])
    daemon.start()
    assert parked(daemon, "p")[0]["pid"] == first["pid"]
    assert call_ok(daemon, "p").headers["Gantry-Replica"] == first["id"]


def test_parked_ones_go_with_their_function_and_their_daemon(own):
    daemon = own()
    pids = [deploy(daemon, name)["pid"] for name in ("a", "b", "c")]
    for name in ("a", "b", "c"):
        parked(daemon, name)
    daemon.delete("a")
    until(lambda: not alive(pids[0]), "its process is gone")
    daemon.remember_traces()
    daemon.kill_everything()  # and the fixture cleans up what stands still
    assert alive(pids[1]) and alive(pids[2])


def test_a_new_revision_replaces_a_parked_one(own):
    daemon = own()
    first = deploy(daemon, "p")
    parked(daemon, "p")
    daemon.put("p", echo_spec(park=PARK, env={"NEW": "1"}))
    assert call_ok(daemon, "p").headers["Gantry-Replica"] != first["id"]
    until(lambda: not alive(first["pid"]), "the old one is gone")


def test_the_coldest_goes_when_the_memory_is_full(own):
    """With Python in them: so small a program as the echo differs by a third from one time to the next."""
    daemon = own()

    def parks(name, **more):
        daemon.probe(name, park={**PARK, **more})
        daemon.ask(name, "/facts")
        until(lambda: daemon.replicas(name, "parked"), f"{name} is parked, not {daemon.replicas(name)}", 20)

    for name in ("first", "a"):  # files that a first one reads may count as its memory
        parks(name)
        size = daemon.replicas(name, "parked")[0]["park"]["memory_bytes"]
        daemon.delete(name)
    daemon.signal(signal.SIGTERM)
    daemon.config.write_text(f"[agent]\nnode = n1\nparking_memory = {size * 5 // 2}\n")  # room for two
    daemon.start()
    parks("cold")
    parks("warm", priority=5)
    parks("last")
    daemon.wait_replicas("cold", 1, "stopped")
    assert daemon.replicas("warm", "parked")
    node = daemon.client.get("/v1/nodes/n1").json()
    assert node["parked_bytes"] <= node["parking_bytes"]
    evicted = daemon.client.get("/v1/functions/cold/autoscaler/decisions").json()["items"][-1]
    assert evicted["kind"] == "evict" and evicted["outcome"]["for"] == "last"


def test_http_puts_the_engine_to_sleep_and_wakes_it(own):
    daemon = own()
    first = engine(daemon, "e")
    view = parked(daemon, "e")[0]
    assert view["park"]["method"] == "http" and view["park"]["why"] == "the program can sleep"
    reply = call_ok(daemon, "e")
    assert reply.headers["Gantry-Replica"] == first and reply.text == "1 slept, 1 woke"
    parked(daemon, "e")
    crash(daemon, "agent")
    until(lambda: daemon.call("e").text == "2 slept, 2 woke", "it is adopted asleep, and woken", 30)


@pytest.mark.parametrize("fail, words", [("sleep", "go to sleep"), ("wake", "wake up")])
def test_an_engine_that_fails_is_replaced(own, fail, words):
    daemon = own()
    first = engine(daemon, "e", fail=fail)
    if fail == "wake":
        parked(daemon, "e")
    else:
        daemon.wait_replicas("e", 1, "failed")
    assert call_ok(daemon, "e").headers["Gantry-Replica"] != first
    ended = daemon.replicas("e", "failed")[0]
    assert ended["cause"] == "unpark_failed" and f"did not {words}" in ended["end"]["detail"], ended
    assert daemon.client.get("/v1/functions/e").json().get("failures", 0) == 0


def test_calls_come_and_go_and_none_is_lost(own):
    """Parking as often as it can be, under calls that come when it has just begun."""
    daemon = own()
    deploy(daemon, "p", park={"method": "freeze", "after": "0s"}, scale={"max": 3})
    for i in range(60):
        assert call_ok(daemon, "p").status == 200, i
    calls = [daemon.client.background("GET", "/f/p/sleep?ms=20") for _ in range(30)]
    assert [c.result().status for c in calls] == [200] * 30
    view = daemon.client.get("/v1/functions/p").json()
    assert view["failed_total"] == 0 and view["starts_total"] <= 6, view
