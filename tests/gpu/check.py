"""scripts/gpu-check: everything that needs a GPU, for real, in one run of less than nine minutes.

Each step answers with figures, with the reason why it was skipped, or with its failure; one report holds them all.
A step that runs out of time fails by itself and the next one begins."""
import argparse
import collections
import contextlib
import datetime
import glob
import json
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import activity
import driver
import inject
import parking
import smi
import weights
from daemon import BIN, Failed

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GIB = 2**30
TOTAL_S = 8.5 * 60

Step = collections.namedtuple("Step", "name limit_s run")
STEPS = []


class Skip(Exception):
    """The machine lacks what the step needs."""


def step(name, limit_s):
    def add(run):
        STEPS.append(Step(name, limit_s, run))
        return run
    return add


def output(*argv, timeout=30, **more):
    """The command's output; Skip when there is no such command."""
    try:
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                              **more).stdout.decode(errors="replace").strip()
    except FileNotFoundError:
        raise Skip(f"{argv[0]} is not installed") from None
    except subprocess.CalledProcessError as e:
        raise RuntimeError(f"{argv[0]}: exit status {e.returncode}: {e.stdout.decode(errors='replace')[-2000:]}") from None


def timed(call, *args):
    begin = time.monotonic()
    result = call(*args)
    return time.monotonic() - begin, result


