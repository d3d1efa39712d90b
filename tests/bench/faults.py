"""What is promised for faults, each with its figure. `make bench-faults` runs the chaos suite first, whose counts are in
build/chaos.json; the times are measured here, ROUNDS (5) each, and the worst of them is told. RUN_MS (60,000) is how long
control is dead, and a link slow; OUTAGE_MS (5,000) how long PostgreSQL is down. PARTS=F1,F11 takes some of them."""
import collections
import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import traceback

import bench
import faults_clock
import overload
import postgres
import upgrades
from harness import OUT, Background, Daemon, alive, echo_spec, until
from hosts import Hosts, Load

ROUNDS = int(os.environ.get("ROUNDS", "5"))
RUN_S = int(os.environ.get("RUN_MS", "60000")) / 1000
OUTAGE_S = int(os.environ.get("OUTAGE_MS", "5000")) / 1000
NOTICED_S = 5  # so long, and a while, a leader may go on without its store
ADOPTED = 100
COUNTS = OUT / "chaos.json"


def goal(id, what, value, unit, most):
    """A figure that may be at most so much."""
    return bench.row(id, what, value, unit, goal=f"<= {most}" if most else "0", passed=None if value is None else value <= most)


@contextlib.contextmanager
def running(made):
    try:
        yield made
    finally:
        made.stop()


def tried(work):
    with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
        return work()
    return None


def seconds(condition, what):
    begin = time.monotonic()
    until(lambda: tried(condition), what, 60)
    return time.monotonic() - begin


def accepted(daemon, name):
    headers = {"Prefer": "respond-async"}
    return daemon.client.request("POST", f"/v1/functions/{name}/calls", b"x", headers, timeout=10).status == 202


def control_is_back(daemon):
    """From the kill to a call that a replica was started for."""
    took = []
    for i in range(ROUNDS):
        daemon.echo(f"cold{i}")
        os.kill(daemon.roles()["control"], signal.SIGKILL)
        took.append(seconds(lambda i=i: daemon.call(f"cold{i}", timeout=20).status == 200, "a start"))
        time.sleep(5.1)  # one that lived so long begins again at once, not after a pause
    return max(took)


def all_are_adopted(daemon):
    """From the kill of agent and gateway to an answer of each replica over a new connection."""
    names = [f"kept{i}" for i in range(ADOPTED)]
    for name in names:
        daemon.echo(name, scale={"min": 1, "max": 1})
    pids = {name: daemon.wait_replicas(name, 1)[0]["pid"] for name in names}
    took = []
    for _ in range(ROUNDS):
        roles = daemon.roles()
        begin = time.monotonic()
        for role in ("agent", "gateway"):
            os.kill(roles[role], signal.SIGKILL)
        for name in names:
            until(lambda n=name: tried(lambda: daemon.call(n, timeout=10).status == 200), name, 30)
        took.append(time.monotonic() - begin)
        assert all(alive(pid) for pid in pids.values())
        time.sleep(5.1)
    for name in names:
        daemon.client.request("DELETE", f"/v1/functions/{name}")
    return max(took)


def calls_without_control(daemon):
    daemon.echo("warm", scale={"min": 1, "max": 1, "concurrency": 8})
    daemon.wait_replicas("warm", 1)
    assert daemon.call("warm").status == 200
    daemon.proc.send_signal(signal.SIGSTOP)  # nobody starts another one
    try:
        os.kill(daemon.roles()["control"], signal.SIGKILL)
        load = Load(daemon.client, "/f/warm/x", pause=0.01)
        time.sleep(RUN_S)
        calls = load.stop()
    finally:
        daemon.proc.send_signal(signal.SIGCONT)
    return calls, len(load.failed)


def latencies(client, path, until_done):
    got = []
    while not until_done():
        begin = time.monotonic()
        assert client.get(path).status == 200
        got.append(time.monotonic() - begin)
        time.sleep(0.005)
    return bench.quantile(got, 0.99)


