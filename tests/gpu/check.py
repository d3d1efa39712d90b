"""scripts/gpu-check: everything that needs a GPU, for real, in one run of less than nine minutes.

Each step answers with figures, with the reason why it was skipped, or with its failure; one report holds them all.
What is measured alone, as times are, has the GPU alone; what only has to hold runs beside others."""
import argparse
import glob
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

import activity
import driver
import inject
import models
import pack
import parking
import smi
import weights
from runner import STEPS, run_all, scratch_path, step
from tools import (BIN, GIB, HERE, ROOT, Holder, Skip, daemon_has_a_gpu, daemon_runs_here, output, program, python_with, root_only,
                   timed)

TOTAL_S = 510
BUILD = "build"


# ---- what is here ----

@step(BUILD, 200)
def build(found):
    """What is not there yet, where it can be compiled here; and the program of nvcc's."""
    found["built"] = pack.missing(BIN)
    if shutil.which("nvcc"):
        nvcc = subprocess.Popen(["nvcc", "-O2", "-o", scratch_path("bandwidth"), HERE / "bandwidth.cu"])
    else:
        nvcc = None
    try:
        pack.make_missing(found["built"], timeout=190)
    finally:
        if nvcc:
            found["nvcc_status"] = nvcc.wait(60)


@step("machine", 20)
def machine(found):
    def first(*globs):
        return sorted(p for g in globs for p in glob.glob(g))

    found.update({
        "kernel": platform.release(), "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "root": os.geteuid() == 0,
        "cgroups": "v2" if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1 or hybrid",
        "device_nodes": {p: f"{os.major(os.stat(p).st_rdev)}:{os.minor(os.stat(p).st_rdev)}"
                         for p in first("/dev/nvidia*", "/dev/nvidia-caps/*") if not os.path.isdir(p)},
        "majors": [line.strip() for line in open("/proc/devices", encoding="ascii") if "nvidia" in line],
        "driver_libraries": first(*(f"{root}/libcuda.so*" for root in driver.ROOTS),
                                  *(f"{root}/libnvidia-ml.so*" for root in driver.ROOTS)),
        "proc": first("/proc/driver/nvidia/*", "/proc/driver/nvidia/gpus/*"),
        "transparent_hugepages": pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip(),
        "tools": {t: shutil.which(t) for t in ("nvidia-smi", "nvcc", "cuda-checkpoint")},
    })
    code = "import importlib.metadata as m; print(m.version({!r}))"
    for module in ("torch", "transformers", "safetensors", "vllm"):
        try:
            found[module] = output(python_with(module), "-c", code.format(module))
        except (Skip, RuntimeError):
            continue


@step("isolation: devices of others are denied", 60, after=[BUILD])
def isolation(found):
    """In 50 containers that are shown the nodes of eight devices, of which one is theirs."""
    root_only()
    text = output(str(program("test_inject")), timeout=55, cwd=ROOT, env={**os.environ, "GANTRY_SPAWNS": "50"})
    said = re.search(r"N1 spawns=(\d+) granted=(\d+) let_through=(\d+) others=(\d+) denied=(\d+)", text)
    if not said:
        raise Skip(f"it could not be tried here: {text[-500:]}")
    found.update(zip(("containers", "own", "own_opened", "others", "others_denied"), map(int, said.groups()), strict=True))


@step("nvml", 30, shares=["gpu"])
def nvml(found):
    seconds, lib = timed(driver.Nvml)
    h = lib.handle()
    found.update({"init_s": round(seconds, 3), "driver": lib.text("nvmlSystemGetDriverVersion"),
                  "name": lib.text("nvmlDeviceGetName", h), "uuid": lib.text("nvmlDeviceGetUUID", h),
                  "memory": lib.memory(h), "answers": lib.answers(h), "activity_idle": lib.activity(h, lambda: time.sleep(1)),
                  "smi": smi.smi(), "processes": seen_processes(lib, h)})


def seen_processes(lib, handle):
    """Is a process told by the number that it has here? Parking depends on it."""
    with Holder("driver", 0.25) as held:
        told = lib.processes(handle)
        return {"pid": held.pid, "told": told, "named": held.pid in told, "pid_namespace": os.readlink("/proc/self/ns/pid")}


@step("memory and bandwidth of the GPU", 60, alone=["gpu"], after=[BUILD])
def bandwidth(found):
    if not driver.find("libcuda.so.1"):
        raise Skip("libcuda.so.1 is not there")
    path = scratch_path("bandwidth")
    if not path.exists():
        raise Skip("nvcc is not installed, or did not compile it")
    found.update(json.loads(output(str(path), timeout=55)))


# ---- the daemon ----

@step("a function with a GPU", 60, shares=["gpu"], after=[BUILD])
def function_with_gpu(found):
    daemon_has_a_gpu()
    found.update(inject.run(python_with(anyone=True)))


