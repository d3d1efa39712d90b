"""A gateway of several threads: functions at home on all of them, seen from outside as one gateway."""
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from harness import Background, Raw, echo_spec, until
from lent import checked, started
from rig import Rig
from test_peers import test_where_all_connections_have_calls_the_next_waits_for_one_to_end
from test_tls import configure, files, trust  # noqa: F401: a fixture
from test_upgrade import gateways

FUNCTIONS = [f"fn-{i}" for i in range(8)]  # of four threads each has at least one
HOMES = 4


def config(path, threads):
    path.write_text(f"[gateway]\nthreads = {threads}\n")
    return path


@pytest.fixture
def conf(tmp_path):
    return config(tmp_path / "gantryd.conf", HOMES)


@pytest.fixture
def daemon(own, conf):
    daemon = own(config=conf)
    for name in FUNCTIONS:
        daemon.echo(name, scale={"min": 1, "max": 1, "concurrency": {"target": 2, "max": 2}})
    for name in FUNCTIONS:
        daemon.wait_replicas(name, 1)
    return daemon


def threads_of(daemon):
    names = set()
    with contextlib.suppress(OSError):  # a gateway that was replaced ends, and its threads do before it
        for task in pathlib.Path(f"/proc/{daemon.roles()['gateway']}/task").iterdir():
            names.add((task / "comm").read_text().strip())
    return names


class Caller(threading.Thread):
    """Calls all functions in turn, over one connection or over one for each call."""

    def __init__(self, daemon, kept, first):
        super().__init__(daemon=True)
        self.gantry, self.kept, self.first, self.done, self.ended, self.errors = daemon, kept, first, 0, False, []

    def run(self):
        head = {"Authorization": f"Bearer {self.gantry.token}"}
        conn = http.client.HTTPConnection(*self.gantry.address, timeout=60)
        while not self.ended:
            name = FUNCTIONS[(self.first + self.done) % len(FUNCTIONS)]
            try:
                conn.request("GET", f"/f/{name}/{name}", headers=head)
                answer = conn.getresponse()
                body = answer.read()
                if answer.status != 200 or f"GET /{name}\n".encode() not in body:
                    self.errors.append(f"status {answer.status}, {body[:200]!r}")
            except (OSError, http.client.HTTPException) as e:
                self.errors.append(repr(e))
            self.done += 1
            if not self.kept:
                conn.close()
        conn.close()


@pytest.fixture
def callers(daemon):
    made = [Caller(daemon, i % 2 == 0, i) for i in range(6)]
    for c in made:
        c.start()
    yield made
    for c in made:
        c.ended = True
    for c in made:
        c.join(60)
    assert [c.errors for c in made] == [[]] * len(made)


def go_on(callers):
    counts = [c.done for c in callers]
    until(lambda: all(c.done > n + 16 for c, n in zip(callers, counts, strict=True)), "all callers go on", 30)


def replaced(daemon, by):
    """Every role, and the new ones know what there is."""
    before = daemon.roles()
    daemon.proc.send_signal(by)
    until(lambda: len(now := daemon.roles()) == 3 and not set(now.values()) & set(before.values()),
          "all roles are new", 20)
    until(lambda: all(len(daemon.replicas(f, "ready")) == 1 for f in FUNCTIONS), "control knows all replicas again", 20)


def counted(daemon, name):
    """gantry_calls_total of each function"""
    return sum(v for k, v in daemon.metrics().items() if k.startswith("gantry_calls_total{") and f'"{name}"' in k)


def test_connections_go_everywhere_and_all_is_counted_once(daemon, callers):
    assert threads_of(daemon) >= {f"gateway/{i}" for i in range(1, HOMES)}
    go_on(callers)
    for c in callers:
        c.ended = True
    for c in callers:
        c.join(60)
    made = sum(c.done for c in callers)
    until(lambda: sum(counted(daemon, f) for f in FUNCTIONS) == made, f"{made} calls are counted", 20)
    assert all(counted(daemon, f) > 0 for f in FUNCTIONS)
    with Raw(daemon.address), Raw(daemon.address), Raw(daemon.address):
        until(lambda: sum(v for k, v in daemon.metrics().items() if k.startswith("gantry_gateway_connections{")) >= 3,
              "three connections are open")


def test_slots_of_each_function_are_its_own(daemon):
    """Two each: of five calls three wait, whichever threads they came in on."""
    def begin(path, count):
        return [daemon.client.background("GET", f"/f/{name}{path}") for name in FUNCTIONS for _ in range(count)]

    def counts():
        found = {f["name"]: f for f in daemon.client.get("/v1/functions").json()["items"]}
        return {(found[name]["queued"], found[name]["in_flight"]) for name in FUNCTIONS}

    calls = begin("/sleep?ms=7000", 2)
    until(lambda: counts() == {(0, 2)}, "two run, of each")
    calls += begin("/x", 3)
    until(lambda: counts() == {(3, 2)}, "two run and three wait, of each")
    assert [c.result(60).status for c in calls] == [200] * len(calls)


def test_cold_functions_start(daemon):
    names = [f"cold-{i}" for i in range(HOMES * 2)]
    for name in names:
        daemon.echo(name, scale={"min": 0, "max": 1})
    for name in names:  # the thread where it is at home hears of it a moment after control
        until(lambda name=name: daemon.call(name, headers={"Gantry-Priority": "none"}).status == 400, f"{name} is known")
    calls = [daemon.client.background("GET", f"/f/{name}/x") for name in names]
    assert [c.result().status for c in calls] == [200] * len(names)
    for name in names:
        daemon.delete(name)
        until(lambda name=name: daemon.call(name).status == 404, f"the gateway has heard that {name} is gone")


