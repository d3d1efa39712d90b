"""Three hosts, and everything that can go wrong between and on them, at random points: nothing that was acknowledged is
lost, no result is recorded twice or is another's, calls that no fault touches are not felt by any, and afterwards all is
as it was. `make check` runs it for 15 s of faults, `make chaos` and `make soak` for more; SEED repeats a run's choices."""
import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time

import pytest

import figures
import model
import postgres
from harness import SLOW, alive, until
from hosts import Hosts
from nemesis import Nemesis

SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
CONTROL = "[control]\nnode_suspect = 2s\nnode_lost = 3s\n"
HOME = {("a", "gateway"), ("a", "agent")}
MINE = f"of-{os.getpid()}"  # another run may be on the machine


class Client(threading.Thread):
    def __init__(self, hosts, history, number, stop):
        super().__init__(daemon=True)
        self.hosts, self.history, self.number, self.stop = hosts, history, number, stop
        self.rng = random.Random(SEED * 1000 + number)
        self.error = None

    def run(self):
        try:
            n = 0
            while not self.stop.is_set():
                self.one(n)
                n += 1
        except Exception as e:  # shown by the test
            self.error = e


class Submitter(Client):
    """Durable calls, each repeated with its key until it is acknowledged."""

    def one(self, n):
        key = f"{self.number}-{n}"
        body = json.dumps({"nonce": f"job-{key}", "ms": self.rng.choice([0, 0, 10, 200, 1500]),
                           "pad": self.rng.choice([0] * 9 + [90000])})
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = self.hosts.first.client.request("POST", "/v1/functions/job/calls", body,
                                                        {"Prefer": "respond-async", "Idempotency-Key": key}, timeout=10)
                if reply.status == 202:
                    self.history.add(model.Submit(key, f"job-{key}", reply.json()["id"], time.monotonic()))
                    self.stop.wait(0.03)  # no more than can be run
                    return
                assert reply.status in (503, 507), reply
            if self.stop.is_set():
                return
            time.sleep(0.02)


class Caller(Client):
    """Direct calls to one function, one after the other."""

    def __init__(self, function, *args):
        super().__init__(*args)
        self.function = function

    def one(self, n):
        nonce = f"{self.function}-{self.number}-{n}"
        body = json.dumps({"nonce": nonce, "ms": self.rng.choice([0, 5, 50]), "pad": self.rng.choice([0, 0, 200000])})
        begin = time.monotonic()
        try:
            reply = self.hosts.first.client.request("POST", f"/f/{self.function}/", body, timeout=30)
            status, answer = reply.status, model.brief(reply.text) if reply.status == 200 else reply.text
        except (OSError, http.client.HTTPException) as e:
            status, answer = 0, repr(e)
        self.history.add(model.Direct(nonce, begin, time.monotonic(), status, answer))
        time.sleep(0.01 if status == 200 else 0.05)


def deploy(hosts, name, runs, **more):
    hosts.first.put(name, {
        "image": "host:", "command": ["/usr/bin/python3", "/app/worker.py", MINE], "port": 8000,
        "volumes": [{"host": os.path.dirname(__file__), "path": "/app"},
                    {"host": str(runs), "path": "/runs", "readonly": False}],
        "resources": {"memory": "128MiB"}, "limits": {"wait": "20s", "first_byte": "20s"},
        "retry": {"max": 100, "on": ["crash", "timeout", "502", "503", "504"],
                  "backoff": {"first": "20ms", "most": "300ms"}}, **more})


def record_of(hosts, call):
    view = until(lambda: (v := hosts.first.client.get(f"/v1/calls/{call}")).status != 503 and v, f"what became of {call}")
    if view.status != 200:
        return None
    result = hosts.first.client.get(f"/v1/calls/{call}/result")
    return view.json(), result.status, model.brief(result.text) if result.status == 200 else result.text


