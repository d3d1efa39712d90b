"""Containers from start to nothing, and images, against Debian's crun, bubblewrap, skopeo and umoci in the
same run. ROUNDS (200) starts a variant, CYCLES (10000) starts and ends for growth, BURST_MS (3000) for each
throughput figure, PULLS (5) pulls of an image (0: none); SEED is printed and can be given back."""
import contextlib
import os
import pathlib
import random
import re
import time

import runtime_pull
from bench import pss_kib, quantile, row, write
from harness import Daemon, cgroup_dirs, processes
from runtime_rig import ARCH_ALL, ARCH_NATIVE, Bench, Folder, bwrap_words

ROUNDS = int(os.environ.get("ROUNDS", "200"))
CYCLES = int(os.environ.get("CYCLES", "10000"))
BURST_MS = int(os.environ.get("BURST_MS", "3000"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 32))))
WARM_UP = 5
# Sandboxes staged always, at most, and functions with one prepared; the last as the daemon has it.
RUNTIMES = {"cold": (0, 0, 0), "pools": (2, 2, 0), "staged": (2, 2, 1), "burst": (2, 16, 16)}
WIDTHS = (1, 2, 4, 8)
LIVE = 200
BEGIN = time.monotonic()
PEERS = {"crun": "crun, call filter for x86_64, x86 and x32 as podman's profile", "crun_native":
         "crun, call filter for x86_64 alone", "bwrap": "bubblewrap, Gantry's compiled call filter, no limits"}


def progress(text):
    print(f"  [{time.monotonic() - BEGIN:5.0f} s] {text}", flush=True)


class Samples:
    """What one variant gave: nanoseconds to the first instruction, to the end, and of CPU time."""

    def __init__(self):
        self.start, self.whole, self.cpu = [], [], []

    def add(self, answer):
        self.start.append(answer[0] / 1e6)
        self.whole.append(answer[1] / 1e6)
        self.cpu.append(answer[2] / 1e6)

    def row(self, id, what, peer=None, goal=None, whole=False):
        values = self.whole if whole else self.start
        p50 = quantile(values, 0.5)
        base = quantile(peer.whole if whole else peer.start, 0.5) if peer else None
        out = row(id, what, p50, "ms", peer=base, goal=f"<= {goal} of crun" if goal else None,
                  passed=p50 <= goal * base if goal else None)
        out |= {"runs": len(values), "min": round(min(values), 3), "median": round(p50, 3),
                "p99": round(quantile(values, 0.99), 3), "cpu_ms": round(sum(self.cpu) / len(self.cpu), 3)}
        if peer:
            out["peer_cpu_ms"] = round(sum(peer.cpu) / len(peer.cpu), 3)
        return out


# ---- R1: start to the program's first instruction ----

# Variant: id, what it is, goal, and how such a start calls itself (enum gt_start_kind).
OURS = {"cold": ("R1a", "nothing prepared", 0.18, 0), "pools": ("R1b", "from the generic pool", 0.06, 1),
        "staged": ("R1c", "prepared for this function", 0.03, 2)}


def start_ours(ours, runtime, function, kind):
    answer = ours.ask("start", runtime, function)
    assert answer[3] == kind, f"a start in {runtime} was of kind {answer[3]}, not {kind}"
    return answer


def starts(rnd, ours, peer):
    samples = {k: Samples() for k in (*OURS, *PEERS)}
    for n in range(ROUNDS + WARM_UP):
        order = list(samples)
        rnd.shuffle(order)
        for variant in order:
            # The first of a function has nothing prepared for it: it belongs to the warm-up.
            answer = (start_ours(ours, variant, "same", OURS[variant][3] if n else min(OURS[variant][3], 1))
                      if variant in OURS else peer.ask("start", variant))
            if n >= WARM_UP:
                samples[variant].add(answer)
        if n % 50 == 49:
            progress(f"R1: {n + 1} rounds")
    rows = []
    for variant, (id, what, goal, _) in OURS.items():
        mine = samples[variant]
        rows.append(mine.row(id, f"start to first instruction, {what}", samples["crun"], goal))
        rows += [mine.row(f"{id}.{k}", f"the same against {PEERS[k]}", samples[k]) for k in PEERS if k != "crun"]
        rows.append(mine.row(f"{id}.whole", "start to the last trace of it gone", samples["crun"], whole=True))
    rows += [samples[k].row(f"R1.{k}", f"start to first instruction, {what}") for k, what in PEERS.items()]
    return rows