def blackholes(hosts):
    """How long until a call on a node that is cut off hears of it; and what calls elsewhere feel of that."""
    first = hosts.first
    for name, host in (("far", "b"), ("near", "c")):
        first.echo(name, placement={"labels": {"host": host}}, scale={"min": 1, "max": 1, "concurrency": 8})
        first.wait_replicas(name, 1)
    took, others, making = [], [], []
    for _ in range(ROUNDS):
        until(lambda: tried(lambda: first.call("far", timeout=10).status == 200), "it is there", 60)
        end = time.monotonic() + 4
        before = latencies(first.client, "/f/near/x", lambda end=end: time.monotonic() > end)
        waiting = first.client.background("GET", "/f/far/sleep?ms=60000", timeout=90)
        until(lambda: first.client.get("/v1/functions/far").json()["in_flight"] == 1, "it runs there")
        begin = time.monotonic()
        hosts.net.cut("a", "b")  # by a program, which a busy machine may let wait: what it takes is nobody's silence
        making.append(time.monotonic() - begin)
        begin += making[-1]
        noticed = Background(lambda w=waiting, b=begin: (w.result(60).status, time.monotonic() - b))
        during = latencies(first.client, "/f/near/x", lambda n=noticed: not n.thread.is_alive())
        status, after = noticed.result()
        assert status in (502, 503, 504), status
        took.append(after)
        others.append(during / before)
        hosts.net.heal()
        hosts.wait_nodes("ready", timeout=60)
    return max(took), bench.quantile(others, 0.5), max(making)


def slow_link(hosts):
    """Half a second more each way: how often the node's state changes."""
    until(lambda: tried(lambda: hosts.first.call("far", timeout=10).status == 200), "it is there", 60)
    last = hosts.first.events()[-1]["id"]
    hosts.net.slow("a", "b", 0.5)
    load = Load(hosts.first.client, "/f/far/x", threads=1)
    time.sleep(RUN_S)
    failed = load.stop() and load.failed
    hosts.net.heal()
    return changes_of(hosts, "b", last), len(failed)


class Spread:
    """Calls of a function with a replica on each host, by threads: when each began, how long it took, which replica it had."""

    def __init__(self, first, threads=6):
        memory = first.client.get("/v1/nodes").json()["items"][0]["memory_bytes"]
        first.echo("spread", resources={"memory": f"{(memory >> 20) * 6 // 10}MiB"}, limits={"first_byte": "60s"},
                   scale={"min": 3, "max": 3, "concurrency": 8})
        self.first, self.calls, self.failed, self.stopping = first, [], 0, threading.Event()
        self.at = {r["node"]: r["id"] for r in first.wait_replicas("spread", 3)}
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()
        until(lambda: {c[2] for c in self.calls} >= set(self.at.values()), "all are called")

    def run(self):
        while not self.stopping.is_set():
            begun = time.monotonic()
            reply = self.first.call("spread", "/sleep?ms=20", timeout=90)
            self.failed += reply.status != 200
            self.calls.append((begun, time.monotonic() - begun, reply.headers.get("gantry-replica")))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.first.delete("spread")


def changes_of(hosts, name, last):
    return len([e for e in hosts.first.events(after=last) if e["type"].startswith("node.") and e.get("node") == name])


def stands_still(hosts):
    """All of a host's processes are stopped for half of RUN_S: until when calls went to it, and what its state did."""
    spread, last = Spread(hosts.first), hosts.first.events()[-1]["id"]
    begun = time.monotonic()
    with hosts["b"].standing_still():
        time.sleep(RUN_S / 2)
    hosts.wait_nodes("ready", timeout=60)
    time.sleep(RUN_S / 2)
    spread.stop()
    stuck = [max(began - begun, 0) for began, took, _ in spread.calls if took > 1]
    return max(stuck, default=0), len(stuck), spread.failed, changes_of(hosts, "b", last)


