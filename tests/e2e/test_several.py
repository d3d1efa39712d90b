"""Several daemons on several hosts with one store: any of them answers for all, one is killed, one is cut off."""
import contextlib
import json
import os
import pathlib
import signal
import threading
import time

import pytest

import postgres
from harness import FUNCTIONS, REVERSER, Raw, echo_spec, until
from hosts import Load
from lent import started
from several import TOKEN, Several

pytestmark = pytest.mark.skipif(not postgres.programs(), reason="Debian's package postgresql is not installed")

GAUGE = {"image": "host:", "command": ["/usr/bin/python3", "/app/gauge.py"], "port": 8000,
         "resources": {"memory": "128MiB"}}


@pytest.fixture(scope="module")
def cluster():
    with started(Several("abc")) as hosts:
        yield hosts


@pytest.fixture
def own():
    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(started(Several(*args, **more)))


def unharmed(*loads):
    assert all(load.stop() for load in loads)
    failed = [f for load in loads for f in load.failed]
    assert not failed, "\n".join(map(str, failed[:5]))


def place(daemon, name, host, most=64):
    daemon.echo(name, placement={"labels": {"host": host}}, scale={"min": 1, "max": 1, "concurrency": most, "idle": "60s"})
    daemon.wait_replicas(name, 1)
    return name


# ---- any of them answers for all -------------------------------------------------------------------
@pytest.mark.parametrize("where", ["a", "b", "c"])
def test_a_follower_answers_as_the_leader_does(cluster, where):
    a, b = cluster["a"], cluster["b"]
    name = place(b, f"on{where}", where)
    for daemon in a, b:
        reply = daemon.call(name, "/hello", "POST", "body")
        assert reply.status == 200 and reply.text == "POST /hello\nbody", reply
        assert reply.headers["Gantry-Replica"] == a.replicas(name)[0]["id"]
        assert "run;dur=" in reply.headers["Server-Timing"] and len(reply.headers.get_all("X-Request-Id")) == 1
        assert daemon.client.get(f"/v1/functions/{name}").json()["name"] == name
    big = b"x" * (8 << 20)
    assert b.call(name, "/", "POST", big).body == b"POST /\n" + big
    assert b.call(name, "/bytes?n=5000000").body == a.call(name, "/bytes?n=5000000").body
    assert b.client.request("DELETE", f"/v1/functions/{name}").status == 200
    assert a.call(name).status == b.call(name).status == 404  # neither knows it any more


def test_a_change_is_in_force_at_all_when_one_answers(cluster):
    a, b = cluster["a"], cluster["b"]
    spec = echo_spec(limits={"body": 1})
    for i in range(50):
        one, other = (a, b) if i % 2 else (b, a)
        assert one.client.request("PUT", "/v1/functions/change", spec).status == 201
        assert other.call("change", "/", "POST", "xx").status == one.call("change", "/", "POST", "xx").status == 413
        assert one.client.request("DELETE", "/v1/functions/change").status == 200
        assert other.call("change").status == one.call("change").status == 404


def test_what_is_refused_is_refused_alike(cluster):
    a, b = cluster["a"], cluster["b"]
    for path in "/f/none/", "/v1/functions/none", "/link/v1/leader", "/nowhere":
        one, other = a.client.get(path), b.client.get(path)
        assert (one.status, one.json()["code"]) == (other.status, other.json()["code"]), (one, other)
    assert b.client.get("/v1/functions", token="gty_" + "0" * 64).status == 401
    assert json.loads(b.client.get("/readyz").body)["follows"] is True


def test_the_client_stays_known(cluster):
    b = cluster["b"]
    b.put("gauge", {**GAUGE, "volumes": [{"host": str(FUNCTIONS), "path": "/app"}],
                    "placement": {"labels": {"host": "c"}}})
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = b.client.get("/f/gauge/headers", headers={"X-Request-Id": "mine-1", "traceparent": trace, "Host": "box.example",
                                                      "X-Forwarded-For": "192.0.2.7"})
    seen = reply.json()
    assert reply.headers["X-Request-Id"] == seen["x-request-id"] == "mine-1"
    assert seen["traceparent"].split("-")[1] == trace.split("-")[1] == reply.headers["Gantry-Trace-Id"]
    assert seen["x-forwarded-for"] == b.ip and seen["x-forwarded-host"] == "box.example", seen
    assert seen["x-forwarded-proto"] == "http" and "authorization" not in seen
    until(lambda: any(n for key, n in b.metrics().items() if key.startswith("gantry_gateway_forwarded_total")), "it is counted")
    b.delete("gauge")


