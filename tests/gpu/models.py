"""Models on a GPU: an engine that is parked against one that is restarted, and estimates against what models take."""
import contextlib
import json
import os
import select
import subprocess
import time
import urllib.request

import driver
from checkpoint import checkpoints, park, unpark
from runner import scratch_path, step
from tools import BIN, HERE, ROOT, Skip, output, python_with

PORT = 18431
ESTIMATED = ["Llama-3.1-8B", "Llama-3.2-3B", "Qwen2.5-7B", "Qwen3-4B"]
MODEL = "the server's model is made"


def get(path, timeout=5):
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=timeout) as reply:
        return json.load(reply)


def wait_ready(proc, limit_s=60):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if proc.poll() is not None:
            raise RuntimeError(f"the server ended with status {proc.returncode}")
        with contextlib.suppress(OSError):
            return get("/health", 1)
        time.sleep(0.01)
    raise RuntimeError("the server did not become ready")


def serve(port):
    return [python_with("torch", "transformers", "safetensors"), str(HERE / "serve.py"), str(scratch_path("model")), str(port)]


@step(MODEL, 90)
def model(_):
    """While others have the GPU; it also brings PyTorch into the page cache."""
    if not driver.find("libcuda.so.1"):
        raise Skip("there is no GPU to serve it from")
    output(*serve(0), timeout=85, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})


@step("transformers server: parked against restarted", 100, alone=["gpu"], after=[MODEL])
def engine(found):
    cuda, begin = checkpoints(), time.monotonic()
    proc = subprocess.Popen(serve(PORT), stdout=subprocess.DEVNULL)
    try:
        wait_ready(proc)
        found["cold_ready_s"] = round(time.monotonic() - begin, 3)
        first = get("/generate", 60)["tokens"]
        cold_s = time.monotonic() - begin
        found["cold_first_answer_s"] = round(cold_s, 3)
        found.update(park(cuda, proc.pid))
        begin = time.monotonic()
        found.update(unpark(cuda, proc.pid))
        again = get("/generate", 60)["tokens"]
        back_s = time.monotonic() - begin
    finally:
        proc.kill()
        proc.wait()
    found.update(back_first_answer_s=round(back_s, 3), cold_over_back=round(cold_s / back_s, 1), same_tokens=again == first)
    if again != first:
        raise RuntimeError("the answer differs after parking")


# ---- estimates ----

def known_estimates():
    """What `gantry gpu estimate` says, told ahead where gantry can not be run here."""
    for path in (BIN / "gpu-estimates.json", ROOT / "build/gpu-estimates.json"):
        if path.exists():
            return json.loads(path.read_text())
    if not (BIN / "gantry").exists():
        raise Skip("neither gantry nor build/gpu-estimates.json is there")
    return json.loads(output(str(ROOT / "scripts/gpu_table.py"), "--json", timeout=60, env={**os.environ, "BIN": str(BIN)}))


class Context:
    """A model with a context of the estimate's length (model.py)."""

    def __init__(self, python, estimate):
        argv = [python, str(HERE / "model.py"), str(ROOT / f"examples/models/{estimate['name']}.json"), str(estimate["context"])]
        self.estimate = estimate
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def row(self, lib, handle):
        """What it says when its context is read, and what the driver says that this process has."""
        line, e = self.proc.stdout.readline(), self.estimate
        used = lib.processes(handle).get(self.proc.pid)
        if not line or not used:
            return {"failed": "it ended before its context was read" if not line else "the driver does not name its process"}
        return {"estimate": e["bytes"], "used": used, "estimate_over_used": round(e["bytes"] / used, 3), "terms": e["terms"],
                **json.loads(line)}

    def end(self):
        self.proc.kill()
        self.proc.wait()


def right(row):
    return "failed" not in row and row["weight_bytes"] == row["terms"]["weights"] and abs(row["estimate_over_used"] - 1) <= 0.1


@step("estimates against what models take", 100, shares=["gpu"])
def estimates(found):
    """Weights to the byte; the sum within a tenth of what the driver says is used. As many at once as the GPU holds."""
    lib, python = driver.Nvml(), python_with("torch", "transformers")
    handle = lib.handle()
    waiting = [e for e in known_estimates() if e["name"] in ESTIMATED]
    room, running = lib.memory(handle)["free"] - (8 << 30), []
    try:
        while waiting or running:
            for e in [e for e in waiting if e["bytes"] * 1.1 <= room]:
                if e["bytes"] * 1.1 <= room:
                    room -= e["bytes"] * 1.1
                    waiting.remove(e)
                    running.append(Context(python, e))
            if not running:
                found.update({e["name"]: {"skipped": "it does not fit on this GPU"} for e in waiting})
                break
            ready = select.select([c.proc.stdout for c in running], [], [])[0]
            for c in [c for c in running if c.proc.stdout in ready]:
                found[c.estimate["name"]] = c.row(lib, handle)
                c.end()
                running.remove(c)
                room += c.estimate["bytes"] * 1.1
    finally:
        for c in running:
            c.end()
    wrong = [name for name, row in found.items() if "skipped" not in row and not right(row)]
    if wrong:
        raise RuntimeError(f"not within a tenth, or weights differ: {wrong}")