# ---- R2: starts a second ----

def throughput(rnd, ours, peer):
    sides = ("ours", "crun", "crun_native")
    cells = {(side, width): [0, 0, 0] for side in sides for width in WIDTHS}
    for _ in range(2):  # twice, so that a busy moment of the machine meets not one side alone
        for side, width in rnd.sample(list(cells), len(cells)):
            answer = (ours.ask("burst", "burst", width, 10**9, BURST_MS // 2) if side == "ours" else
                      peer.ask("burst", side, width, BURST_MS // 2))
            cells[side, width] = [a + b for a, b in zip(cells[side, width], answer, strict=True)]
    rates = {cell: (count / took * 1e9, count, cpu / count / 1e6) for cell, (count, took, cpu) in cells.items()}
    for side in sides:
        progress(f"R2: {side}: " + ", ".join(f"{rates[side, k][0]:.0f} a second with {k} at once" for k in WIDTHS))
    best = {side: max((rates[side, k], k) for k in WIDTHS) for side in sides}

    def figure(id, against, goal=None):
        (mine, count, cpu), width = best["ours"]
        (base, _, base_cpu), base_width = best[against]
        out = row(id, f"starts and ends a second, best of K={WIDTHS} (ours {width}, {against} {base_width})", mine,
                  "a s", peer=base, goal=f">= {goal} x crun" if goal else None,
                  passed=mine >= goal * base if goal else None)
        return out | {"runs": count, "cpu_ms": round(cpu, 3), "peer_cpu_ms": round(base_cpu, 3)}

    return [figure("R2", "crun", 6), figure("R2.crun_native", "crun_native")]


# ---- R3: beside 200 others ----

def beside_others(ours):
    samples = {0: Samples(), LIVE: Samples()}
    for part in range(4):
        live = (0, LIVE)[part % 2]
        ours.ask("live", "pools", live)
        for n in range(ROUNDS // 2 + WARM_UP):
            answer = start_ours(ours, "pools", "beside", OURS["pools"][3])
            if n >= WARM_UP:
                samples[live].add(answer)
        progress(f"R3: {ROUNDS // 2} starts beside {live}")
    ours.ask("live", "pools", 0)
    out = samples[LIVE].row("R3", f"start from the pool beside {LIVE} live containers, peer: beside none", samples[0])
    return [out | {"goal": "<= 1.3 x", "pass": out["value"] <= 1.3 * out["peer"]}]


# ---- R5: nothing stays ----

def descendants(pid):
    tree, found = processes(), [pid]
    for parent in found:
        found += [p for p, (of, _, _) in tree.items() if of == parent]
    return found[1:]


def group_count(pid):
    names = set()
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            names |= set(re.findall(r"gantry-[0-9a-z]+", pathlib.Path(f"/proc/{child}/cgroup").read_text()))
    return sum(len([d for d, _, _ in os.walk(top)]) for name in names
               for top in {os.path.join(d, name) for d in cgroup_dirs(name)})


def net_namespaces():
    """Of the whole machine. The kernel frees them behind everyone's back, and counts them in slabs whose
    last objects it keeps for later."""
    for line in pathlib.Path("/proc/slabinfo").read_text().splitlines():
        if line.startswith("net_namespace "):
            return int(line.split()[1])
    raise AssertionError("/proc/slabinfo names no net_namespace")


def traces(pid):
    return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "processes": len(descendants(pid)),
            "mounts": len(pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()),
            "cgroups": group_count(pid), "loop devices": len(list(pathlib.Path("/sys/block").glob("loop*/loop")))}


NETNS_SLACK = 64  # objects that the kernel's slabs keep, a processor and a half-filled slab each


def growth(ours):
    pid = ours.proc.pid
    ours.ask("burst", "staged", 4, 1000, 10**6)
    before, memory, nets = traces(pid), pss_kib(pid), net_namespaces()
    for part in range(4):
        ours.ask("burst", "staged", 4, CYCLES // 4, 10**6)
        progress(f"R5: {(part + 1) * CYCLES // 4} cycles")
    after = traces(pid)
    for _ in range(200):  # on a busy machine the last ones may still be on their way
        if net_namespaces() <= nets + NETNS_SLACK and all(after[k] <= before[k] for k in after):
            break
        ours.ask("live", "staged", 0)  # lets the loop run until nothing happens any more
        after = traces(pid)
    grown = {k: after[k] - before[k] for k in after}
    more_nets, more_kib = net_namespaces() - nets, pss_kib(pid) - memory
    rows = [row(f"R5.{k.replace(' ', '_')}", f"{k} after {CYCLES:,} starts and ends, against before", n, "more",
                goal="<= 0", passed=n <= 0) for k, n in grown.items()]
    rows.append(row("R5.netns", "network namespaces of the machine, the same", more_nets, "more",
                    goal=f"<= {NETNS_SLACK}", passed=more_nets <= NETNS_SLACK))
    rows.append(row("R5.memory", "memory of the process, the same", more_kib, "KiB", goal="<= 512",
                    passed=more_kib <= 512))
    left = sum(not r["pass"] for r in rows)
    return [row("R5", f"kinds of things that {CYCLES:,} starts and ends left behind", left, "kinds", goal="<= 0",
                passed=left == 0) | {"runs": CYCLES}, *rows]


# ---- R6: the agent's memory ----

def agent_memory():
    daemon = Daemon()
    daemon.start()
    try:
        agent = daemon.roles()["agent"]
        idle = pss_kib(agent) / 1024
        for i in range(4):
            daemon.echo(f"echo-{i}", scale={"min": LIVE // 4, "max": LIVE // 4}, resources={"memory": "16MiB"})
        for i in range(4):
            daemon.wait_replicas(f"echo-{i}", LIVE // 4, timeout=120)
        full, goal = pss_kib(agent) / 1024, 8 + LIVE * 64 / 1024
        progress(f"R6: {LIVE} replicas are ready")
        return [row("R6", f"memory of the agent with {LIVE} replicas, PSS", full, "MiB",
                    goal=f"<= {goal} MiB (8 MiB + 64 KiB a replica)", passed=full <= goal),
                row("R6.idle", "of that: with none", idle, "MiB"),
                row("R6.replica", "and what a replica adds", (full - idle) * 1024 / LIVE, "KiB")]
    finally:
        daemon.stop()


def main():
    print(f"  SEED={SEED} ROUNDS={ROUNDS} CYCLES={CYCLES} BURST_MS={BURST_MS} PULLS={runtime_pull.PULLS}", flush=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # for all that is started from here
    rnd = random.Random(SEED)
    with contextlib.ExitStack() as stack:
        folder = Folder()
        stack.callback(folder.close)
        ours, peer = Bench("ours", folder.path), Bench("peer", folder.path)
        stack.callback(peer.close)
        stack.callback(ours.close)
        ours.ask("filter", folder.path / "filter")
        for name, sizes in RUNTIMES.items():
            ours.ask("open", name, *sizes)
        peer.ask("tool", "crun", "-", *folder.crun("crun", ARCH_ALL))
        peer.ask("tool", "crun_native", "-", *folder.crun("crun_native", ARCH_NATIVE))
        peer.ask("tool", "bwrap", folder.path / "filter", *bwrap_words(folder.path / "rootfs"))
        rows = starts(rnd, ours, peer)
        rows += throughput(rnd, ours, peer)
        rows += beside_others(ours)
        rows += growth(ours)
        if runtime_pull.PULLS:
            rows += runtime_pull.rows(rnd, peer, folder, progress)
    rows += agent_memory()
    write("runtime", rows)


main()
