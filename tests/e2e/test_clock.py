"""Hosts whose clocks are set, by an hour and by ten years, while they serve: no timer but a schedule's goes by such a clock."""
import contextlib
import http.client
import json
import socket
import time

import pytest

from harness import Background, until
from hosts import PORT, Hosts, Load
from lent import started

HOUR, YEARS = 3600, 10 * 365 * 86400
ROLES = (("b", "uplink"), ("a", "gateway"), ("a", "control"), ("b", "agent"))


@pytest.fixture(scope="module")
def cluster():
    # So long that only a clock that jumps can make a node seem silent, and no load of the machine's.
    hosts = Hosts("ab", config={"a": "[control]\nnode_suspect = 40s\nnode_lost = 80s\nwebhook_allow = 10.91.0.0/16\n"})
    hosts.first.echo("f", placement={"labels": {"host": "b"}}, scale={"min": 1, "max": 1, "concurrency": 16})
    hosts.first.wait_replicas("f", 1)
    yield hosts
    hosts.stop()


@pytest.fixture(autouse=True)
def right_clocks(cluster):
    yield
    for host in cluster.all.values():
        host.clock.set(0)
        for role in host.roles_of:
            host.clock.set(0, role)


def served(cluster):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return cluster.first.call("f", "/x", timeout=5).status == 200
    return False


def kill(cluster, where, role):
    """There may be none just then: one that ended of the clock is started again."""
    until(lambda: cluster[where].kill_role(role), f"a {role} to kill")


def refuse(server):
    """Who asks is told that it failed."""
    conn = server.accept()[0]
    with contextlib.closing(conn):
        conn.recv(65536)
        conn.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def durable(cluster):
    """One more call, from its intake to its result."""
    reply = cluster.first.client.request("POST", "/v1/functions/f/calls", b"x", {"Prefer": "wait=30"})
    assert reply.status == 200 and reply.text == "POST /\nx", reply


@pytest.mark.parametrize("host", ["a", "b"])
def test_calls_and_nodes_do_not_feel_it(cluster, host):
    first = cluster.first
    last = first.events()[-1]["id"]
    load = Load(first.client, "/f/f/x", threads=2, pause=0.01)
    running = first.client.background("GET", "/f/f/sleep?ms=3000")
    for jump in (HOUR, 0, -HOUR, 0, YEARS, 0, -YEARS, 0):
        cluster[host].clock.set(jump)
        before = load.served[0]
        until(lambda before=before: load.served[0] > before + 20, f"calls run {jump} s away", 30)
        durable(cluster)
    assert running.result().status == 200
    load.stop()
    assert not load.failed, load.failed[:3]
    assert set(cluster.nodes().values()) == {"ready"}
    assert not [e for e in first.events(after=last) if e["type"].startswith("node.")]


@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_connections_are_made_by_another_clock(cluster, host, jump):
    """Certificates are shown, and made: each role is another process afterwards."""
    cluster[host].clock.set(jump)
    for where, role in ROLES:
        kill(cluster, where, role)
        until(lambda: served(cluster), f"calls run without the {role} that was", 30)
    cluster[host].clock.set(0)
    kill(cluster, "b", "uplink")
    until(lambda: served(cluster), "calls run by the right clock again", 30)


@pytest.mark.parametrize("host, jump", [("a", -YEARS), ("b", YEARS)])
def test_a_clock_of_another_decade_does_no_harm_that_lasts(cluster, host, jump):
    """A certificate's end is believed to the clock, so a host may be out of reach for so long, but no longer."""
    cluster[host].clock.set(jump)
    for where, role in ROLES:
        kill(cluster, where, role)
    until(lambda: all(set(h.roles()) == set(h.roles_of) for h in cluster.all.values()), "all roles are there", 20)
    cluster[host].clock.set(0)
    until(lambda: served(cluster), "calls run", 40)
    cluster.wait_nodes("ready", timeout=40)
    durable(cluster)


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
def test_a_durable_call_has_its_time_whatever_the_gateways_clock_says(cluster, jump):
    """On control's own host, so that no connection between hosts is needed."""
    first = cluster.first
    first.echo("near", placement={"labels": {"host": "a"}}, scale={"min": 1, "max": 1})
    first.wait_replicas("near", 1)
    cluster["a"].clock.set(jump, "gateway")
    reply = first.client.request("POST", "/v1/functions/near/calls?path=/sleep%3Fms=1500", b"", {"Prefer": "wait=20"})
    assert reply.status == 200, reply
    reply = first.client.request("POST", "/v1/functions/near/calls?path=/sleep%3Fms=20000", b"",
                                 {"Prefer": "wait=20", "Gantry-Deadline": "2"})
    assert reply.status == 504, reply


