"""G7, what a connection costs in memory; G13, requests held for a replica that is not there yet."""
import contextlib
import pathlib
import shutil
import statistics
import tempfile

from bench import row
from gateway_rig import SUT_CORE, Live, Ours, anon_kib, once, progress, upstream_spec
from harness import until

WARM_UP = 200  # connections before the first look: whatever is made once is made


# ---- G7 ----

def idle_bytes(system, conns):
    """Of each of so many idle connections, after one request each."""
    once(system, "bytes-1024", WARM_UP, 64).close()
    before = anon_kib(system.pids())
    idle = once(system, "bytes-1024", conns, 64)
    idle.result()
    after = anon_kib(system.pids())
    idle.close()
    return (after - before) * 1024 / conns


def stream_bytes(system, streams):
    """Of each of so many running event streams."""
    system.load("sse", "sse-2-100", conns=WARM_UP, events=2)
    before = anon_kib(system.pids())
    running = Live(system, "sse", "sse-20-100", "streaming", conns=streams, events=20)
    after = anon_kib(system.pids())
    running.result()
    running.close()
    return (after - before) * 1024 / streams


def connections(peers, conns, streams):
    """The gateway starts afresh for each figure: what it left free before would hide what it takes."""
    rows = []
    for id, what, measure, n, goal in (("G7", "an idle connection", idle_bytes, conns, 256),
                                       ("G7.stream", "a running event stream", stream_bytes, streams, 2048)):
        base = measure(peers.fresh_nginx(), n)
        with Ours(SUT_CORE) as ours:
            mine = measure(ours.system(), n)
        rows.append(row(id, f"memory of the gateway for {what}, of {n:,}", mine, "B", peer=base, goal=f"<= {goal} B",
                        passed=mine <= goal))
        progress(f"G7: {what}: {mine:.0f} B, nginx {base:.0f} B")
    return rows


# ---- G13 ----

def rate(system, rounds, seconds):
    runs = [system.load("closed", "bytes-1024", conns=64, seconds=seconds) for _ in range(rounds)]
    return statistics.median(r["requests"] / r["seconds"] for r in runs)


def burst(conns, rounds, seconds):
    gate = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench-"))
    gate.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, gate, ignore_errors=True)
        ours = stack.enter_context(Ours(SUT_CORE))
        warm = ours.system()
        before_rate = rate(warm, rounds, seconds)
        before_kib = anon_kib(warm.pids())
        # Its program listens when the gate is open: until then everything waits.
        ours.put("cold", upstream_spec("gate=/gate/open", scale={"min": 0, "max": 1, "concurrency": 64},
                                       volumes=[{"host": str(gate), "path": "/gate"}]))
        held = once(ours.system("ours", "cold"), "bytes-1024", conns, conns)
        until(lambda: ours.client.get("/v1/functions/cold").json()["queued"] == conns, f"{conns} requests wait", 60)
        held_mib = (anon_kib(warm.pids()) - before_kib) / 1024
        progress(f"G13: {conns:,} requests are held")
        (gate / "open").touch()
        result = held.result()
        held.close()
        after_rate = rate(warm, rounds, seconds)
    if result["errors"] or result["requests"] != conns:
        raise AssertionError(f"of {conns} held requests: {result}")
    share = after_rate / before_rate
    return [row("G13", f"memory of the gateway with {conns:,} requests held", held_mib, "MiB", goal="<= 40 MiB",
                passed=held_mib <= 40),
            row("G13.after", "requests a second after they were answered, 64 connections, peer: before", after_rate,
                "1/s", peer=before_rate, goal=">= 0.95 of before", passed=share >= 0.95)]