def starved(hosts):
    """A host's processes run for 5 of each 100 ms: its part of the calls from the fifth second on, and what its state did."""
    spread, last = Spread(hosts.first), hosts.first.events()[-1]["id"]
    begun = time.monotonic()
    while time.monotonic() < begun + RUN_S:
        with hosts["b"].standing_still():
            time.sleep(0.095)
        time.sleep(0.005)
    end = time.monotonic()
    spread.stop()
    later = [who for began, _, who in spread.calls if begun + 5 < began < end]
    return later.count(spread.at["b"]) / len(later), spread.failed, changes_of(hosts, "b", last)


def a_full_disk(host):
    host.echo("kept", scale={"min": 1, "max": 1})
    took = []
    for _ in range(ROUNDS):
        host.fill()
        until(lambda: tried(lambda: host.client.request("POST", "/v1/functions/kept/calls", b"x",
                                                        {"Prefer": "respond-async"}).status == 507), "it is full")
        host.unfill()
        took.append(seconds(lambda: accepted(host, "kept"), "there is room"))
    return max(took)


def intake(daemon, until_s):
    """What those were answered who offered durable calls to a daemon without its store."""
    answers = collections.Counter()
    while time.monotonic() < until_s:
        answers[daemon.client.request("POST", "/v1/functions/f/calls", b"x", {"Prefer": "respond-async"}).status] += 1
        time.sleep(0.2)
    return answers


def full_service(daemon, name):
    """A function can be deployed, a call starts its first replica, and a durable call of it has its result."""
    if daemon.client.request("PUT", f"/v1/functions/{name}", echo_spec()).status not in (200, 201):
        return False
    assert daemon.call(name, timeout=20).status == 200
    reply = daemon.client.request("POST", f"/v1/functions/{name}/calls", b"x", {"Prefer": "wait=20"}, timeout=30)
    return reply.status == 200 and reply.text == "POST /\nx"


def without_store(server, daemon):
    """Each round: the database dies, is back after OUTAGE_S, and all is served again."""
    took, answers, calls, failed = [], collections.Counter(), 0, 0
    daemon.echo("f", scale={"min": 1, "max": 1, "concurrency": 8})
    for i in range(ROUNDS):
        until(lambda: tried(lambda: accepted(daemon, "f")), "calls are accepted", 60)
        load = Load(daemon.client, "/f/f/x", pause=0.01)
        server.crash()
        end = time.monotonic() + OUTAGE_S
        time.sleep(min(OUTAGE_S / 2, NOTICED_S))
        answers += intake(daemon, end)
        server.start()
        took.append(seconds(lambda i=i: full_service(daemon, f"new{i}"), "all is served again"))
        calls += load.stop()
        failed += len(load.failed)
    return max(took), answers, calls, failed


def lost_store():
    if not postgres.programs():
        return [goal("F11", "PostgreSQL is back: until all is served, worst", None, "s", 10)]
    server = postgres.Postgres()
    try:
        server.start()
        daemon = Daemon()
        daemon.config = daemon.dir / "conf"
        daemon.config.write_text(f"[control]\nstore = {server.url}\n")
        with running(daemon.start(60)):
            took, answers, calls, failed = without_store(server, daemon)
    finally:
        server.stop()
    return [goal("F11", f"PostgreSQL is back after {OUTAGE_S:g} s: until a function is deployed, started and called durably, worst",
                 took, "s", 10),
            goal("F11.warm", f"{calls:,} warm calls meanwhile: failed", failed, "", 0),
            goal("F11.intake", f"{sum(answers.values()):,} durable calls offered meanwhile: answered otherwise than with 503",
                 sum(answers.values()) - answers[503], "", 0)]


def dead_roles():
    with running(Daemon().start()) as daemon:
        return [goal("F1.back", "control is killed: until a call runs that needs a start, worst", control_is_back(daemon), "s", 2),
                goal("F1.adopt", f"agent and gateway are killed: until {ADOPTED} replicas have answered over new connections, worst",
                     all_are_adopted(daemon), "s", 1)]


