"""Parking at the driver's own door: times, contents, and what the order rules avoid."""
import contextlib
import os
import pathlib
import subprocess
import sys
import time

import driver
from runner import step
from tools import GIB, HERE, Holder, Skip, python_with, root_only, rounded, timed

SIZES_GIB = (1, 8, 32)
CYCLES = 50


def checkpoints(found=None):
    """The driver, initialised once for the step, as the helper process has it."""
    cuda, before = driver.Cuda(), driver.fds(os.getpid())
    seconds, _ = timed(cuda.init)
    if found is not None:
        found.update(cuda_init_s=round(seconds, 3), cuda_init_fds=driver.fds(os.getpid()) - before)
    if not cuda.has("cuCheckpointProcessLock"):
        raise Skip("this driver has no checkpoint calls (it must be 570 or newer)")
    return cuda


def park(cuda, pid):
    return {name: rounded(getattr(cuda, name), pid) for name in ("lock", "checkpoint")}


def unpark(cuda, pid):
    return {name: rounded(getattr(cuda, name), pid) for name in ("restore", "unlock")}


def checkpoint_row(cuda, lib, gib):
    h = lib.handle()
    with Holder("driver", gib) as held:
        before, gpu = held.ask("hash"), lib.memory(h)["used"]
        row = {"gib": gib, "rss_before": driver.rss(held.pid), **park(cuda, held.pid)}
        row["state"] = cuda.state(held.pid)
        row["rss_parked"] = driver.rss(held.pid)
        row["gpu_bytes_freed"] = gpu - lib.memory(h)["used"]
        row.update(unpark(cuda, held.pid))
        row["park_gbps"] = round(gib * GIB / 1e9 / row["checkpoint"], 2)
        row["unpark_gbps"] = round(gib * GIB / 1e9 / row["restore"], 2)
        row["same"] = held.ask("hash") == before
        return row


@step("checkpoint times", 100, alone=["gpu"])
def checkpoint_times(found):
    cuda, lib = checkpoints(found), driver.Nvml()
    found["rows"] = []
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for gib in SIZES_GIB:
        if gib * GIB > min(lib.memory(lib.handle())["free"] - GIB, host * 0.8):
            found["rows"].append({"gib": gib, "skipped": "not enough memory on the GPU or in the host"})
            continue
        found["rows"].append(checkpoint_row(cuda, lib, gib))
        if not found["rows"][-1]["same"]:
            raise RuntimeError(f"memory differs after a park of {gib} GiB")


@step("restore without memory", 30, alone=["gpu"])
def restore_oom(found):
    """What the order rules avoid: is a process that could not be restored lost?"""
    cuda, lib = checkpoints(), driver.Nvml()
    with Holder("driver", 4) as held:
        park(cuda, held.pid)
        free = lib.memory(lib.handle())["free"]
        with Holder("driver", (free - 2 * GIB) / GIB):
            found["restore"] = answer(cuda, "restore", held.pid)
        if found["restore"] == "ok":
            found["result"] = "restored; there was memory left"
            return
        found["state"] = cuda.state(held.pid)
        for name in ("restore", "unlock"):  # the memory is free again
            found[f"{name} with memory again"] = answer(cuda, name, held.pid)
        found["state at the end"] = cuda.state(held.pid)


def answer(cuda, name, pid):
    try:
        getattr(cuda, name)(pid)
        return "ok"
    except driver.DriverError as e:
        return str(e)


@step(f"{CYCLES} cycles of a PyTorch process", 120, shares=["gpu"])
def fifty_cycles(found):
    cuda = checkpoints()
    with Holder("torch", 0.0625, python_with("torch", "numpy")) as held:
        times = []
        for i in range(CYCLES):
            held.ask(f"touch {i + 1}")
            before = held.ask("hash")
            times.append({**park(cuda, held.pid), **unpark(cuda, held.pid)})
            if held.ask("hash") != before:
                raise RuntimeError(f"memory differs after cycle {i}")
            found.update(cycles=len(times), same=True)
    for k in times[0]:
        found[k] = {"p50": sorted(t[k] for t in times)[CYCLES // 2], "max": max(t[k] for t in times)}


@contextlib.contextmanager
def frozen(pid):
    """A control group of its own that is frozen, v2 or v1."""
    name = f"gantry-gpu-check-{os.getpid()}"
    for base, on, off in (("/sys/fs/cgroup", ("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
                          ("/sys/fs/cgroup/unified", ("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
                          ("/sys/fs/cgroup/freezer", ("freezer.state", "FROZEN"), ("freezer.state", "THAWED"))):
        group = pathlib.Path(base, name)
        try:
            group.mkdir()
            if not (group / on[0]).exists():
                raise OSError("no freezer here")
            home = "/" + next(line.split(":", 2)[2].strip("/\n") for line in open(f"/proc/{pid}/cgroup", encoding="ascii")
                              if line.startswith("0::") or ":freezer:" in line)
            (group / "cgroup.procs").write_text(str(pid))
            break
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
    else:
        raise Skip("no freezer can be used here")
    try:
        (group / on[0]).write_text(on[1])
        yield
    finally:
        (group / off[0]).write_text(off[1])
        with contextlib.suppress(OSError):
            pathlib.Path(base + home, "cgroup.procs").write_text(str(pid))
        end = time.monotonic() + 2
        while group.exists() and time.monotonic() < end:
            with contextlib.suppress(OSError):
                group.rmdir()


def state_asked_apart(pid):
    """By a process of its own, which may hang."""
    code = "import driver, sys; c = driver.Cuda(); c.init(); print(c.state(int(sys.argv[1])))"
    try:
        run = subprocess.run([sys.executable, "-c", code, str(pid)], cwd=HERE, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within 5 s"
    return (run.stdout or run.stderr).strip().split("\n")[-1]


@step("freeze while checkpointed", 30, shares=["gpu"])
def freeze(found):
    cuda = checkpoints()
    root_only()
    with Holder("driver", 0.25) as held:
        before = held.ask("hash")
        park(cuda, held.pid)
        with frozen(held.pid):
            found["asked_while_frozen"] = state_asked_apart(held.pid)
        found.update(unpark(cuda, held.pid))
        found["same"] = held.ask("hash") == before
    if not found["same"]:
        raise RuntimeError("memory differs after a freeze")


@step("two processes", 30, shares=["gpu"])
def two_processes(found):
    cuda = checkpoints()
    with Holder("driver", 0.25) as a, Holder("driver", 0.25) as b:
        before = a.ask("hash"), b.ask("hash")
        for held in (a, b):
            cuda.lock(held.pid)
        for held in (a, b):
            cuda.checkpoint(held.pid)
        for held in (a, b):
            unpark(cuda, held.pid)
        found["same"] = (a.ask("hash"), b.ask("hash")) == before
    if not found["same"]:
        raise RuntimeError("memory differs")
