"""A function with a real GPU, in a container of the daemon: what it finds there, and that CUDA works with it.

Run by scripts/gpu-check, or alone: python3 tests/gpu/inject.py. Needs root and a built gantryd."""
import json
import sys

from daemon import HERE, Gantry

LIBRARIES = "/usr/local/nvidia/lib64"
SMI = (HERE / "smi.py").read_text()

# Printed as one line of JSON by the program in the container.
PROGRAM = SMI + r"""
import ctypes, glob, json, os, time
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
         "env": {k: v for k, v in os.environ.items() if "NVIDIA" in k or "CUDA" in k or "GPU" in k or k.endswith("PATH")},
         "libraries": sorted(os.listdir("/usr/local/nvidia/lib64")), "smi": smi()}
cuda = ctypes.CDLL("libcuda.so.1")
count, context, memory, name = ctypes.c_int(-1), ctypes.c_void_p(), ctypes.c_uint64(), ctypes.create_string_buffer(96)
facts["cuInit"] = cuda.cuInit(0)
facts["cuDeviceGetCount"] = [cuda.cuDeviceGetCount(ctypes.byref(count)), count.value]
facts["cuDeviceGetName"] = [cuda.cuDeviceGetName(name, 96, 0), name.value.decode()]
facts["cuCtxCreate"] = cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0)
facts["cuMemAlloc"] = cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1 << 30))
facts["loaded"] = sorted({line.split()[-1] for line in open("/proc/self/maps") if "/libcuda.so" in line or "libnvidia" in line})
try:
    import torch
    x = torch.ones(2000, 2000, device="cuda")
    facts["torch"] = float((x @ x).sum())
except Exception as e:
    facts["torch"] = repr(e)
print("FACTS " + json.dumps(facts), flush=True)
time.sleep(1000)
"""


def told(g):
    """What the program printed; None: nothing yet."""
    for line in g.cli("logs", "inject", "--plain", check=False).splitlines():
        if line.startswith("FACTS "):
            return json.loads(line[6:])
    return None


def run(python=sys.executable, wait_s=60, gpus="auto", config=""):
    """Returns the facts, after checking them."""
    with Gantry(gpus, config) as g:
        g.wait_driver()
        g.deploy("inject", {
            "image": "host:", "command": [python, "-c", PROGRAM], "port": 8000, "ready": {"timeout": "5m"},
            "resources": {"memory": "16GiB", "gpu": {"count": 1}}, "scale": {"min": 1, "max": 1}})
        facts = g.wait(lambda: told(g), "the function says what it found", wait_s)
        facts["node"] = g.node()
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