def test_a_webhook_does_not_wait_for_a_clock_that_was_set_back(cluster):
    first = cluster.first
    with first.inside():
        server = socket.create_server((first.ip, 0))
    with contextlib.closing(server):
        server.settimeout(90)
        tries = Background(lambda: [refuse(server), refuse(server)])
        url = f"http://{first.ip}:{server.getsockname()[1]}/"
        reply = first.client.request("POST", "/v1/functions/f/calls", b"x", {"Prefer": "respond-async", "Gantry-Callback": url})
        assert reply.status == 202, reply
        until(lambda: "was not taken" in first.log(), "a first try")
        cluster["a"].clock.set(-HOUR)
        tries.result(90)


def test_a_schedule_makes_no_more_calls_than_it_says(cluster):
    first = cluster.first
    spec = {"function": "f", "every": "1s", "catch_up": "one"}
    reply = first.client.request("PUT", "/v1/schedules/tick", json.dumps(spec), {"Content-Type": "application/json"})
    assert reply.status == 201, reply

    def calls():
        return [c["scheduled"] for c in first.client.get("/v1/calls?schedule=tick&limit=1000").json()["items"]]

    until(lambda: len(calls()) >= 2, "two calls", 20)
    for jump in (HOUR, -HOUR, YEARS, 0):
        before = set(calls())
        cluster["a"].clock.set(jump)
        # Those of an hour or ten years are one call; set back, its times are told anew within a minute.
        back = jump in (-HOUR, 0)
        until(lambda before=before: set(calls()) - before, f"it goes on {jump} s away", 75 if back else 15)
    dues = calls()
    assert len(dues) == len(set(dues)) and len(dues) < 300, len(dues)
    first.client.request("DELETE", "/v1/schedules/tick")


class NoBattery(Hosts):
    def prepare(self, names):
        super().prepare(names)
        for host in self.all.values():
            host.clock.set(60 - time.time())


def test_a_first_start_before_the_clock_is_set():
    """In 1970 it serves; no host joins, as it would be out of reach for good when the clock is right. Then one does."""
    with started(NoBattery("ab", joined=False)) as hosts:
        first = hosts.first
        first.echo("g")
        assert first.call("g", "/x").status == 200
        assert first.client.get("/v1/functions/g").json()["created_at"].startswith("1970-")
        assert "this machine's clock was never set" in first.log()
        hosts["b"].join = ["--join", f"https://{first.ip}:{PORT}", "--token", hosts.new_token()]
        hosts["b"].spawn()
        until(lambda: "the clock of the machine with control says 1970-" in hosts["b"].log(), "it is told why")
        for host in hosts.all.values():
            host.clock.set(0)
        hosts["b"].join[-1] = hosts.new_token()
        hosts["b"].proc.terminate()
        hosts["b"].proc.wait(20)
        hosts["b"].spawn()
        joined = Background(hosts["b"].proc.stdout.readline).result(40)
        assert joined == b"running as node b\n", "it joins when the door has its next certificate"
        hosts.wait_nodes("ready", "a", "b")
        for role in "control", "gateway":
            first.kill_role(role)
        first.echo("h", placement={"labels": {"host": "b"}})
        until(lambda: first.call("h", "/x").status == 200, "calls go there", 30)


def test_a_host_joins_when_its_clock_is_right():
    """By a clock that is ahead the door's certificate is over: it says so, and tries on."""
    with started(Hosts("ab", joined=False)) as hosts:
        hosts["b"].clock.set(YEARS)
        hosts["b"].join = ["--join", f"https://{hosts.first.ip}:{PORT}", "--token", hosts.new_token()]
        hosts["b"].spawn()
        until(lambda: "the certificate at the door is over since 20" in hosts["b"].log(), "it is told why")
        hosts["b"].clock.set(0)
        assert Background(hosts["b"].proc.stdout.readline).result(20) == b"running as node b\n"
        hosts.wait_nodes("ready", "a", "b")