def test_upgrade_loses_nothing(daemon, conf, callers):
    """Also to fewer threads and back to more."""
    for threads in (HOMES, 2, 1, HOMES):
        go_on(callers)
        config(conf, threads)
        replaced(daemon, signal.SIGUSR2)
        go_on(callers)
        until(lambda threads=threads: sum(t.startswith("gateway/") for t in threads_of(daemon)) == threads - 1,
              f"{threads} threads", 20)


def test_idle_connections_of_all_threads_go_over(daemon):
    heads = [f"GET /f/{name}/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {daemon.token}\r\n\r\n".encode()
             for name in FUNCTIONS]
    conns = [Raw(daemon.address) for _ in heads]

    def ask(conn, head):
        conn.send(head)
        assert b"HTTP/1.1 200" in conn.read_until(b"GET /x\n")

    for conn, head in zip(conns, heads, strict=True):
        ask(conn, head)
    replaced(daemon, signal.SIGUSR2)
    until(lambda: len(gateways(daemon)) == 1, "the old gateway is gone", 20)
    for conn, head in zip(conns, heads[1:] + heads[:1], strict=True):
        ask(conn, head)
        conn.close()


@pytest.fixture
def small_rig():
    with started(Rig(f"[gateway]\nmax_connections = 3\nthreads = {HOMES}\n")) as rig:
        yield from checked(rig)


def test_limit_of_connections_is_that_of_all_threads(small_rig):
    """The kernel wakes one of them for a connection, and another one has the connection that can give way."""
    test_where_all_connections_have_calls_the_next_waits_for_one_to_end(small_rig)


def test_drain_ends_calls_of_all_threads_first(daemon):
    calls = [Background(lambda name=name: daemon.call(name, "/sleep?ms=2000").status) for name in FUNCTIONS]
    idle = [Raw(daemon.address) for _ in range(HOMES * 2)]
    until(lambda: sum(f["in_flight"] for f in daemon.client.get("/v1/functions").json()["items"]) == len(calls), "all run")
    daemon.signal(signal.SIGTERM)
    assert [c.result() for c in calls] == [200] * len(calls)
    for conn in idle:
        assert conn.closed()
        conn.close()


def test_reload_that_changes_threads(daemon, conf, callers):
    go_on(callers)
    config(conf, 2)
    replaced(daemon, signal.SIGHUP)
    go_on(callers)
    assert threads_of(daemon) >= {"gateway/1"}


def test_tls_connection_goes_everywhere(own, tmp_path, files):  # noqa: F811
    conf = configure(tmp_path / "gantryd.conf", files, threads=HOMES)
    context = trust(files)
    daemon = own(config=conf, tls=context)
    for name in FUNCTIONS:
        daemon.echo(name, scale={"min": 1, "max": 1})
    for name in FUNCTIONS:
        daemon.wait_replicas(name, 1)
    conn = http.client.HTTPSConnection(*daemon.address, timeout=30, context=context)
    for name in FUNCTIONS * 3:
        conn.request("POST", f"/f/{name}/{name}", body=b"x" * 100_000,
                     headers={"Authorization": f"Bearer {daemon.token}"})
        answer = conn.getresponse()
        assert answer.status == 200 and f"POST /{name}\n".encode() in answer.read()
    conn.close()


class Kept:
    """A connection that is used again: it stays with the shard where its last call was at home."""

    def __init__(self, daemon):
        self.conn = http.client.HTTPConnection(*daemon.address, timeout=60)
        self.head = {"Authorization": f"Bearer {daemon.token}", "Content-Type": "application/json"}

    def status(self, method, path, body=None):
        self.conn.request(method, path, body=body, headers=self.head)
        answer = self.conn.getresponse()
        answer.read()
        return answer.status


@contextlib.contextmanager
def slow(thread):
    """It shares a processor with somebody who is preferred and never sleeps."""
    where = min(os.sched_getaffinity(thread))
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(other.pid, {where})
        os.sched_setaffinity(thread, {where})
        os.setpriority(os.PRIO_PROCESS, thread, 19)
        yield
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("threads", [1, HOMES])
def test_change_is_in_force_when_it_is_answered(own, tmp_path, threads):
    """A body of two bytes is too long for the function, or there is none: nothing starts, and one call tells which.
    Each request comes from a shard of its own, mostly: the one where the calls before it were at home. The first
    shard, which hears of routes, is the last one to know of anything."""
    daemon = own(config=config(tmp_path / "gantryd.conf", threads))
    spec = json.dumps(echo_spec(limits={"body": 1}))
    clients = [Kept(daemon) for _ in range(HOMES)]
    turn = itertools.cycle(clients + clients[:1])  # not the same in each round
    with slow(daemon.roles()["gateway"]) if threads > 1 else contextlib.nullcontext():
        for i in range(100):
            name = f"change-{i % 7}"
            assert next(turn).status("PUT", f"/v1/functions/{name}", spec) == 201
            assert next(turn).status("POST", f"/f/{name}/", b"xx") == 413, i
            assert next(turn).status("DELETE", f"/v1/functions/{name}") == 200
            assert next(turn).status("POST", f"/f/{name}/", b"xx") == 404, i
    for c in clients:
        c.conn.close()
