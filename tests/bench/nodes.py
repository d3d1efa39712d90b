#!/usr/bin/env python3
"""Durable calls through the public API: how many can be accepted, and run, in a second.

    tests/bench/nodes.py [OUT.json] [--seconds N] [--backlog N]

Each figure is also given as a part of what the raw store did in the same run (build/tests/bench/store/store), and with
the processor time of all of the daemon's processes a call. Loads are made by threads of this program, so the client's own
time is in the wall time of single calls; the NDJSON load costs it next to nothing.
"""
import argparse
import http.client
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from harness import Daemon  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
LINE = json.dumps({"body": {"text": "x" * 480}}) + "\n"


def cpu_s(daemon):
    """User and system time of the daemon's roles."""
    total = 0
    for pid in daemon.roles().values():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


def batches(daemon, name, seconds, threads=4, lines=5000):
    """NDJSON: accepted a second."""
    body, headers = (LINE * lines).encode(), {"Authorization": f"Bearer {daemon.token}",
                                              "Content-Type": "application/x-ndjson"}
    counts, end = [0] * threads, time.monotonic() + seconds

    def work(i):
        conn = http.client.HTTPConnection(*daemon.address, timeout=120)
        while time.monotonic() < end:
            conn.request("POST", f"/v1/functions/{name}/batches", body, headers)
            reply = conn.getresponse()
            text = reply.read()
            assert reply.status == 202, (reply.status, text[:300])
            counts[i] += json.loads(text.splitlines()[-1])["accepted"]

    begun, cpu = time.monotonic(), cpu_s(daemon)
    run_threads(work, threads)
    took = time.monotonic() - begun
    return {"accepted": sum(counts), "per_s": sum(counts) / took,
            "cpu_us": (cpu_s(daemon) - cpu) * 1e6 / sum(counts)}


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


def singles(daemon, name, seconds, threads=16, rate=None):
    """One POST a call: accepted a second, and how long each took. rate: of all threads together."""
    headers = {"Authorization": f"Bearer {daemon.token}", "Prefer": "respond-async",
               "Content-Type": "text/plain"}
    took, end = [[] for _ in range(threads)], time.monotonic() + seconds

    def work(i):
        conn = http.client.HTTPConnection(*daemon.address, timeout=60)
        due = time.monotonic() + (i / rate if rate else 0)
        while time.monotonic() < end:
            if rate:
                time.sleep(max(0.0, due - time.monotonic()))
                due += threads / rate
            begun = time.monotonic()
            conn.request("POST", f"/v1/functions/{name}/calls", b"x" * 480, headers)
            reply = conn.getresponse()
            text = reply.read()
            assert reply.status == 202, (reply.status, text[:300])
            took[i].append(time.monotonic() - begun)

    begun, cpu = time.monotonic(), cpu_s(daemon)
    run_threads(work, threads)
    wall = time.monotonic() - begun
    every = [t for part in took for t in part]
    return {"accepted": len(every), "per_s": len(every) / wall, "p50_ms": quantile(every, 0.5) * 1e3,
            "p99_ms": quantile(every, 0.99) * 1e3, "cpu_us": (cpu_s(daemon) - cpu) * 1e6 / max(1, len(every))}


def counters(daemon):
    return {k.split("{")[0]: v for k, v in daemon.metrics().items() if k.startswith("gantry_durable_calls_")}


def drain(daemon, name, count):
    """Leases and results: a backlog is made while the function does not start, then it may."""
    daemon.shell(name, "exit 3")
    body = (LINE * count).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    reply = daemon.client.request("POST", f"/v1/functions/{name}/batches", body, headers, timeout=120)
    assert reply.status == 202, reply
    daemon.echo(name, scale={"min": 1, "max": 1, "concurrency": 64})
    daemon.wait_replicas(name, 1)
    before, begun, cpu = counters(daemon).get("gantry_durable_calls_succeeded_total", 0), time.monotonic(), cpu_s(daemon)
    done = 0
    while done < count:
        time.sleep(0.05)
        done = counters(daemon)["gantry_durable_calls_succeeded_total"] - before
    took = time.monotonic() - begun
    return {"done": done, "per_s": done / took, "cpu_us": (cpu_s(daemon) - cpu) * 1e6 / done}


def raw_store(directory):
    """The store alone, on the same disk."""
    program = ROOT / "build/tests/bench/store/store"
    if not program.exists():
        return None
    out = subprocess.run([program, str(directory)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out", nargs="?", default=str(ROOT / "build/bench/nodes.json"))
    args.add_argument("--seconds", type=float, default=5)
    args.add_argument("--backlog", type=int, default=50000)
    args = args.parse_args()
    daemon = Daemon()
    daemon.start()
    try:
        daemon.shell("held", "exit 3")  # its calls wait for ever
        found = {"raw": raw_store(daemon.dir)}
        found["batch"] = batches(daemon, "held", args.seconds)
        found["single"] = singles(daemon, "held", args.seconds)
        half = max(1.0, found["single"]["per_s"] / 2)
        found["single_half"] = singles(daemon, "held", args.seconds, rate=half)
        found["run"] = drain(daemon, "drained", args.backlog)
        found["queued"] = counters(daemon).get("gantry_durable_calls_queued")
    finally:
        daemon.stop()
    if found["raw"]:
        found["batch"]["of_raw"] = found["batch"]["per_s"] / found["raw"]["enqueue_per_s"]
        found["run"]["of_raw"] = found["run"]["per_s"] / found["raw"]["lease_finish_per_s"]
    pathlib.Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(args.out).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
