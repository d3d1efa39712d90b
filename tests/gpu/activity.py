"""How busy a GPU is, three times told: by a load that is known, by the driver's tools, by the daemon's metrics.

Run by scripts/gpu-check, or alone: python3 tests/gpu/activity.py. Needs root, a built gantryd and torch."""
import json
import re
import subprocess
import sys
import time

import driver
from daemon import Gantry

LOAD_S = 9  # a look takes a second, telling it 5 s
# Of Hopper with dense 16 bit: multiply-adds of one SM and cycle, two operations each.
FLOPS_PER_SM_CLOCK = 4096
NAMES = {"GR_ENGINE_ACTIVE": "graphics", "PIPE_TENSOR_ACTIVE": "tensor", "DRAM_ACTIVE": "dram", "PCIE_TX_BYTES": "pcie_tx",
         "PCIE_RX_BYTES": "pcie_rx"}

# One load for S seconds; prints how much it did and how long that took.
LOAD = r"""
import json, sys, time, torch
kind, seconds = sys.argv[1], float(sys.argv[2])
n, done = 8192, 0
if kind == "tensor":
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16); b = a.clone(); c = torch.empty_like(a)
    work, unit = (lambda: torch.mm(a, b, out=c)), 2 * n ** 3
elif kind == "dram":
    a = torch.empty(4 << 30, device="cuda", dtype=torch.uint8); b = torch.empty_like(a)
    work, unit = (lambda: b.copy_(a)), 2 * a.numel()
else:
    host = torch.empty(256 << 20, dtype=torch.uint8).pin_memory(); gpu = torch.empty_like(host, device="cuda")
    work = (lambda: gpu.copy_(host, non_blocking=True)) if kind == "pcie_rx" else (lambda: host.copy_(gpu, non_blocking=True))
    unit = host.numel()
work(); torch.cuda.synchronize()
props = torch.cuda.get_device_properties(0)
print(json.dumps({"sms": props.multi_processor_count}), flush=True)
begin = time.monotonic()
while time.monotonic() - begin < seconds:
    for _ in range(8):
        work()
    torch.cuda.synchronize()
    done += 8 * unit
print(json.dumps({"done": done, "s": time.monotonic() - begin}), flush=True)
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


def measure(g, nvml, handle, python, kind):
    """What all say of one load, near its end."""
    row = {}
    with subprocess.Popen([python, "-c", LOAD, kind, str(LOAD_S)], stdout=subprocess.PIPE, text=True) as proc:
        try:
            facts = json.loads(proc.stdout.readline())
            time.sleep(LOAD_S - 2.5)
            row["gpm"] = nvml.activity(handle, lambda: time.sleep(1))
            row["sm_clock"] = number(nvml, "nvmlDeviceGetClockInfo", handle, 1)
            row["nvml"], row["daemon"] = utilization(nvml, handle), metrics(g)
            row["smi"] = smi_dmon() if kind in ("tensor", "dram") else None
            told = json.loads(proc.stdout.readline())
        finally:
            proc.kill()
    rate = told["done"] / told["s"]
    row["rate"], row["unit"] = rate, {"tensor": "FLOP/s", "dram": "B/s"}.get(kind, "B/s")
    if kind == "tensor" and row["sm_clock"]:
        row["expected"] = rate / (facts["sms"] * FLOPS_PER_SM_CLOCK * row["sm_clock"] * 1e6)
    if kind == "dram":
        width, clock = number(nvml, "nvmlDeviceGetMemoryBusWidth", handle), number(nvml, "nvmlDeviceGetMaxClockInfo", handle, 2)
        row["peak"] = width / 8 * clock * 2e6 if width and clock else None
        row["expected"] = rate / row["peak"] if row["peak"] else None
    if kind.startswith("pcie"):
        row["expected"] = rate
    row["told"] = row["daemon"].get(f"DCGM_FI_PROF_{next(k for k, v in NAMES.items() if v == kind)}")
    return row


def run(python):
    nvml = driver.Nvml()
    handle, rows, wrong = nvml.handle(), {}, []
    with Gantry() as g:
        g.wait_driver()
        for kind in ("tensor", "dram", "pcie_rx", "pcie_tx"):
            row = rows[kind] = measure(g, nvml, handle, python, kind)
            if row["told"] is None or not row.get("expected"):
                wrong.append(f"{kind}: {'no metric' if row['told'] is None else 'nothing to hold it against'}")
            elif not 0.7 <= row["told"] / row["expected"] <= 1.4:
                wrong.append(f"{kind}: {row['told']:.4g} told, {row['expected']:.4g} expected")
        if wrong:
            raise RuntimeError(f"{'; '.join(wrong)}: {json.dumps(rows)}")
    return rows


if __name__ == "__main__":
    print(json.dumps(run(sys.executable), indent=1))