def test_streams_logs_and_a_client_that_leaves(cluster):
    b = cluster["b"]
    name = place(b, "one", "c", most=1)
    with b.client.stream("GET", f"/f/{name}/stream?n=2&ms=60000") as answer:
        assert answer.readline() == b"line 0\n"  # long before the other one
    assert b.client.get(f"/v1/functions/{name}/logs").status == 200
    gone = b.client.open("GET", f"/f/{name}/sleep?ms=60000")
    until(lambda: cluster["a"].client.get(f"/v1/functions/{name}").json()["in_flight"] == 1, "it runs")
    gone.close()
    assert b.call(name, "/x", timeout=30).status == 200  # the only slot is free long before
    b.delete(name)


def test_a_websocket_is_a_pipe(cluster):
    b = cluster["b"]
    b.put("ws", {"image": "host:", "command": ["/usr/bin/python3", "-c", REVERSER], "port": 8000})
    with b.inside():
        raw = Raw(b.address, timeout=30)  # the first answer waits for a start
    with raw:
        raw.send(f"GET /f/ws/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {TOKEN}\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for word in (b"abc", b"\x00\xff\x01", b"HTTP/1.1"):
            raw.send(word)
            assert raw.read_some() == word[::-1]
    b.delete("ws")


def test_a_limit_holds_across_gateways(cluster):
    a, b = cluster["a"], cluster["b"]
    b.put("gauge", {**GAUGE, "volumes": [{"host": str(FUNCTIONS), "path": "/app"}],
                    "placement": {"labels": {"host": "c"}}, "scale": {"min": 1, "max": 1, "concurrency": 2}})
    b.wait_replicas("gauge", 1)
    loads = [Load(daemon.client, "/f/gauge/work?ms=20", threads=4) for daemon in (a, b)]
    until(lambda: min(sum(load.served) for load in loads) > 50, "both are served", 20)
    unharmed(*loads)
    assert a.call("gauge", "/most").json()["most"] == 2
    b.delete("gauge")


# ---- the leader goes -------------------------------------------------------------------------------
def test_calls_that_wait_go_to_the_next_leader(own):
    """A control alone dies, and a follower may be faster than the next one of its daemon: gateways live on."""
    hosts = own("abc", config={"a": "[gateway]\nthreads = 2\n", "b": "[gateway]\nthreads = 3\n"})
    a, b = hosts["a"], hosts["b"]
    b.put("gauge", {**GAUGE, "volumes": [{"host": str(FUNCTIONS), "path": "/app"}],
                    "placement": {"labels": {"host": "c"}}, "scale": {"min": 1, "max": 1, "concurrency": 2}})
    b.wait_replicas("gauge", 1)
    loads = [Load(daemon.client, "/f/gauge/work?ms=5", threads=3, method=method)
             for daemon in (a, b) for method in ("GET", "POST")]
    until(lambda: min(sum(load.served) for load in loads) > 50, "all are served", 20)
    for _ in range(4):
        epoch = int(hosts.db.sql("SELECT epoch FROM leader"))
        leader = hosts[hosts.leader()]
        leader.kill_role("control")
        until(lambda: int(hosts.db.sql("SELECT epoch FROM leader")) > epoch, "somebody leads", 20)
        marks = [sum(load.served) for load in loads]
        until(lambda: all(sum(load.served) > mark + 30 for load, mark in zip(loads, marks, strict=True)), "calls go on", 20)
    unharmed(*loads)


def test_gateways_are_replaced_under_load(own):
    hosts = own("abc")
    a, b = hosts["a"], hosts["b"]
    place(b, "onc", "c")
    loads = [Load(daemon.client, "/f/onc/x", threads=2) for daemon in (a, b)]
    until(lambda: min(sum(load.served) for load in loads) > 50, "all are served", 20)
    for daemon in b, a:
        daemon.replace_roles(signal.SIGUSR2)
        marks = [sum(load.served) for load in loads]
        until(lambda: all(sum(load.served) > mark + 30 for load, mark in zip(loads, marks, strict=True)), "calls go on", 20)
    unharmed(*loads)


def test_an_upgrade_of_a_follower_cuts_no_call_that_it_passed_on(own):
    hosts = own("abc")
    a, b = hosts["a"], hosts["b"]
    name, = gauges(b, "c")
    uplink_is_certified(b)
    calls = Answers()
    calls.add(b, name, 5000)
    busy(a, name)
    before = b.replace_roles(signal.SIGUSR2)
    assert not calls.ended
    calls.all()
    until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in before.values()), "those before have ended", 20)
    assert hosts.leader() == "a" and b.call(name, "/most").json()["most"] == 1


