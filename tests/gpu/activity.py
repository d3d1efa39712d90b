"""How busy a GPU is, three times told: by a load that is known, by the driver's tools, by the daemon's metrics.

Run by scripts/gpu-check, or alone: python3 tests/gpu/activity.py. Needs root, a built gantryd and torch."""
import json
import re
import subprocess
import sys
import time

import driver
from daemon import Gantry

TOLD_S = 9  # at most, until the daemon tells of a load: it looks each second and tells that every 5 s
KINDS = ("tensor", "dram", "pcie_rx", "pcie_tx")
# Of Hopper with dense 16 bit: multiply-adds of one SM and cycle, two operations each.
FLOPS_PER_SM_CLOCK = 4096
NAMES = {"GR_ENGINE_ACTIVE": "graphics", "PIPE_TENSOR_ACTIVE": "tensor", "DRAM_ACTIVE": "dram", "PCIE_TX_BYTES": "pcie_tx",
         "PCIE_RX_BYTES": "pcie_rx"}
# What the driver's own counter of a load is called in driver.py, and what makes the metric's unit of it.
GPM = {"tensor": ("tensor %", 0.01), "dram": ("memory bandwidth %", 0.01), "pcie_rx": ("PCIe received MiB/s", 2**20),
       "pcie_tx": ("PCIe sent MiB/s", 2**20)}

# Each load of KINDS in turn, from when it says so until it is sent a line; then it tells how much that was.
LOAD = r"""
import json, select, sys, time, torch
n = 8192
def tensor():
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16); b = a.clone(); c = torch.empty_like(a)
    return (lambda: torch.mm(a, b, out=c)), 2 * n ** 3
def dram():
    a = torch.empty(4 << 30, device="cuda", dtype=torch.uint8); b = torch.empty_like(a)
    return (lambda: b.copy_(a)), 2 * a.numel()
def pcie(to_gpu):
    host = torch.empty(256 << 20, dtype=torch.uint8).pin_memory(); gpu = torch.empty_like(host, device="cuda")
    return ((lambda: gpu.copy_(host, non_blocking=True)) if to_gpu else (lambda: host.copy_(gpu, non_blocking=True))), host.numel()
loads = {"tensor": tensor, "dram": dram, "pcie_rx": lambda: pcie(True), "pcie_tx": lambda: pcie(False)}
for kind in sys.argv[1:]:
    work, unit = loads[kind]()
    work(); torch.cuda.synchronize()
    print(json.dumps({"sms": torch.cuda.get_device_properties(0).multi_processor_count}), flush=True)
    begin, done = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(8):
            work()
        torch.cuda.synchronize()
        done += 8 * unit
    print(json.dumps({"done": done, "s": time.monotonic() - begin}), flush=True)
    sys.stdin.readline()
"""


def smi_dmon():
    """A second of what nvidia-smi says: SM and memory in percent, and PCIe in MB/s where it tells."""
    try:
        run = subprocess.run(["nvidia-smi", "dmon", "-s", "ut", "-c", "1"], capture_output=True, text=True, timeout=10, check=False)
        return (run.stdout + run.stderr).splitlines()[-4:]
    except (OSError, subprocess.TimeoutExpired) as e:
        return repr(e)


def metrics(g):
    """The daemon's, by name: of the profiling names and the two usual ones."""
    found = {}
    for line in g.get("/metrics", 10)[0].decode().splitlines():
        m = re.match(r"(DCGM_FI_PROF_\w+|DCGM_FI_DEV_GPU_UTIL|DCGM_FI_DEV_SM_CLOCK|gantry_gpu_\w*(?:active|pcie|tensor|dram)\w*)\{[^}]*\} (\S+)",
                     line)
        if m:
            found[m[1]] = float(m[2])
    return found


def utilization(nvml, handle):
    use = driver.Utilization()
    nvml.call("nvmlDeviceGetUtilizationRates", handle, driver.ctypes.byref(use))
    return {"gpu": use.gpu, "memory": use.memory}


def number(nvml, name, handle, *args):
    out = driver.ctypes.c_uint()
    return out.value if nvml.code(name, handle, *args, driver.ctypes.byref(out)) == 0 else None


def expected(row, kind, told, facts, nvml, handle):
    """What the metric should be, by what the load did."""
    rate = row["rate"] = told["done"] / told["s"]
    if kind == "tensor":
        return rate / (facts["sms"] * FLOPS_PER_SM_CLOCK * row["sm_clock"] * 1e6) if row["sm_clock"] else None
    if kind == "dram":
        width, clock = number(nvml, "nvmlDeviceGetMemoryBusWidth", handle), number(nvml, "nvmlDeviceGetMaxClockInfo", handle, 2)
        row["peak"] = width / 8 * clock * 2e6 if width and clock else None
        return rate / row["peak"] if row["peak"] else None
    return rate


def near(told, wanted, least=0.7, most=1.4):
    return told is not None and bool(wanted) and least <= told / wanted <= most


def measure(g, nvml, handle, proc, kind):
    """What all say of one load, when the daemon tells as much as the driver just counted, or after TOLD_S.

    The load has a second to come to speed first, and a look of the daemon's that began before it tells too little: that of run 1 on an
    H100 was taken for the load, 0.64 where the driver counted 0.86.
    """
    row, name = {}, f"DCGM_FI_PROF_{next(k for k, v in NAMES.items() if v == kind)}"
    facts, begin = json.loads(proc.stdout.readline()), time.monotonic()
    time.sleep(1)
    row["gpm"] = nvml.activity(handle, lambda: time.sleep(1))
    counted = row["gpm"].get(GPM[kind][0])
    counted = counted * GPM[kind][1] if isinstance(counted, (int, float)) else None
    while True:
        row["daemon"] = metrics(g)
        row["told"], row["after_s"] = row["daemon"].get(name), round(time.monotonic() - begin, 1)
        if near(row["told"], counted, 0.9, 1.1) or row["after_s"] > TOLD_S:
            break
        time.sleep(0.1)
    row["sm_clock"], row["nvml"] = number(nvml, "nvmlDeviceGetClockInfo", handle, 1), utilization(nvml, handle)
    row["smi"] = smi_dmon() if kind == "tensor" else None
    proc.stdin.write("\n")
    proc.stdin.flush()
    row["expected"] = expected(row, kind, json.loads(proc.stdout.readline()), facts, nvml, handle)
    return row


def run(python, rows):
    """rows: filled, a kind each."""
    nvml = driver.Nvml()
    handle = nvml.handle()
    with Gantry() as g:
        g.wait_driver()
        with subprocess.Popen([python, "-c", LOAD, *KINDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proc:
            try:
                for kind in KINDS:
                    rows[kind] = measure(g, nvml, handle, proc, kind)
            finally:
                proc.kill()
    wrong = [f"{kind}: {row['told']} told, {row['expected']} expected" for kind, row in rows.items()
             if not near(row["told"], row["expected"])]
    if wrong:
        raise RuntimeError("; ".join(wrong))
    return rows


if __name__ == "__main__":
    print(json.dumps(run(sys.executable, {}), indent=1))
