"""What is promised of what is written down: power that is lost, disks that fail, leaders that were replaced. A part of
`make bench-faults`. The first two figures are of the store's own tests, which are asked for more than in `make check`.
ROUNDS (5); SPLITS (1,000) rounds of the store alone."""
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import time

import bench
import postgres
from harness import OUT, Background, Daemon, failing_syncs, until
from several import control, note_writes, noted_writes

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SPLITS = os.environ.get("SPLITS", "1000")
TESTS = (OUT / "plain" if (OUT / "plain").is_dir() else OUT) / "tests/unit/store"
PAIRS = 2         # of daemons, at once
HELD = 8          # requests that wait at a leader that sleeps
STEADY_S = 5.1    # a role that lived so long begins again at once, not after a pause


def counted(program, **settings):
    """The last line of a test program."""
    done = subprocess.run([TESTS / program], env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(lines[-1])


def zero(id, what, value):
    return bench.row(id, what, value, "", goal="0", passed=None if value is None else value == 0)


def power_loss():
    got = counted("test_power", POWER_SEEDS=str(ROUNDS))
    return [zero("F2", f"power cut at each write of a store, {got['cuts']:,} times: did not open, was not whole, or lacked "
                 "what was acknowledged", got["lost"])]


def submit(daemon, name):
    """The call's id, or None: it was not accepted."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        reply = daemon.client.request("POST", f"/v1/functions/{name}/calls", b"x", {"Prefer": "respond-async"}, timeout=30)
        return reply.json()["id"] if reply.status == 202 else None
    return None


def lost_calls(daemon, calls):
    """Of those that were acknowledged: not there, or without a result."""
    def state(call):
        reply = daemon.client.get(f"/v1/calls/{call}?wait=20s")
        return reply.json()["state"] if reply.status == 200 else reply.status
    return [call for call in calls if state(call) != "succeeded"]


def failing_disk():
    daemon = Daemon().start()
    took, acknowledged, wrong = [], [], 0
    try:
        daemon.echo("f", scale={"min": 1, "max": 1})
        for _ in range(ROUNDS):
            acknowledged.append(until(lambda: submit(daemon, "f"), "calls are accepted", 30))
            pid, said = daemon.roles()["control"], len(daemon.log())
            with failing_syncs(pid):
                begin = time.monotonic()
                wrong += submit(daemon, "f") is not None
                until(lambda p=pid: daemon.roles().get("control") != p, "control has ended", 30)
                took.append(time.monotonic() - begin)
            until(lambda: submit(daemon, "f"), "calls are accepted", 30)
            log = daemon.log()[said:]
            wrong += "the state disk failed, nothing more is written" not in log or "the control ended with status 1" not in log
            time.sleep(STEADY_S)
        wrong += len(lost_calls(daemon, acknowledged))
    finally:
        daemon.stop()
    return [zero("F4", f"of {ROUNDS} syncs of the database that failed: a write that was acknowledged then or was lost, control "
                 "that did not end with status 1, or did not say why", wrong),
            bench.row("F4.end", "the request whose sync fails: until control has ended, worst", max(took), "s")]


class Pair:
    """Two daemons with one database: the one that leads is paused, and woken when the other one leads."""

    def __init__(self, rounds):
        self.rounds, self.acknowledged, self.held = rounds, [], 0
        self.database = postgres.Postgres().start()
        self.thread = Background(self.run)

    def run(self):
        try:
            with control(self.database, "a", "2s") as a, control(self.database, "b", "2s") as b:
                note_writes(self.database)
                a.echo("f", scale={"min": 1, "max": 2})
                for _ in range(self.rounds):
                    self.round(*((a, b) if self.database.sql("SELECT holder FROM leader") == "a" else (b, a)))
                self.lost = lost_calls(a, self.acknowledged)
                self.writes, self.old = noted_writes(self.database)
        finally:
            self.database.stop()

    def accepted(self, daemon):
        call = submit(daemon, "f")
        if call:
            self.acknowledged.append(call)
        return call

    def round(self, leader, other):
        until(lambda: self.accepted(leader), "the leader accepts calls", 30)
        victim = leader.roles()["control"]
        busy = [Background(lambda: submit(leader, "f")) for _ in range(HELD)]
        time.sleep(random.uniform(0, 0.02))
        os.kill(victim, signal.SIGSTOP)
        try:
            until(lambda: self.accepted(other), "the other one leads", 30)
            held = [Background(lambda: submit(leader, "f")) for _ in range(HELD)]
            time.sleep(random.uniform(0, 0.2))
        finally:
            os.kill(victim, signal.SIGCONT)
        for answer in busy + held:
            call = answer.result(60)
            self.held += 1
            if call:
                self.acknowledged.append(call)
        until(lambda: leader.roles().get("control") not in (None, victim), "the one that slept has ended", 30)
        until(lambda: self.accepted(leader), "and another one follows", 30)


def split_brain():
    got = counted("test_split", SPLIT_ROUNDS=SPLITS)
    rows = [zero(f"F7.{kind}", f"{got[kind]['rounds']:,} rounds of a leader of the store ({name}) that is paused while it writes, and "
                 "woken when the next one has written: writes accepted with the old epoch",
                 got[kind]["accepted"] if got[kind]["rounds"] else None)
            for kind, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))]
    if not postgres.programs():
        return rows
    pairs = [Pair(ROUNDS * 5) for _ in range(PAIRS)]
    for pair in pairs:
        pair.thread.result(60 + 60 * pair.rounds)
    rows.append(zero("F7", f"the same {sum(p.rounds for p in pairs)} times with whole daemons, {sum(p.held for p in pairs):,} requests at "
                     f"who sleeps, {sum(p.writes for p in pairs):,} statements that changed something: of a daemon that did not lead",
                     sum(p.old for p in pairs)))
    rows.append(zero("F7.lost", f"of {sum(len(p.acknowledged) for p in pairs):,} calls acknowledged meanwhile: lost",
                     sum(len(p.lost) for p in pairs)))
    return rows


PARTS = {"F2": power_loss, "F4": failing_disk, "F7": split_brain}


def main():
    rows = []
    for name in os.environ.get("PARTS", ",".join(PARTS)).split(","):
        if name in PARTS:  # else it is another benchmark's
            rows += PARTS[name]()
    bench.write("faults_store", rows)


main()
