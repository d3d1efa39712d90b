"""The gateway against nginx, HAProxy and Go's reverse proxy in the same run, in a network namespace of its own.
ROUNDS (5) interleaved runs of each figure, each of RUN_MS (1000); CONNS (10000) idle connections and held requests;
STARTS (60) cold calls; LEAVERS (100) clients that leave; UPGRADES (20) of
the daemon; MUTANTS (450000) of each message of the oracle's; CALLS of
doors.py's. SEED is printed and can be given back."""
import os
import random
import re
import statistics
import subprocess

import doors
import gateway_latency
import gateway_memory
import gateway_upgrade
from bench import row, write
from gateway_rig import LOAD_CORE, SUT_CORE, Ours, Peers, many_descriptors, private_network, progress
from harness import OUT, ROOT

ROUNDS = int(os.environ.get("ROUNDS", "5"))
RUN_MS = int(os.environ.get("RUN_MS", "1000"))
CONNS = int(os.environ.get("CONNS", "10000"))
STARTS = int(os.environ.get("STARTS", "60"))
LEAVERS = int(os.environ.get("LEAVERS", "100"))
UPGRADES = int(os.environ.get("UPGRADES", "20"))
MUTANTS = int(os.environ.get("MUTANTS", "450000"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 32))))
STREAMS, EVENTS = 1000, 100


class Runs:
    """All runs of one figure: {system: [numbers of the load generator]}."""

    def __init__(self, rnd, systems, mode, what, **settings):
        self.by = {s.name: [] for s in systems}
        for n in range(ROUNDS):
            for system in rnd.sample(systems, len(systems)):
                self.by[system.name].append(system.load(mode, what, seed=SEED + n, **settings))

    def values(self, name, key):
        return [r[key] for r in self.by[name]]

    def cpu_us(self, name, group="sut"):
        """Of each run: CPU time a request."""
        return [r[f"cpu_{group}"] / r["requests"] / 1e3 for r in self.by[name]]

    def said(self):
        return ", ".join(f"{k} {statistics.median(self.cpu_us(k)):.1f}" for k in self.by)


def figure(id, what, unit, mine, peer=None, goal=None, against=None):
    """Medians, and what the median of the peer's makes of the goal."""
    p50 = statistics.median(mine)
    base = statistics.median(peer) if peer else None
    out = row(id, what, p50, unit, peer=base, goal=f"<= {goal} of {against}" if goal else None,
              passed=p50 <= goal * base if goal else None)
    out |= {"runs": len(mine), "min": round(min(mine), 3), "median": round(p50, 3)}
    return out | ({"peer_min": round(min(peer), 3)} if peer else {})


# ---- G1, G2, G3, G6: small requests ----

def small(rnd, ours, peers):
    runs = Runs(rnd, [ours.system(), *map(peers.system, ("nginx", "haproxy", "go"))], "closed", "bytes-1024",
                conns=64, seconds=RUN_MS / 1000)
    progress(f"G1: CPU us a request: {runs.said()}")
    cpu, what = runs.cpu_us("ours"), "CPU a request of 1 KB, 64 connections, TCP replica"
    rows = [figure("G1", what, "us", cpu, runs.cpu_us("nginx"), 0.8, "nginx"),
            figure("G1.haproxy", what, "us", cpu, runs.cpu_us("haproxy"), 0.8, "haproxy"),
            figure("G1.others", "of the other roles meanwhile, a request", "us", runs.cpu_us("ours", "others")),
            figure("G1.rate", "requests a second", "1/s", rates(runs, "ours"), rates(runs, "nginx"))]
    for id, key, goal, name in (("G3.p50", "p50_us", 0.85, "median"), ("G3.p99", "p99_us", 1.0, "99 %")):
        best = min(("nginx", "haproxy"), key=lambda k, key=key: statistics.median(runs.values(k, key)))
        rows.append(figure(id, f"latency of the same, {name}, against the better of nginx and HAProxy", "us",
                           runs.values("ours", key), runs.values(best, key), goal, best))
    rows.append(figure("G6", f"{what}, against Go's reverse proxy", "us", cpu, runs.cpu_us("go"), 0.22, "go"))
    return rows


def rates(runs, name):
    return [r["requests"] / r["seconds"] for r in runs.by[name]]


def small_unix(rnd, ours, peers):
    runs = Runs(rnd, [ours.system("ours", "bench-unix"), *map(peers.system, ("nginx", "nginx.unix", "haproxy.unix"))],
                "closed", "bytes-1024", conns=64, seconds=RUN_MS / 1000)
    progress(f"G2: CPU us a request: {runs.said()}")
    cpu, what = runs.cpu_us("ours"), "CPU a request of 1 KB, 64 connections, unix replica"
    return [figure("G2", what, "us", cpu, runs.cpu_us("nginx.unix"), 0.85, "nginx by a unix socket"),
            figure("G2.haproxy", what, "us", cpu, runs.cpu_us("haproxy.unix")),
            figure("G2.tcp", what, "us", cpu, runs.cpu_us("nginx"), 0.7, "nginx by TCP")]


def light(rnd, ours, peers):
    """At a low rate all are bound by being woken up: no goal, but the latency that a user sees."""
    runs = Runs(rnd, [ours.system(), *map(peers.system, ("nginx", "haproxy"))], "open", "bytes-1024", conns=64,
                rate=5000, seconds=RUN_MS / 1000)
    progress(f"G3: CPU us a request at 5,000 a second: {runs.said()}")
    return [figure(f"G3.open.{k[:3]}", f"latency at 5,000 requests a second, from when each was due, {k[:3]}", "us",
                   runs.values("ours", k), runs.values("nginx", k)) for k in ("p50_us", "p99_us")]