def all_ended(hosts):
    with contextlib.suppress(OSError, http.client.HTTPException):
        reply = hosts.first.client.get("/v1/functions/job/calls?state=queued,waiting,running&limit=1", timeout=10)
        return reply.status == 200 and not reply.json()["items"]
    return False


def is_steady(hosts, name, most):
    """As many replicas as may be, each on a node that has it, and none that control does not know."""
    ready = hosts.first.replicas(name, "ready")
    return 1 <= len(ready) <= most and len(hosts.first.running(name)) == len(ready) and all(
        alive(r["pid"]) for r in ready)


def workers():
    """Processes of the function, whoever may own them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            if MINE.encode() in f.read().split(b"\0"):
                found.append(int(pid))
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """None: control's own file."""
    if request.param == "sqlite":
        yield None
        return
    if not postgres.programs():
        pytest.skip("Debian's package postgresql is not installed")
    server = postgres.Postgres()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def hosts(database):
    made = Hosts("abc", config={"a": CONTROL + (f"store = {database.url}\n" if database else "")}, disk=f"{96 + int(SECONDS)}m")  # what is kept of calls stays
    yield made
    made.stop()


@pytest.fixture
def runs(tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "runs"
    path.mkdir()
    path.chmod(0o777)
    return path


def test_nothing_acknowledged_is_lost_between_hosts(hosts, database, runs):
    print(f"SEED={SEED} CHAOS_SECONDS={SECONDS:g} {'PostgreSQL' if database else 'SQLite'}")
    signal.alarm(int((SECONDS * 3 + 120) * SLOW))
    deploy(hosts, "job", runs, scale={"min": 2, "max": 3, "concurrency": 8})
    deploy(hosts, "near", runs, scale={"min": 1, "max": 1, "concurrency": 16}, placement={"labels": {"host": "a"}})
    deploy(hosts, "far", runs, scale={"min": 1, "max": 1, "concurrency": 16}, placement={"labels": {"host": "b"}})
    for name, n in (("job", 2), ("near", 1), ("far", 1)):
        hosts.first.wait_replicas(name, n)
    history, stop = model.History(), threading.Event()
    clients = [Submitter(hosts, history, 1, stop), Submitter(hosts, history, 2, stop),
               Caller("near", hosts, history, 3, stop), Caller("far", hosts, history, 4, stop)]
    nemesis = Nemesis(hosts, history, SEED, database)
    for client in clients:
        client.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        nemesis.step()
    nemesis.rest()
    healed = time.monotonic()
    hosts.wait_nodes("ready")
    back = time.monotonic() - healed
    stop.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive() and not client.error, (SEED, client.error)
    until(lambda: all_ended(hosts), "every call has ended", 60)
    for name, most in (("job", 3), ("near", 1), ("far", 1)):
        until(lambda n=name, m=most: is_steady(hosts, n, m), f"{name} is as it was", 30)
    check(hosts, history, model.Runs(runs / "log"))
    until(lambda: len(workers()) == sum(len(hosts.first.running(n)) for n in ("job", "near", "far")),
          "no replica is left that nobody knows")
    served = [d for d in history.directs if d.status == 200]
    figures.note("postgresql" if database else "sqlite", seconds=SECONDS, seed=SEED, acknowledged=len(history.submits), lost=0,
                 twice=0, direct=len(history.directs), served=len(served), near_failed=sum(
                     d.status != 200 for d in history.directs if d.nonce.startswith("near-")),
                 faults=nemesis.counts, ready_after_s=round(back, 2))
    print(f"{len(history.submits)} durable calls, {len(served)} of {len(history.directs)} direct ones served, faults "
          f"{dict(sorted(nemesis.counts.items()))}, all nodes ready {back:.1f} s after the last one")
    assert served and history.submits


def check(hosts, history, runs):
    record = {}
    for s in history.submits:
        found = record_of(hosts, s.call)
        if found:
            record[s.call] = found
    wrong = model.check_durable(history, runs, record) + model.check_direct(history, runs, HOME)
    assert not wrong, f"SEED={SEED}\n" + "\n".join(wrong[:20])
