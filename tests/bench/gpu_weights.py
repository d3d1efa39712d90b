"""Weights: what reading them ahead, and keeping them in the node's store, is worth to a program that maps them.

Every figure is a ratio of two ways that take turns on one file, the median over ROUNDS of them; what else the
machine does meets both. MIB is the file's size.
"""
import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile

import bench
from harness import OUT

ROUNDS = int(os.environ.get("ROUNDS", "3"))
MIB = int(os.environ.get("MIB", "1024"))
FOLDER = (OUT if (OUT / "tests").exists() else OUT / "plain") / "tests/bench/gpu"


class Cost:
    def __init__(self, text):
        self.wall, self.cpu, self.faults, self.bytes, self.huge = map(int, text.split())


def run(mode, *paths):
    return Cost(subprocess.run([FOLDER / "weights", mode, *paths], check=True, stdout=subprocess.PIPE).stdout)


def pairs(path, *modes):
    """Rounds of each mode, one after the other; each mode is first equally often."""
    found = []
    for i in range(ROUNDS):
        order = modes if i % 2 == 0 else modes[::-1]
        found.append({mode: run(mode, path) for mode in order})
    return found


def ratio(rounds, what, a, b):
    return statistics.median(getattr(r[a], what) / getattr(r[b], what) for r in rounds)


def median(rounds, what, mode):
    return statistics.median(getattr(r[mode], what) for r in rounds)


def read_ahead_kib(path):
    """Of the disk that it is on: with much of it a cold mapping is quick already."""
    number = os.stat(path).st_dev
    device = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    found = [p / "queue/read_ahead_kb" for p in (device, device.parent) if (p / "queue/read_ahead_kb").exists()]
    return found[0].read_text().strip() if found else "?"


def gbps(ns):
    return MIB * (1 << 20) / ns


@contextlib.contextmanager
def model():
    """A file of MIB that nothing makes smaller."""
    folder = OUT / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "weights.bin"
    try:
        with open(path, "wb") as f:
            for _ in range(MIB // 16):
                f.write(os.urandom(16 << 20))
        yield path
    finally:
        path.unlink(missing_ok=True)


def cached():
    with model() as path:
        return ahead_of(path)


def stored():
    with model() as path:
        return kept(path)


def ahead_of(path):
    run("ahead", path)  # memory of a virtual machine is slower the first time it is used
    ahead = pairs(path, "direct", "ahead")
    speed = ratio(ahead, "wall", "direct", "ahead")
    cpu = median(ahead, "cpu", "ahead") / 1e9 / (MIB / 1024)
    both = pairs(path, "use", "both")
    faster, less = ratio(both, "wall", "use", "both"), ratio(both, "cpu", "both", "use")
    copying = statistics.median(run("huge", path).cpu for _ in range(ROUNDS))  # all is there, in large folios
    beyond = statistics.median((r["both"].cpu - copying) / max(r["use"].cpu - copying, 1) for r in both)
    return [
        bench.row("N4", "reading ahead against the disk's own speed (O_DIRECT)",
                  round(gbps(median(ahead, "wall", "ahead")), 2), "GB/s", peer=round(gbps(median(ahead, "wall", "direct")), 2),
                  goal="ratio >= 0.9", passed=speed >= 0.9) | {"ratio": round(speed, 3)},
        bench.row("N4.cpu", "processor time of reading ahead", round(cpu, 4), "s/GiB", goal="<= 0.05",
                  passed=cpu <= 0.05),
        bench.row("N4.cold", "cold program that maps, with reading ahead beside it and without",
                  round(gbps(median(both, "wall", "both")), 2), "GB/s", peer=round(gbps(median(both, "wall", "use")), 2),
                  goal="ratio >= 1.7", passed=faster >= 1.7) | {"ratio": round(faster, 3)},
        bench.row("N4.cold_cpu", "processor time of both together, and of the program alone",
                  round(median(both, "cpu", "both") / 1e9, 3), "s", peer=round(median(both, "cpu", "use") / 1e9, 3),
                  goal="ratio <= 0.333", passed=less <= 1 / 3) | {"ratio": round(less, 3)},
        bench.row("N4.cold_beyond", "the same but for the copying out, which takes "
                  f"{copying / 1e9:.3f} s; the disk's read-ahead is {read_ahead_kib(path)} KiB", round(beyond, 3), ""),
    ]


def kept(path):
    """A second replica's look at the copy, against the page cache as others leave it."""
    with tempfile.TemporaryDirectory(prefix="gantry-bench-") as top:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MIB + 64}m,huge=always", "none", top], check=True)
        try:
            copy = pathlib.Path(top) / "copy"
            fill = run("fill", path, copy)
            run("again", copy)  # the first replica
            rounds = [{"warm": run("warm", path), "again": run("again", copy), "own": run("own", copy)} for _ in range(ROUNDS)]
        finally:
            subprocess.run(["umount", top], check=True)
    faster = ratio(rounds, "wall", "warm", "again")
    read, huge = max(r["again"].bytes for r in rounds), min(r["again"].huge for r in rounds) / (MIB << 20)
    return [
        bench.row("N5.fill", "filling the store", round(gbps(fill.wall), 2), "GB/s"),
        bench.row("N5.reads", "bytes that a second replica reads from disks", read, "bytes", goal="0",
                  passed=read == 0),
        bench.row("N5", "second replica of a stored model, and on a page cache of 4 KiB folios",
                  round(gbps(median(rounds, "wall", "again")), 2), "GB/s",
                  peer=round(gbps(median(rounds, "wall", "warm")), 2), goal="ratio >= 2.5",
                  passed=faster >= 2.5) | {"ratio": round(faster, 3)},
        bench.row("N5.huge", "part of the copy that a second replica has mapped 2 MiB at a time", round(huge, 3), "", goal="1", passed=huge == 1),
        bench.row("N5.own", "its processor time, and that of copying as much out of its own huge pages: no store can be quicker",
                  round(median(rounds, "cpu", "again") / 1e9, 3), "s", peer=round(median(rounds, "cpu", "own") / 1e9, 3))
        | {"ratio": round(ratio(rounds, "cpu", "again", "own"), 3)},
    ]