# ---- G4: large answers; G5: event streams ----

def large(rnd, ours, peers):
    runs = Runs(rnd, [ours.system(), *map(peers.system, ("nginx.big", "haproxy"))], "closed", "bytes-1048576",
                conns=16, seconds=RUN_MS / 1000)
    progress(f"G4: CPU us a MiB: {runs.said()}")
    cpu, what = runs.cpu_us("ours"), "CPU an answer of 1 MiB, 16 connections"
    return [figure("G4", what, "us", cpu, runs.cpu_us("nginx.big"), 0.55, "nginx, its buffering off"),
            figure("G4.haproxy", what, "us", cpu, runs.cpu_us("haproxy"), 0.45, "haproxy")]


def streams(rnd, ours, peers):
    mine = [ours.system(), ours.system("ours.unix", "bench-unix")]
    runs = Runs(rnd, [*mine, *map(peers.system, ("nginx", "haproxy.sse"))], "sse", f"sse-{EVENTS}-20", events=EVENTS,
                conns=STREAMS)
    progress(f"G5: CPU us an event: {runs.said()}")
    cpu, what = runs.cpu_us("ours"), f"CPU an event of 200 B, {STREAMS} streams with one every 20 ms"
    return [figure("G5", what, "us", cpu, runs.cpu_us("nginx"), 0.85, "nginx"),
            figure("G5.unix", f"{what}, unix replica", "us", runs.cpu_us("ours.unix"), runs.cpu_us("nginx"), 0.7,
                   "nginx"),
            figure("G5.haproxy", what, "us", cpu, runs.cpu_us("haproxy.sse")),
            figure("G5.delay", "from the replica's write to the client's read, median", "us",
                   runs.values("ours", "p50_us"), runs.values("nginx", "p50_us"), 1.0, "nginx"),
            figure("G5.rate", "events a second: at 48,000 the machine was quiet enough for the others", "1/s",
                   rates(runs, "ours"), rates(runs, "nginx"))]


# ---- G10: waits, simulated ----

def simulated():
    """The policy's own code against traces of calls, under a made-up clock (tests/sim/test_queue.c)."""
    tree = OUT if (OUT / "tests/sim").exists() else OUT / "plain"
    env = {k: v for k, v in os.environ.items() if k != "SEED"}  # it has seeds of its own
    out = subprocess.run([tree / "tests/sim/test_queue"], capture_output=True, text=True, check=True, env=env).stdout
    ratios = [float(r) for r in re.findall(r"^G10 .* ratio ([0-9.]+)", out, re.M)]
    progress(f"G10: {len(ratios)} simulations")
    worst = max(ratios)
    what = f"wait of the 99th percentile against one ideal queue, worst of {len(ratios)} simulations"
    return [row("G10", what, worst, "x", goal="<= 1.1", passed=worst <= 1.1) | {"runs": len(ratios)}]


# ---- G12: the parser against llhttp ----

def oracle():
    """The reader's unit test, with more mutants of its seeds: 100 million of 222 messages, those accepted changed on."""
    env = {**os.environ, "SEED": str(SEED), "MUTANTS": str(MUTANTS)}
    tree = OUT if (OUT / "tests/unit").exists() else OUT / "plain"
    done = subprocess.run([tree / "tests/unit/http/test_http1_llhttp"], capture_output=True, text=True, env=env,
                          cwd=ROOT, check=False)
    found = re.search(r"^(\d+) messages were read by both, of them \d+ accepted", done.stdout, re.M)
    if not found:
        raise AssertionError(f"test_http1_llhttp: {done.stdout}{done.stderr}")
    progress(f"G12: {found[0]} here{'' if done.returncode == 0 else done.stderr}")
    same = done.returncode == 0
    what = "messages that are accepted here and not, or not as the same, by llhttp; it ends with the first"
    return [row("G12.oracle", what, 0 if same else 1, "", goal="<= 0 in 10^8", passed=same) | {"runs": int(found[1])}]


def main():
    print(f"  SEED={SEED} ROUNDS={ROUNDS} RUN_MS={RUN_MS} CONNS={CONNS} STARTS={STARTS} LEAVERS={LEAVERS} "
          f"UPGRADES={UPGRADES}",
          flush=True)
    if not {SUT_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(f"bench: processors {SUT_CORE}, for the gateways, and {LOAD_CORE}, for the load, are needed")
    private_network()
    files = many_descriptors()
    if files < CONNS + 1000:
        raise SystemExit(f"bench: CONNS={CONNS} needs {CONNS + 1000} open files, the limit is {files}: raise it, or "
                         "lower CONNS")
    rnd = random.Random(SEED)
    with Peers(files) as peers:
        with Ours(SUT_CORE) as ours:
            rows = small(rnd, ours, peers)
            rows += small_unix(rnd, ours, peers)
            rows += light(rnd, ours, peers)
            rows += large(rnd, ours, peers)
            rows += streams(rnd, ours, peers)
        rows += gateway_memory.connections(peers, CONNS, STREAMS)
    with Ours() as ours:
        rows += gateway_upgrade.rows(ours, UPGRADES)
    rows += simulated() + oracle()
    with Ours() as ours:
        rows += gateway_latency.queue(ours, STARTS)
        rows += gateway_latency.leaving(ours, LEAVERS)
        rows += gateway_latency.vectors(ours)
    rows += gateway_memory.burst(CONNS, ROUNDS, RUN_MS / 1000)
    rows += doors.rows()
    write("gateway", sorted(rows, key=lambda r: int(r["id"][1:].split(".")[0])))


main()