@step("daemon: weights, ahead and kept", 90, shares=["gpu"], alone=["disk"], after=[BUILD, models.MODEL])
def weights_of_functions(found):
    daemon_runs_here()
    weights.run(python_with(anyone=True), gib=2 if os.cpu_count() >= 8 else 0.5, gpu=driver.find("libcuda.so.1") is not None,
                found=found)


@step("daemon: a function is parked and comes back", 60, alone=["gpu"], after=[BUILD])
def function_parked(found):
    daemon_has_a_gpu()
    parking.cycles(python_with("torch", anyone=True), found=found)


@step("daemon: three functions take turns", 90, alone=["gpu"], after=[BUILD])
def functions_take_turns(found):
    daemon_has_a_gpu()
    parking.turns(python_with("torch", anyone=True), found=found)


@step("activity: metrics against known loads", 75, alone=["gpu"], after=[BUILD])
def activity_told(found):
    daemon_has_a_gpu()
    activity.run(python_with("torch"), found)


# ---- NCCL ----

# Prints the sum, NCCL's version and where that library is.
RANK = r"""
import torch, torch.distributed as d
d.init_process_group('nccl', rank={r}, world_size={n}, init_method='tcp://127.0.0.1:{port}')
torch.cuda.set_device(0)
x = torch.full((1 << 20,), {r} + 1., device='cuda')
d.all_reduce(x)
torch.cuda.synchronize()
library = {{line.split()[-1] for line in open('/proc/self/maps') if 'libnccl' in line}} or {{'none'}}
print(float(x[0]), '.'.join(map(str, torch.cuda.nccl.version())), library.pop(), flush=True)
d.destroy_process_group()
"""


def rank(python, r, n, port):
    return subprocess.Popen([python, "-c", RANK.format(r=r, n=n, port=port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, "NCCL_HOSTID": f"host-{r}"})


def said(proc, limit_s):
    try:
        return proc.communicate(timeout=limit_s)[0].decode()[-400:].strip()
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s} s"
    finally:
        proc.kill()
        proc.wait()


def preflight(library):
    """Our own program with the real libraries, as an agent runs it before a gang begins."""
    run = subprocess.run([program("gantry-preflight"), "--ranks", "1", "--nccl", library, "--cuda", driver.find("libcuda.so.1"),
                          "--timeout", "20000"], capture_output=True, text=True, timeout=30, check=False)
    return {"status": run.returncode, "said": json.loads(run.stdout) if run.stdout else run.stderr[-500:]}


@step("NCCL", 60, shares=["gpu"], after=[BUILD])
def nccl(found):
    if not driver.find("libcuda.so.1"):
        raise Skip("libcuda.so.1 is not there")
    python = python_with("torch")
    alone, pair = rank(python, 0, 1, 18432), [rank(python, r, 2, 18433) for r in range(2)]
    found["one rank"] = said(alone, 40)
    found["two ranks on one GPU, host ids of their own"] = [said(p, 10) for p in pair]
    told = re.search(r"^1\.0 \S+ (/\S+)$", found["one rank"], re.MULTILINE)
    if not told:
        raise RuntimeError("one rank did not add up")
    found["gantry-preflight"] = preflight(told[1])
    if found["gantry-preflight"]["status"] != 0:
        raise RuntimeError("gantry-preflight does not let one rank go")


# By words in their names: the GPU is never left alone for long, and who has it alone does not wait for many.
ORDER = (BUILD, "nvml", models.MODEL, "machine", "isolation", "checkpoint times", "memory and bandwidth", "restore without",
         "transformers", "daemon: weights", "cycles of", "estimates", "a function with", "NCCL", "freeze", "two processes",
         "parked and comes back", "take turns", "activity")


def in_order():
    return sorted(STEPS, key=lambda s: next(i for i, word in enumerate(ORDER) if word in s.name))


def main():
    parser = argparse.ArgumentParser(
        prog="gpu-check", description="Runs what needs a GPU, for real, in one go.", epilog=pack.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu-check.json", help="the report")
    parser.add_argument("--seconds", type=float, default=TOTAL_S, help="for all of it (%(default)s); what is left then is skipped")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    parser.add_argument("--only", default="", metavar="WORD,...", help="only steps with one of these words in their name")
    parser.add_argument("--pack", type=pathlib.Path, metavar="FOLDER", help="build what a machine without compilers needs, and end")
    parser.add_argument("step", nargs="*", help="the same as --only, as arguments")
    args = parser.parse_args()
    if args.pack:
        return pack.pack(args.pack)
    steps = in_order()
    if args.list:
        print("\n".join(s.name for s in steps))
        return 0
    words = [*args.step, *filter(None, args.only.split(","))]
    return run_all([s for s in steps if not words or any(w in s.name for w in words)], args.out, args.seconds)


if __name__ == "__main__":
    sys.exit(main())
