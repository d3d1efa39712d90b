"""Durable calls through the public API: how many can be accepted, and run, in a second.

Each round measures the raw store (build/tests/bench/store/store) and the daemon on the same disk, one after the other;
figures are medians of ROUNDS (3). CALLS (200,000) are the backlog that is run. Loads are made by threads of this program, so
the client's own time is in the wall time of single calls; the NDJSON load costs it next to nothing.
"""
import datetime
import http.client
import json
import os
import subprocess
import threading
import time

import bench
from gateway_rig import UPSTREAM_ROOT
from harness import OUT, Daemon

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CALLS = int(os.environ.get("CALLS", "200000"))
BATCH = 50000  # lines
SECONDS = 5
PACED = 4000  # calls a second that are accepted and run at the same time: half of the goal
PACE_S = 0.02  # of that: a batch of each of its threads
LINE = json.dumps({"path": "/bytes-512", "body": {"text": "x" * 480}}) + "\n"


def cpu_s(daemon):
    """User and system time of the daemon's roles."""
    return bench.cpu_ms(daemon.roles().values()) / 1000


def headers(daemon, kind):
    return {"Authorization": f"Bearer {daemon.token}", "Content-Type": kind}


def run_threads(work, n):
    failures = []

    def guarded(i):
        try:
            work(i)
        except Exception as e:  # told below
            failures.append(e)

    all_of = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in all_of:
        t.start()
    for t in all_of:
        t.join()
    if failures:
        raise failures[0]


def post(conn, path, body, head):
    conn.request("POST", path, body, head)
    reply = conn.getresponse()
    text = reply.read()
    assert reply.status == 202, (reply.status, text[:300])
    return text


def accepted(daemon, name, conn, lines):
    text = post(conn, f"/v1/functions/{name}/batches", (LINE * lines).encode(), headers(daemon, "application/x-ndjson"))
    return json.loads(text.splitlines()[-1])["accepted"]


def batches(daemon, name, threads=4, lines=5000):
    """NDJSON: accepted a second, and the daemon's processor time for each, us."""
    counts, end = [0] * threads, time.monotonic() + SECONDS

    def work(i):
        conn = http.client.HTTPConnection(*daemon.address, timeout=120)
        while time.monotonic() < end:
            counts[i] += accepted(daemon, name, conn, lines)

    begun, cpu = time.monotonic(), cpu_s(daemon)
    run_threads(work, threads)
    return sum(counts) / (time.monotonic() - begun), (cpu_s(daemon) - cpu) * 1e6 / sum(counts)


def singles(daemon, name, rate=None, threads=16):
    """One POST a call: accepted a second, and how long each took, ms. rate: of all threads together."""
    head = headers(daemon, "text/plain") | {"Prefer": "respond-async"}
    took, end = [[] for _ in range(threads)], time.monotonic() + SECONDS

    def work(i):
        conn = http.client.HTTPConnection(*daemon.address, timeout=60)
        due = time.monotonic() + (i / rate if rate else 0)
        while time.monotonic() < end:
            if rate:
                time.sleep(max(0.0, due - time.monotonic()))
                due += threads / rate
            begun = time.monotonic()
            post(conn, f"/v1/functions/{name}/calls", b"x" * 480, head)
            took[i].append((time.monotonic() - begun) * 1000)

    begun = time.monotonic()
    run_threads(work, threads)
    every = [t for part in took for t in part]
    return len(every) / (time.monotonic() - begun), every


def succeeded(daemon):
    return sum(v for k, v in daemon.metrics().items() if k.startswith("gantry_durable_calls_succeeded_total"))


def until_succeeded(daemon, count):
    """Looks seldom while there is long to go: a look costs a processor that is measured a few milliseconds."""
    begun, first = time.monotonic(), succeeded(daemon)
    now = first
    while now < count:
        per_s = (now - first) / (time.monotonic() - begun)
        time.sleep(min(max((count - now) / per_s / 2, 0.01), 0.5) if per_s else 0.01)
        now = succeeded(daemon)


def serve(daemon, name):
    """By the server that gateways are measured with: what a replica costs is no part of the figure."""
    daemon.put(name, {"image": f"dir:{UPSTREAM_ROOT}", "command": ["/upstream", "port=8000"], "port": 8000,
                      "scale": {"min": 1, "max": 1, "concurrency": 64}})
    daemon.wait_replicas(name, 1)


def drain(daemon, name):
    """Leases and results a second, and processor time for each: a backlog is made while the function does not start,
    then it may."""
    daemon.shell(name, "exit 3")
    for at in range(0, CALLS, BATCH):
        accepted(daemon, name, http.client.HTTPConnection(*daemon.address, timeout=120), min(BATCH, CALLS - at))
    before = succeeded(daemon)
    serve(daemon, name)
    until_succeeded(daemon, before + 1)
    ahead, begun, cpu = succeeded(daemon) - before, time.monotonic(), cpu_s(daemon)
    until_succeeded(daemon, before + CALLS)
    done = CALLS - ahead
    return done / (time.monotonic() - begun), (cpu_s(daemon) - cpu) * 1e6 / done