def test_a_leader_that_is_killed_costs_warm_calls_nothing(own):
    """Its whole daemon. Calls come by another one, to hosts that are there."""
    hosts = own("abcd", daemons=3)
    a, b, c = hosts["a"], hosts["b"], hosts["c"]
    assert hosts.leader() == "a"
    place(b, "onb", "b")
    place(b, "ond", "d")
    loads = [Load(b.client, "/f/onb/x"), Load(b.client, "/f/ond/x"), Load(c.client, "/f/ond/x")]
    until(lambda: min(sum(load.served) for load in loads) > 50, "they are warm", 20)
    epoch = int(hosts.db.sql("SELECT epoch FROM leader"))
    a.kill_everything()
    begun = time.monotonic()
    until(lambda: hosts.leader() in "bc" and int(hosts.db.sql("SELECT epoch FROM leader")) > epoch, "another one leads", 20)
    leads = time.monotonic() - begun
    marks = [sum(load.served) for load in loads]
    until(lambda: all(sum(load.served) > mark + 20 for load, mark in zip(loads, marks, strict=True)), "warm calls go on", 20)
    serves = time.monotonic() - begun
    until(lambda: b.client.request("PUT", "/v1/functions/new", echo_spec()).status in (200, 201),
          "a function is taken", 20)
    print(f"another leads after {leads:.2f} s, calls go on after {serves:.2f} s, a function is taken after "
          f"{time.monotonic() - begun:.2f} s; slowest calls {[round(load.slowest, 2) for load in loads]}")
    unharmed(*loads)
    hosts.wait_nodes("ready", "b", "c", "d", ask=b)
    a.start(60)
    until(lambda: a.client.get("/v1/nodes").status == 200, "it follows", 30)
    hosts.wait_nodes("ready", ask=a, timeout=30)
    assert a.call("ond").status == 200


def test_a_leader_that_is_cut_off_costs_what_it_had_in_hand(own):
    hosts = own("abc")
    a, b = hosts["a"], hosts["b"]
    b.put("gauge", {**GAUGE, "volumes": [{"host": str(FUNCTIONS), "path": "/app"}],
                    "placement": {"labels": {"host": "c"}}, "scale": {"min": 1, "max": 1, "concurrency": 2}})
    b.wait_replicas("gauge", 1)
    loads = [Load(a.client, "/f/gauge/work?ms=20", threads=4), Load(b.client, "/f/gauge/work?ms=20", threads=4)]
    until(lambda: min(sum(load.served) for load in loads) > 50, "both are served", 20)
    hosts.blackhole("a")
    begun = time.monotonic()
    until(lambda: hosts.leader() == "b", "the other one leads", 20)
    leads = time.monotonic() - begun
    mark = sum(loads[1].served)
    until(lambda: sum(loads[1].served) > mark + 50, "warm calls go on", 20)
    print(f"another leads after {leads:.2f} s, calls go on after {time.monotonic() - begun:.2f} s, slowest {loads[1].slowest:.2f} s")
    hosts.net.heal()

    def follows():
        try:
            return a.call("gauge", "/most", timeout=5).status == 200
        except OSError:
            return False  # by a way that is not there any more

    until(follows, "the one that was cut off follows", 30)
    mark = sum(loads[0].served)
    until(lambda: sum(loads[0].served) > mark + 50, "and serves", 20)
    loads[0].stop()  # its calls were in the hands of the host that was cut off
    # So were those that the other one had passed on; all are sent again but whose answer had begun.
    assert len(loads[1].failed) <= len(loads[1].threads) and all("IncompleteRead" in f[1] for f in loads[1].failed), loads[1].failed
    loads[1].failed.clear()
    unharmed(loads[1])
    assert b.call("gauge", "/most").json()["most"] == 2


# ---- limits across a change of who leads -----------------------------------------------------------
def gauges(daemon, hosts, most=1):
    """A function on each host, whose replica counts its calls."""
    for host in hosts:
        daemon.put(f"on{host}", {**GAUGE, "volumes": [{"host": str(FUNCTIONS), "path": "/app"}],
                                 "placement": {"labels": {"host": host}}, "scale": {"min": 1, "max": 1, "concurrency": most}})
    for host in hosts:
        daemon.wait_replicas(f"on{host}", 1)
    return [f"on{host}" for host in hosts]


class Answers:
    """Calls at once, each by a thread of its own."""

    def __init__(self):
        self.threads, self.failed, self.ended = [], [], []

    def add(self, daemon, name, ms, method="POST"):
        def run():
            try:
                reply = daemon.call(name, f"/work?ms={ms}", method, timeout=90)
                if reply.status != 200:
                    self.failed.append((daemon.name, name, ms, reply))
            except OSError as e:
                self.failed.append((daemon.name, name, ms, e))
            self.ended.append((name, ms))
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def all(self):
        for thread in self.threads:
            thread.join(120)
        assert not self.failed, self.failed
        return self.ended


