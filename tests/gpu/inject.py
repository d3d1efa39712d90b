"""A function with a real GPU, in a container of the daemon: what it finds there, and that CUDA works with it.

Run by scripts/gpu-check, or alone: python3 tests/gpu/inject.py. Needs root and a built gantryd."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build"))
LIBRARIES = "/usr/local/nvidia/lib64"

# Printed as one line of JSON by the program in the container.
PROGRAM = r"""
import ctypes, glob, json, os
def text(path):
    try:
        return open(path).read()
    except OSError as e:
        return e.strerror
def opens(path):
    try:
        os.close(os.open(path, os.O_RDWR))
        return "opens"
    except OSError as e:
        return e.strerror
facts = {"nodes": {p: opens(p) for p in sorted(glob.glob("/dev/nvidia*") + glob.glob("/dev/nvidia-caps/*"))
                   if not os.path.isdir(p)},
         "gpus": os.listdir("/proc/driver/nvidia/gpus"), "params": text("/proc/driver/nvidia/params").count("ModifyDeviceFiles: 0"),
         "version": text("/proc/driver/nvidia/version").split("\n")[0], "uid_map": text("/proc/self/uid_map").split(),
         "env": {k: v for k, v in os.environ.items() if "NVIDIA" in k or "CUDA" in k or "GPU" in k or k.endswith("PATH")}}
cuda = ctypes.CDLL("libcuda.so.1")
count, context, memory, name = ctypes.c_int(-1), ctypes.c_void_p(), ctypes.c_uint64(), ctypes.create_string_buffer(96)
facts["cuInit"] = cuda.cuInit(0)
facts["cuDeviceGetCount"] = [cuda.cuDeviceGetCount(ctypes.byref(count)), count.value]
facts["cuDeviceGetName"] = [cuda.cuDeviceGetName(name, 96, 0), name.value.decode()]
facts["cuCtxCreate"] = cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0)
facts["cuMemAlloc"] = cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1 << 30))
facts["loaded"] = sorted({line.split()[-1] for line in open("/proc/self/maps") if "/libcuda.so" in line or "libnvidia" in line})
try:
    import subprocess
    facts["smi"] = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout.strip()
except Exception as e:
    facts["smi"] = repr(e)
try:
    import torch
    x = torch.ones(2000, 2000, device="cuda")
    facts["torch"] = float((x @ x).sum())
except Exception as e:
    facts["torch"] = repr(e)
print("FACTS " + json.dumps(facts), flush=True)
import time
time.sleep(1000)
"""


def cli(url, state, *words, check=True):
    run = subprocess.run([BIN / "gantry", *words, "--url", url, "--token-file", state / "admin.token"],
                         capture_output=True, text=True, timeout=60)
    if check and run.returncode:
        raise RuntimeError(f"gantry {words[0]}: {run.stderr}")
    return run.stdout


def facts_of_function(url, state, tmp, wait_s):
    spec = tmp / "spec.json"
    spec.write_text(json.dumps({
        "image": "host:", "command": [sys.executable, "-c", PROGRAM], "port": 8000, "ready": {"timeout": "5m"},
        "resources": {"memory": "16GiB", "gpu": {"count": 1}}, "scale": {"min": 1, "max": 1}}))
    cli(url, state, "deploy", "inject", "--file", str(spec))
    end = time.monotonic() + wait_s
    text = ""
    while time.monotonic() < end:
        text = cli(url, state, "logs", "inject", "--plain", check=False)
        for line in text.splitlines():
            if line.startswith("FACTS "):
                return json.loads(line[6:])
        time.sleep(0.5)
    raise RuntimeError("the function said nothing: " + text[-2000:] + cli(url, state, "ps", check=False)
                       + cli(url, state, "events", check=False)[-2000:])


def run(wait_s=120):
    """Returns the facts, after checking them."""
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        os.chmod(tmp, 0o755)
        state = tmp / "state"
        with open(tmp / "log", "w") as log:
            daemon = subprocess.Popen([BIN / "gantryd", "run", "--state", state, "--listen", "127.0.0.1:0", "--gpus", "auto"],
                                      stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            url = daemon.stdout.readline().split()[-1]
            nodes = cli(url, state, "nodes", "--json")
            facts = facts_of_function(url, state, tmp, wait_s)
            facts["node"] = json.loads(nodes)
        except Exception as e:
            raise RuntimeError(f"{e}\n{(tmp / 'log').read_text()[-4000:]}") from e
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(60)
    check(facts)
    return facts


def check(facts):
    assert facts["cuInit"] == 0 and facts["cuDeviceGetCount"] == [0, 1], facts
    assert facts["cuCtxCreate"] == 0 and facts["cuMemAlloc"] == 0, facts
    assert len(facts["gpus"]) == 1 and facts["params"] == 1, facts
    assert any(path.startswith(LIBRARIES) for path in facts["loaded"]), facts["loaded"]
    assert not [path for path in facts["loaded"] if not path.startswith(LIBRARIES)], facts["loaded"]
    assert facts["uid_map"][1] != "0", facts["uid_map"]
    assert set(facts["nodes"].values()) == {"opens"}, facts["nodes"]


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