def python_with(*modules, anyone=False):
    """A Python that has these modules. anyone: also for a user who is nobody, as in a container."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if anyone and os.geteuid() == 0 else {}
    for python in dict.fromkeys([sys.executable, *map(shutil.which, ("python3", "python")), "/usr/bin/python3"]):
        with contextlib.suppress(OSError):
            if python and subprocess.run([python, "-c", "".join(f"import {m};" for m in modules)], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, check=False, cwd="/", **user).returncode == 0:
                return python
    raise Skip(f"no Python here {'that anyone may use ' if anyone else ''}has {', '.join(modules) or 'its library'}")


class Holder:
    """A process with memory on the GPU (hold.py)."""

    def __init__(self, kind, gib, python=sys.executable):
        self.proc = subprocess.Popen([python, str(HERE / "hold.py"), kind, str(gib)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, cwd=HERE)
        self.pid = self.proc.pid
        line = self.proc.stdout.readline()
        if line != b"ready\n":
            self.proc.wait()
            raise RuntimeError(f"hold.py {kind} {gib} did not get its memory")

    def ask(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()
        return self.proc.stdout.readline().decode().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()


# ---- what is here ----

@step("build", 200)
def build(_):
    """What is not there yet."""
    wanted = [BIN / "gantryd", BIN / "tests/bench/gpu/weights", BIN / "plain/tests/unit/runtime/test_inject"]
    missing = [str(p.relative_to(ROOT)) for p in wanted if not p.exists() and p.is_relative_to(ROOT)]
    if missing:
        try:
            output("make", "-C", str(ROOT), f"-j{os.cpu_count()}", "all", *(m for m in missing if not m.endswith("gantryd")), timeout=190)
        except RuntimeError as e:
            if not re.search(r"fatal error: \S+: No such file|cannot find -l", str(e)):
                raise
            raise Skip(f"packages of scripts/packages.txt are missing: {str(e)[-800:]}") from None
    return {"built": missing}


@step("machine", 20)
def machine(_):
    def first(*globs):
        return sorted(p for g in globs for p in glob.glob(g))

    facts = {
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
    }
    for module in ("torch", "transformers", "safetensors", "vllm"):
        with contextlib.suppress(Skip):
            python = python_with(module)
            facts[module] = output(python, "-c", f"import {module}; print({module}.__version__)", timeout=60)
    return facts


@step("nvml", 30)
def nvml(_):
    seconds, lib = timed(driver.Nvml)
    h = lib.handle()
    return {"init_s": round(seconds, 3), "driver": lib.text("nvmlSystemGetDriverVersion"),
            "name": lib.text("nvmlDeviceGetName", h), "uuid": lib.text("nvmlDeviceGetUUID", h),
            "memory": lib.memory(h), "answers": lib.answers(h), "activity_idle": lib.activity(h, lambda: time.sleep(1)),
            "processes": seen_processes(lib, h), "smi": smi.smi()}


def seen_processes(lib, handle):
    """Is a process told by the number that it has here? Parking depends on it."""
    with Holder("driver", 0.25) as held:
        told = lib.processes(handle)
        return {"pid": held.pid, "told": told, "named": held.pid in told, "pid_namespace": os.readlink("/proc/self/ns/pid")}


# ---- parking, at the driver's own door ----

def cuda_of(state):
    """One cuInit for all steps, as the helper process has."""
    if "cuda" not in state:
        before = driver.fds(os.getpid())
        cuda = driver.Cuda()
        seconds, _ = timed(cuda.init)
        state["cuda"], state["cuda_init_s"] = cuda, round(seconds, 3)
        state["cuda_init_fds"] = driver.fds(os.getpid()) - before
    if not state["cuda"].has("cuCheckpointProcessLock"):
        raise Skip("this driver has no checkpoint calls (it must be 570 or newer)")
    return state["cuda"]


def park(cuda, pid):
    return {name: round(timed(getattr(cuda, name), pid)[0], 4) for name in ("lock", "checkpoint")}


def unpark(cuda, pid):
    return {name: round(timed(getattr(cuda, name), pid)[0], 4) for name in ("restore", "unlock")}


@step("checkpoint times", 120)
def checkpoint_times(state):
    cuda, lib = cuda_of(state), driver.Nvml()
    h, rows = lib.handle(), []
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for gib in (1, 8, 32, 64):
        if gib * GIB > min(lib.memory(h)["free"] - GIB, host * 0.8):
            rows.append({"gib": gib, "skipped": "not enough memory on the GPU or in the host"})
            continue
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
            rows.append(row)
            if not row["same"]:
                raise RuntimeError(f"memory differs after a park of {gib} GiB: {row}")
    return {"cuda_init_s": state["cuda_init_s"], "cuda_init_fds": state["cuda_init_fds"], "rows": rows}


@step("50 cycles of a PyTorch process", 90)
def fifty_cycles(state):
    cuda = cuda_of(state)
    with Holder("torch", 0.0625, python_with("torch", "numpy")) as held:
        times = []
        for i in range(50):
            held.ask(f"touch {i + 1}")
            before = held.ask("hash")
            times.append({**park(cuda, held.pid), **unpark(cuda, held.pid)})
            if held.ask("hash") != before:
                raise RuntimeError(f"memory differs after cycle {i}")
        return {"cycles": len(times), "same": True,
                **{k: {"p50": sorted(t[k] for t in times)[25], "max": max(t[k] for t in times)} for k in times[0]}}


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


def state_of(pid):
    """By a driver of its own, which may hang."""
    cuda = driver.Cuda()
    cuda.init()
    return cuda.state(pid)


@step("freeze while checkpointed", 30)
def freeze(state):
    cuda = cuda_of(state)
    if os.geteuid() != 0:
        raise Skip("control groups need root")
    with Holder("driver", 1) as held:
        before = held.ask("hash")
        park(cuda, held.pid)
        with frozen(held.pid):
            seen = run_apart(Step("state", 5, lambda _: state_of(held.pid)), 5)
        times = unpark(cuda, held.pid)
        return {"asked_while_frozen": seen.get("figures", seen.get("why")), **times, "same": held.ask("hash") == before}


@step("restore without memory", 60)
def restore_oom(state):
    """What the order rules avoid: is a process that could not be restored lost?"""
    cuda, lib = cuda_of(state), driver.Nvml()
    h = lib.handle()
    with Holder("driver", 4) as held:
        park(cuda, held.pid)
        free = lib.memory(h)["free"]
        with Holder("driver", (free - 2 * GIB) / GIB):
            try:
                cuda.restore(held.pid)
                return {"result": "restored; there was memory left"}
            except driver.DriverError as e:
                first = str(e)
        found = {"restore": first, "state": cuda.state(held.pid)}
        for name in ("restore", "unlock"):  # the memory is free again
            try:
                getattr(cuda, name)(held.pid)
                found[f"{name} with memory again"] = "ok"
            except driver.DriverError as e:
                found[f"{name} with memory again"] = str(e)
        found["state at the end"] = cuda.state(held.pid)
        return found


@step("two processes", 30)
def two_processes(state):
    cuda = cuda_of(state)
    with Holder("driver", 1) as a, Holder("driver", 1) as b:
        before = a.ask("hash"), b.ask("hash")
        for held in (a, b):
            cuda.lock(held.pid)
        for held in (a, b):
            cuda.checkpoint(held.pid)
        for held in (a, b):
            unpark(cuda, held.pid)
        return {"same": (a.ask("hash"), b.ask("hash")) == before}


# ---- an engine: a cold start against a return ----

def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return json.load(reply)


def wait_ready(proc, port, limit_s=120):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if proc.poll() is not None:
            raise RuntimeError(f"the server ended with status {proc.returncode}")
        with contextlib.suppress(OSError):
            return get(f"http://127.0.0.1:{port}/health", 1)
        time.sleep(0.01)
    raise RuntimeError("the server did not become ready")


@step("transformers server: parked against restarted", 150)
def engine(state):
    cuda = cuda_of(state)
    python, port = python_with("torch", "transformers", "safetensors"), 18431
    with tempfile.TemporaryDirectory() as directory:
        output(python, str(HERE / "serve.py"), directory, "0", timeout=100)
        begin = time.monotonic()
        proc = subprocess.Popen([python, str(HERE / "serve.py"), directory, str(port)], stdout=subprocess.DEVNULL)
        try:
            wait_ready(proc, port)
            cold_s = time.monotonic() - begin
            first = get(f"http://127.0.0.1:{port}/generate", 60)["tokens"]
            cold_first_s = time.monotonic() - begin
            parked = park(cuda, proc.pid)
            begin = time.monotonic()
            back = unpark(cuda, proc.pid)
            again = get(f"http://127.0.0.1:{port}/generate", 60)["tokens"]
            back_first_s = time.monotonic() - begin
        finally:
            proc.kill()
            proc.wait()
    if again != first:
        raise RuntimeError("the answer differs after parking")
    return {"cold_ready_s": round(cold_s, 3), "cold_first_answer_s": round(cold_first_s, 3), **parked, **back,
            "back_first_answer_s": round(back_first_s, 3), "cold_over_back": round(cold_first_s / back_first_s, 1)}


# ---- memory and weights ----

ESTIMATED = ["Llama-3.1-8B", "Llama-3.2-3B", "Qwen2.5-7B", "Qwen3-4B"]


@step("estimates against what models take", 130)
def estimates(_):
    """Weights to the byte; the sum within a tenth of what the driver says is used."""
    known = ROOT / "build/gpu-estimates.json"
    if not known.exists():
        raise Skip("build/gpu-estimates.json is not there; make it where gantry runs: scripts/gpu_table.py --json > "
                   "build/gpu-estimates.json")
    python, lib = python_with("torch", "transformers"), driver.Nvml()
    handle, found, wrong = lib.handle(), {}, []
    for e in json.loads(known.read_text()):
        if e["name"] not in ESTIMATED:
            continue
        idle = lib.memory(handle)["used"]
        argv = [python, str(HERE / "model.py"), str(ROOT / f"examples/models/{e['name']}.json"), str(e["context"])]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proc:
            line = proc.stdout.readline()
            used = lib.memory(handle)["used"] - idle
            proc.kill()
        if not line:
            raise RuntimeError(f"{e['name']}: the program ended before its context was read")
        told = json.loads(line)
        row = found[e["name"]] = {"estimate": e["bytes"], "used": used, "estimate_over_used": round(e["bytes"] / used, 3),
                                  "terms": e["terms"], **told}
        if told["weight_bytes"] != e["terms"]["weights"] or abs(row["estimate_over_used"] - 1) > 0.1:
            wrong.append(e["name"])
    if wrong:
        raise RuntimeError(f"not within a tenth, or weights differ: {wrong}: {json.dumps(found)}")
    return found


@step("memory and bandwidth of the GPU", 90)
def bandwidth(_):
    if not driver.find("libcuda.so.1"):
        raise Skip("libcuda.so.1 is not there")
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/bandwidth"
        output("nvcc", "-O2", "-o", program, str(HERE / "bandwidth.cu"), timeout=80)
        return json.loads(output(program, timeout=60))


def daemon_runs_here():
    if os.geteuid() != 0:
        raise Skip("gantryd needs root")
    if not (BIN / "gantryd").exists():
        raise Skip("gantryd is not built")
    missing = [line.split()[0] for line in output("ldd", str(BIN / "gantryd")).splitlines() if "not found" in line]
    if missing:
        raise Skip(f"gantryd does not run here: {', '.join(missing)} are missing")


def daemon_has_a_gpu():
    daemon_runs_here()
    if not os.path.exists("/proc/driver/nvidia/version"):
        raise Skip("/proc/driver/nvidia is not there")


@step("isolation: devices of others are denied", 60)
def isolation(_):
    """In 50 containers that are shown the nodes of eight devices, of which one is theirs."""
    program = BIN / "plain/tests/unit/runtime/test_inject"
    if os.geteuid() != 0:
        raise Skip("containers need root")
    if not program.exists():
        raise Skip(f"{program} is not built")
    missing = [line.split()[0] for line in output("ldd", str(program)).splitlines() if "not found" in line]
    if missing:
        raise Skip(f"{program.name} does not run here: {', '.join(missing)} are missing")
    text = output(str(program), timeout=55, cwd=ROOT, env={**os.environ, "GANTRY_SPAWNS": "50"})
    said = re.search(r"N1 spawns=(\d+) granted=(\d+) let_through=(\d+) others=(\d+) denied=(\d+)", text)
    if not said:
        raise Skip(f"it could not be tried here: {text[-500:]}")
    return dict(zip(("containers", "own", "own_opened", "others", "others_denied"), map(int, said.groups())))


@step("a function with a GPU", 90)
def function_with_gpu(_):
    daemon_has_a_gpu()
    return inject.run(python_with(anyone=True))


@step("daemon: a function is parked and comes back", 60)
def function_parked(_):
    daemon_has_a_gpu()
    return parking.cycles(python_with("torch", anyone=True))


@step("daemon: two functions take turns", 60)
def functions_take_turns(_):
    daemon_has_a_gpu()
    return parking.turns(python_with("torch", anyone=True))


@step("daemon: weights, ahead and kept", 90)
def weights_of_functions(_):
    daemon_runs_here()
    return weights.run(python_with(anyone=True), gib=4 if os.cpu_count() >= 8 else 0.5,
                       gpu=driver.find("libcuda.so.1") is not None)


@step("activity: metrics against known loads", 75)
def activity_told(_):
    daemon_has_a_gpu()
    return activity.run(python_with("torch"))


@step("NCCL", 60)
def nccl(_):
    python = python_with("torch")
    code = ("import torch, torch.distributed as d; d.init_process_group('nccl', rank={r}, world_size={n}, "
            "init_method='tcp://127.0.0.1:{port}'); torch.cuda.set_device(0); x = torch.full((1 << 20,), {r} + 1., device='cuda'); "
            "d.all_reduce(x); torch.cuda.synchronize(); print(float(x[0]), '.'.join(map(str, torch.cuda.nccl.version())))")
    found = {"one rank": output(python, "-c", code.format(r=0, n=1, port=18432), timeout=40)}
    ranks = [subprocess.Popen([python, "-c", code.format(r=r, n=2, port=18433)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "NCCL_HOSTID": f"host-{r}"}) for r in range(2)]
    try:
        found["two ranks on one GPU, host ids of their own"] = [p.communicate(timeout=40)[0].decode()[-400:].strip()
                                                                for p in ranks]
    except subprocess.TimeoutExpired:
        found["two ranks on one GPU, host ids of their own"] = "no answer within 40 s"
    finally:
        for p in ranks:
            p.kill()
            p.wait()
    return found


# ---- the run ----

GRACE_S = 15  # for a step that is out of time to say what it saw


class OutOfTime(BaseException):
    """Raised in the step's own process; nothing that suppresses exceptions may swallow it."""