def busy(daemon, name, n=1):
    until(lambda: daemon.client.get(f"/v1/functions/{name}").json().get("in_flight") == n, f"{n} of {name} run", 20)


@contextlib.contextmanager
def without_control(daemon, signo):
    """Its control alone is killed or paused, and there is no other one as long as this lasts."""
    stopped = [daemon.proc.pid, daemon.roles()["control"]]  # the supervisor, and who it would start anew
    os.kill(stopped[0], signal.SIGSTOP)
    os.kill(stopped[1], signo)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def uplink_is_certified(daemon):
    until(lambda: daemon.log().count("no certificate from control yet") == daemon.log().count("the certificate from control is there"),
          "the uplink has what it needs of its control", 20)


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_what_a_former_leader_has_in_hand_counts(own, how):
    """Its control alone dies or hangs: its gateway lives, with calls, and is no home of functions any more."""
    hosts = own("abc", config={"a": "[gateway]\nthreads = 2\n", "b": "[gateway]\nthreads = 3\n"})
    a, b = hosts["a"], hosts["b"]
    names = gauges(b, "abc")
    uplink_is_certified(a)
    calls = Answers()
    for name in names:
        calls.add(a, name, 6000)
        busy(b, name)
    victim = a.roles()["control"]
    with without_control(a, signal.SIGKILL if how == "killed" else signal.SIGSTOP):
        begun = time.monotonic()
        until(lambda: hosts.leader() == "b", "the other one leads", 20)
        print(f"another one leads after {time.monotonic() - begun:.2f} s")
        for name in names:
            for daemon in a, b, b:
                calls.add(daemon, name, 20)
        assert len(calls.all()) == 4 * len(names)
        for name in names:
            assert b.call(name, "/most").json()["most"] == 1
            assert calls.ended.index((name, 6000)) < calls.ended.index((name, 20)), calls.ended
    until(lambda: a.roles().get("control") not in (None, victim), "the next control is there", 30)
    until(lambda: a.client.get("/v1/nodes").status == 200, "and follows", 30)


def test_an_upgrade_forgets_no_call_of_a_former_leader(own):
    """Nobody tells the new gateway of the one that leads who led before its daemon did, but the old one."""
    hosts = own("abc", config={"b": "[gateway]\nthreads = 3\n"})
    a, b = hosts["a"], hosts["b"]
    name, = gauges(b, "c")
    uplink_is_certified(b)
    calls = Answers()
    calls.add(a, name, 12000)
    busy(b, name)
    with without_control(a, signal.SIGKILL):
        until(lambda: hosts.leader() == "b", "the other one leads", 20)
        until(lambda: b.client.get("/v1/nodes").status == 200, "and serves", 20)
        b.replace_roles(signal.SIGUSR2)
        until(lambda: b.client.get("/v1/nodes").status == 200, "and serve", 20)
        for _ in range(3):
            calls.add(b, name, 20)
        until(lambda: b.client.get(f"/v1/functions/{name}").json().get("queued") == 3, "they wait", 20)
        assert not calls.ended
        calls.all()
        assert calls.ended[0] == (name, 12000), calls.ended
        assert b.call(name, "/most").json()["most"] == 1


def test_the_agent_beside_a_control_that_hangs_goes_to_the_next(own):
    hosts = own("ab")
    a, b = hosts["a"], hosts["b"]
    name, = gauges(b, "a")
    uplink_is_certified(a)
    replica, roles = b.replicas(name)[0]["id"], a.roles()
    with without_control(a, signal.SIGSTOP):
        until(lambda: hosts.leader() == "b", "the other one leads", 20)
        begun = time.monotonic()
        epoch = hosts.db.sql("SELECT epoch FROM leader")
        hosts.wait_nodes("ready", ask=b, timeout=20)
        until(lambda: [(r["id"], r["state"]) for r in b.replicas(name)] == [(replica, "ready")], "its replica is known", 20)
        assert b.call(name, "/work?ms=1", "POST").headers["Gantry-Replica"] == replica
        took = time.monotonic() - begun
        print(f"the new leader has the replica {took:.2f} s after it leads")
        assert took < 10  # a watch that says nothing is given up after 30 s
    until(lambda: a.roles().get("control") not in (None, roles["control"]), "the next control is there", 30)
    until(lambda: a.client.get("/v1/nodes").status == 200, "and follows", 30)
    hosts.wait_nodes("ready", ask=a, timeout=20)
    assert a.call(name, "/work?ms=1", "POST").headers["Gantry-Replica"] == replica
    assert [(r["id"], r["state"]) for r in b.replicas(name)] == [(replica, "ready")]
    assert hosts.db.sql("SELECT epoch FROM leader") == epoch and a.roles()["agent"] == roles["agent"]
