"""Roles are killed at random while durable calls are made and run: nothing that was acknowledged is lost, no result is
recorded twice, and a request that was repeated is one call.

KILLS=200 kills more often than the suite does; SEED repeats a run's choices.
"""
import contextlib
import http.client
import os
import random
import signal
import sqlite3
import threading
import time

import pytest

from harness import SLOW, Daemon, until

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
CALLERS = 4


@pytest.fixture
def own_daemon():
    daemon = Daemon()
    daemon.start()
    yield daemon
    daemon.stop()


class Caller(threading.Thread):
    """Makes calls one after the other, each until it is acknowledged, and writes down what it was told."""

    def __init__(self, daemon, name, number, stop):
        super().__init__(daemon=True)
        self.daemon_, self.name_, self.number, self.stop = daemon, name, number, stop
        self.acknowledged, self.tries, self.error = {}, 0, None

    def run(self):
        try:
            n = 0
            while not self.stop.is_set():
                key = f"{self.number}-{n}"
                self.make(key, self.number * 1000003 + n)
                n += 1
        except Exception as e:  # shown by the test
            self.error = e

    def make(self, key, n):
        headers = {"Prefer": "respond-async", "Idempotency-Key": key, "Content-Type": "text/plain"}
        body = f"call {key} " + "x" * (n * 7919 % 90000 if n % 10 == 0 else 20)
        slow = n % 2
        path = f"/v1/functions/{self.name_}/calls?path=" + (f"/sleep?ms={n % 40}" if slow else "/")
        while True:
            self.tries += 1
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = self.daemon_.client.request("POST", path, body, headers, timeout=10)
                if reply.status == 202:
                    self.acknowledged[key] = (reply.json()["id"], "slept\n" if slow else body)
                    return
                assert reply.status == 503, reply
            time.sleep(0.01)


def kill(daemon, rng):
    role = rng.choice(["control", "gateway", "agent"])
    pid = daemon.roles().get(role)
    if pid is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: daemon.roles().get(role) not in (None, pid), f"{role} is back")
    return role


def all_ended(daemon, name):
    try:
        reply = daemon.client.get(f"/v1/functions/{name}/calls?state=queued,waiting,running&limit=1", timeout=10)
        return reply.status == 200 and not reply.json()["items"]
    except (OSError, http.client.HTTPException):
        return False


def test_nothing_acknowledged_is_lost_and_no_result_is_recorded_twice(own_daemon):
    print(f"SEED={SEED} KILLS={KILLS}")
    signal.alarm((90 + 2 * KILLS) * SLOW)
    rng = random.Random(SEED)
    own_daemon.echo("chaos", scale={"min": 1, "max": 2, "concurrency": 8},
                    retry={"max": 50, "on": ["crash", "timeout", "502", "503"],
                           "backoff": {"first": "10ms", "most": "200ms"}})
    stop = threading.Event()
    callers = [Caller(own_daemon, "chaos", i, stop) for i in range(CALLERS)]
    for caller in callers:
        caller.start()
    killed = []
    while len(killed) < KILLS:
        time.sleep(rng.uniform(0.0, 0.4))
        killed += filter(None, [kill(own_daemon, rng)])
    stop.set()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive() and not caller.error, (SEED, caller.error)
    until(lambda: all_ended(own_daemon, "chaos"), "every call has ended", 60)
    acknowledged = {k: v for c in callers for k, v in c.acknowledged.items()}
    assert len({call for call, _ in acknowledged.values()}) == len(acknowledged), SEED
    check_history(own_daemon, acknowledged)
    print(f"{len(acknowledged)} calls, {sum(c.tries for c in callers)} tries, kills: "
          f"{ {r: killed.count(r) for r in sorted(set(killed))} }")


def check_history(daemon, acknowledged):
    """The record against what callers were told: by the API, and by the rows themselves."""
    db = sqlite3.connect(daemon.state / "control/gantry.db")
    rows = {row[0]: row[1:] for row in db.execute("SELECT id, seq, state, key FROM tasks WHERE function = 'chaos'")}
    good = dict(db.execute("SELECT seq, count(*) FROM task_attempts WHERE status = 200 GROUP BY seq"))
    results = dict(db.execute("SELECT seq, count(*) FROM task_results GROUP BY seq"))
    db.close()
    assert len(rows) == len({key for _, _, key in rows.values()}), (SEED, "a key made two calls")
    for key, (call, _) in acknowledged.items():
        assert call in rows, (SEED, key, "lost")
        seq, state, own = rows[call]
        assert own == key and state == 3, (SEED, key, state)
        assert good[seq] == 1 and results[seq] == 1, (SEED, key, good.get(seq), results.get(seq))
    for key in random.Random(SEED).sample(sorted(acknowledged), min(50, len(acknowledged))):
        call, answer = acknowledged[key]
        reply = daemon.client.get(f"/v1/calls/{call}/result")
        assert reply.status == 200 and reply.text.endswith(answer), (SEED, key, reply)