def outcome(s):
    """What a step came to, as a row of the report."""
    try:
        return {"result": "passed", "figures": s.run({})}
    except Skip as e:
        return {"result": "skipped", "why": str(e)}
    except driver.DriverError as e:
        return {"result": "skipped" if e.call == "dlopen" else "failed", "why": str(e)}
    except Failed as e:
        return {"result": "failed", "why": str(e), "evidence": e.evidence}
    except (Exception, OutOfTime) as e:  # a step must not take the others along
        return {"result": "failed", "why": f"{type(e).__name__}: {e}"}


def step_process(s, limit_s, to):
    def on_term(*_):
        raise OutOfTime(f"not done within {limit_s:.0f} s")

    os.setsid()
    signal.signal(signal.SIGTERM, on_term)
    data = json.dumps(outcome(s), default=str).encode()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with os.fdopen(to, "wb") as f:
        f.write(data)


def read_until(fd, end):
    """All that comes until it is closed, or the time is over: then None follows."""
    text = b""
    while select.select([fd], [], [], max(end - time.monotonic(), 0))[0]:
        part = os.read(fd, 65536)
        if not part:
            return text, True
        text += part
    return text, False


def run_apart(s, limit_s):
    """In a process of its own, with all that it starts: a call of the driver that hangs can only be killed."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        step_process(s, limit_s, theirs)
        os._exit(0)
    os.close(theirs)
    text, whole = read_until(ours, time.monotonic() + limit_s)
    if not whole:
        os.kill(pid, signal.SIGTERM)
        text += read_until(ours, time.monotonic() + GRACE_S)[0]
    os.close(ours)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        return json.loads(text)
    except ValueError:
        return {"result": "failed", "why": f"no answer within {limit_s:.0f} s, nor when it was asked to end"}


def write_report(path, begin, rows):
    version = output("git", "-C", str(ROOT), "describe", "--always", "--dirty") if (ROOT / ".git").exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "version": version,
        "seconds": round(time.monotonic() - begin, 1), "steps": rows}, indent=1) + "\n")


def run(names, report_path):
    rows, begin = {}, time.monotonic()
    for s in STEPS:
        if names and not any(n in s.name for n in names):
            continue
        left, start = TOTAL_S - (time.monotonic() - begin), time.monotonic()
        row = run_apart(s, min(s.limit_s, left)) if left > 5 else {"result": "skipped", "why": "no time is left"}
        row["s"] = round(time.monotonic() - start, 1)
        rows[s.name] = row
        print(f"{row['result']:8} {s.name} ({row['s']} s) {row.get('why', '')[:600]}", flush=True)
        write_report(report_path, begin, rows)  # after each: who ends us early has what there is
    count = collections.Counter(row["result"] for row in rows.values())
    print(f"report: {report_path}")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0


def main():
    parser = argparse.ArgumentParser(prog="gpu-check", description="Runs what needs a GPU, for real.")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu-check.json", help="the report")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    parser.add_argument("--only", default="", metavar="WORD,...", help="only steps with one of these words in their name")
    parser.add_argument("step", nargs="*", help="the same, as arguments")
    args = parser.parse_args()
    if args.list:
        print("\n".join(s.name for s in STEPS))
        return 0
    return run([*args.step, *filter(None, args.only.split(","))], args.out)


if __name__ == "__main__":
    sys.exit(main())