def paced(daemon, name, threads=4):
    """PACED, in small batches: from each call's arrival until its result went to the store, ms."""
    lines, end = round(PACED * PACE_S / threads), time.monotonic() + SECONDS
    counts, before = [0] * threads, succeeded(daemon)

    def work(i):
        conn = http.client.HTTPConnection(*daemon.address, timeout=60)
        due = time.monotonic() + i * PACE_S / threads
        while time.monotonic() < end:
            time.sleep(max(0.0, due - time.monotonic()))
            due += PACE_S
            counts[i] += accepted(daemon, name, conn, lines)

    run_threads(work, threads)
    until_succeeded(daemon, before + sum(counts))
    return times(daemon, name, sum(counts))


def times(daemon, name, count):
    """Of the newest calls of the function."""
    found, cursor = [], ""
    while len(found) < count:
        page = daemon.client.get(f"/v1/functions/{name}/calls?limit=1000{cursor}").json()
        for call in page["items"]:
            begun, ended = (datetime.datetime.fromisoformat(call[k]) for k in ("created", "ended"))
            found.append((ended - begun).total_seconds() * 1000)
        cursor = f"&cursor={page['next_cursor']}"
    return found[:count]


def raw_store(directory, name):
    """The store alone, on the same disk."""
    folder = directory / name
    folder.mkdir()
    out = subprocess.run([OUT / "tests/bench/store/store", folder], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def measure(daemon):
    """A list of each figure, one a round."""
    found = {}
    daemon.shell("held", "exit 3")  # its calls wait for ever
    serve(daemon, "paced")

    def note(**figures):
        for key, value in figures.items():
            found.setdefault(key, []).append(value)

    for i in range(ROUNDS):
        print(f"  round {i + 1} of {ROUNDS}", flush=True)
        raw = raw_store(daemon.dir, f"raw{i}")
        note(raw_in=raw["enqueue_per_s"], raw_run=raw["lease_finish_per_s"])
        per_s, cpu = batches(daemon, "held")
        note(batch=per_s, batch_cpu=cpu, batch_of_raw=per_s / raw["enqueue_per_s"])
        per_s, _ = singles(daemon, "held")
        _, took = singles(daemon, "held", rate=max(1.0, per_s / 2))
        note(single=per_s, single_p99=bench.quantile(took, 0.99))
        per_s, cpu = drain(daemon, f"drained{i}")
        note(run=per_s, run_cpu=cpu, run_of_raw=per_s / raw["lease_finish_per_s"])
        daemon.client.request("DELETE", f"/v1/functions/drained{i}")
        took = paced(daemon, "paced")
        note(run_p50=bench.quantile(took, 0.5), run_p99=bench.quantile(took, 0.99))
    return {key: bench.quantile(values, 0.5) for key, values in found.items()}


def main():
    daemon = Daemon()
    daemon.start()
    try:
        f = measure(daemon)
    finally:
        daemon.stop()

    def row(id, what, key, unit, goal=None, met=None, peer=None):
        return bench.row(id, what, f[key], unit, peer=peer and f[peer], goal=goal, passed=met and met(f[key]))

    bench.write("nodes", [
        row("nodes.enqueue", "calls accepted, batches as NDJSON; peer: the raw store", "batch", "/s", ">= 20,000",
            lambda v: v >= 20_000, "raw_in"),
        row("nodes.enqueue.raw", "the same as a part of the raw store", "batch_of_raw", "", ">= 0.4", lambda v: v >= 0.4),
        row("nodes.enqueue.cpu", "the daemon's processor time for each", "batch_cpu", "us"),
        row("nodes.single", "calls accepted, one a request; the client is the limit", "single", "/s"),
        row("nodes.single.p99", "at half of that, from the request to the answer", "single_p99", "ms", "<= 25",
            lambda v: v <= 25),
        row("nodes.run", "calls leased, run and finished; peer: the raw store, which runs nothing", "run", "/s",
            ">= 8,000", lambda v: v >= 8_000, "raw_run"),
        row("nodes.run.raw", "the same as a part of the raw store", "run_of_raw", "", ">= 0.4", lambda v: v >= 0.4),
        row("nodes.run.cpu", "the daemon's processor time for each", "run_cpu", "us"),
        row("nodes.run.p50", f"at {PACED:,} a second, accepted and run: from a call's arrival to the record of its result", "run_p50", "ms"),
        row("nodes.run.p99", "the same", "run_p99", "ms", "<= 25", lambda v: v <= 25),
    ])


if __name__ == "__main__":
    main()
