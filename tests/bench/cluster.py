"""Capacity planning: a day of ten million calls on a thousand simulated nodes of eight GPUs, and the memory of control
for functions at zero, replicas and nodes. CALLS=n and HOURS=x make it smaller; FUNCTIONS=n (1000)."""
import json
import os
import pathlib
import random
import resource
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import row, write  # noqa: E402
from harness import BIN, OUT  # noqa: E402

CALLS = int(os.environ.get("CALLS", 10_000_000))
HOURS = float(os.environ.get("HOURS", 24))
FUNCTIONS = int(os.environ.get("FUNCTIONS", 1000))
SERVICE_S = 20  # mean; at 116 calls a second 2,300 of 8,000 GPUs are busy
SEED = 7


def workload(path):
    """Poisson arrivals; functions by Zipf's law; exponential service times, 0.5 s at least."""
    rnd = random.Random(SEED)
    rate = CALLS / (HOURS * 3600)
    weights = [1 / (i + 1) ** 0.9 for i in range(FUNCTIONS)]
    total, sums = 0.0, []
    for w in weights:
        total += w
        sums.append(total)
    t = 0.0
    with path.open("w") as out:
        out.write("function,arrival_s,service_s\n")
        for chunk in range(0, CALLS, 100_000):
            names = rnd.choices(range(FUNCTIONS), cum_weights=sums, k=min(100_000, CALLS - chunk))
            for name in names:
                t += rnd.expovariate(rate)
                out.write(f"f{name},{t:.3f},{0.5 + rnd.expovariate(1 / (SERVICE_S - 0.5)):.3f}\n")


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cluster(path):
    before = cpu_s()
    done = subprocess.run([BIN / "gantry", "simulate", "cluster", "--nodes", "1000", "--gpus", "8", "--workload", path,
                           "--hours", str(HOURS), "--cold", "5", "--json"], capture_output=True, text=True, check=True)
    return cpu_s() - before, json.loads(done.stdout)


def main():
    folder = OUT / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster.csv"
    workload(path)
    seconds, run = cluster(path)
    path.unlink()
    whole = CALLS == 10_000_000 and HOURS == 24
    write("cluster", [
        row("cluster.cpu_s", f"{run['calls']:,} calls, {HOURS:g} h, 1,000 nodes of 8 GPUs, {FUNCTIONS} functions: CPU",
            seconds, "s", goal="<= 600" if whole else None, passed=seconds <= 600 if whole else None),
        row("cluster.starts", "replicas started meanwhile", run["starts"], ""),
        row("cluster.peak", "replicas at once, at most", run["peak_replicas"], ""),
    ] + memory())


def memory():
    """tests/bench/control measures what lives in control itself."""
    done = subprocess.run([OUT / "tests/bench/control/memory"], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    goals = {"function": 1024, "replica": 2048, "node": 4096}
    return [row(f"control.{name}_bytes", f"memory of control for a {name}{' at zero, its spec included' * (name == 'function')}",
                figures[name], "B", goal=f"<= {goal}", passed=figures[name] <= goal) for name, goal in goals.items()]


if __name__ == "__main__":
    main()