def dead_control():
    with running(Daemon().start()) as daemon:
        calls, failed = calls_without_control(daemon)
    return [goal("F1.warm", f"{calls:,} warm calls while control is dead for {RUN_S:g} s: failed", failed, "", 0)]


def disk_and_links():
    with running(Hosts("abc", disk="96m")) as hosts:
        rows = [goal("F3", "a full state disk has room again: until calls are accepted, worst", a_full_disk(hosts.first), "s", 5)]
        noticed, others, making = blackholes(hosts)
        changes, failed = slow_link(hosts)
        for name in ("far", "near", "kept"):
            hosts.first.delete(name)
        still_s, stuck, still_failed, still_changes = stands_still(hosts)
        part, starved_failed, starved_changes = starved(hosts)
    return [*rows,
            goal("F5", f"a node's link loses all (which took up to {making:.2f} s to be made): until a call on it hears of that, worst",
                 noticed, "s", 3.1),
            goal("F5.others", "p99 of calls elsewhere meanwhile, of that before, median", others, "", 1.1),
            goal("F6", f"a link is half a second longer each way for {RUN_S:g} s: changes of the node's state", changes, "", 2),
            goal("F6.calls", "calls there that failed meanwhile", failed, "", 0),
            goal("F6.still", f"a host's processes stand still for {RUN_S / 2:g} s: until the last of the {stuck} calls began that waited there",
                 still_s, "s", 5),
            goal("F6.still.changes", f"changes of that node's state (suspect, lost, ready) in {RUN_S:g} s; {still_failed} calls failed",
                 still_changes, "", 2),
            bench.row("F6.starved", f"a host has 5 of 100 ms: its part of the calls, a third before; {starved_failed} failed", part, ""),
            goal("F6.starved.changes", f"changes of that node's state in {RUN_S:g} s", starved_changes, "", 2)]


def counted():
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    kills = counts.get("kills", {})
    suites = [counts[k] for k in ("sqlite", "postgresql") if k in counts]
    fewest = min(kills["kills"].values()) if kills else None
    faults = sum(sum(s["faults"].values()) for s in suites)
    return [
        bench.row("F1.kills", "kill -9 of each of control, gateway, agent, uplink, supervisor, gpud, the images' process, replicas",
                  fewest, "", goal=">= 200", passed=None if fewest is None else fewest >= 200),
        goal("F1.lost", f"of {kills.get('acknowledged', 0):,} calls acknowledged meanwhile: lost, or with two results",
             kills["lost"] + kills["twice"] if kills else None, "", 0),
        goal("F9", f"processes without an owner, 10 s after the last of those kills, on {kills.get('hosts', 0)} hosts",
             kills.get("without_owner"), "", 0),
        goal("F1.hosts", f"three hosts, both stores, {faults:,} faults of all kinds, "
             f"{sum(s['acknowledged'] for s in suites):,} calls: lost, or with two results",
             sum(s["lost"] + s["twice"] for s in suites) if suites else None, "", 0)]


# By the word that PARTS= takes.
PARTS = {"F1.counts": counted, "F1": dead_roles, "F1.warm": dead_control, "F3": disk_and_links, "F8": faults_clock.rows, "F11": lost_store,
         "F12": upgrades.rows, "F13": overload.rows}


def main():
    """A part that breaks off is told, and the others are measured all the same."""
    rows, broken = [], []
    for name in os.environ.get("PARTS", ",".join(PARTS)).split(","):
        try:
            if name in PARTS:  # else it is another benchmark's
                rows += PARTS[name]()
        except Exception:
            traceback.print_exc()
            broken.append(name)
    bench.write("faults", rows)
    if broken:
        sys.exit(f"faults: broken off: {', '.join(broken)}")


if __name__ == "__main__":
    main()
