"""Parking as the daemon does it, by requests alone: one function off the GPU and back, and three that take turns.

Run by scripts/gpu-check, or alone: python3 tests/gpu/parking.py cycles|turns [--gpus sim:1x8GiB:H100 --kind host].
Needs root, a built gantryd, and torch for a real GPU."""
import argparse
import json
import statistics
import sys

import driver
from daemon import HERE, Failed, Gantry

GIB = 2**30


def spec(python, kind, gib, after):
    return {
        "image": "host:", "command": [python, "/check/held.py", kind, str(gib), "8000"], "port": 8000,
        "volumes": [{"host": str(HERE), "path": "/check"}],
        "ready": {"path": "/health", "timeout": "60s"}, "limits": {"wait": "60s"},
        "resources": {"memory": "8GiB" if kind == "torch" else "512MiB", "gpu": {"count": 1}},
        "scale": {"min": 0, "max": 1, "idle": "120s"}, "park": {"method": "cuda", "after": after}}


def used_bytes():
    """Of the GPU's memory, by NVML; None: there is no driver."""
    try:
        nvml = driver.Nvml()
        return nvml.memory(nvml.handle())["used"]
    except driver.DriverError:
        return None


def must(condition, text):
    if not condition:
        raise RuntimeError(text)


def cycles(python, n=10, gpus="auto", kind="torch", gib=0.25, found=None):
    """Parked after each call, which tells what it holds then and changes it."""
    found = {} if found is None else found
    found.update({"cycles": n, "gib": gib, "call_s": [], "park_ms": [], "unpark_ms": []})
    with Gantry(gpus) as g:
        found["driver"] = g.wait_driver()
        g.deploy("one", spec(python, kind, gib, "0s"))
        found["cold_s"], held, replica = g.call("one", "/touch?n=1")
        found["used_on_gpu"] = used_bytes()
        for i in range(n):
            parked = g.wait_state("one", "parked", 30)
            if i == 0:
                found["used_while_parked"] = used_bytes()
            seconds, now, by = g.call("one", f"/touch?n={i + 2}")
            must(by == replica, f"cycle {i}: another replica answered: it was stopped, not parked")
            must(now["before"] == held["hash"], f"cycle {i}: what it holds differs: {held} then, {now} now")
            held = now
            found["call_s"].append(seconds)
            found["park_ms"].append(parked["park"].get("park_ms"))
            found["unpark_ms"].append(g.replicas("one")[0]["park"].get("unpark_ms"))
        view = g.wait_state("one", "parked", 30)
        found["park"] = view["park"]
        found["usage"] = view.get("usage")
    found["same_hash"] = True
    return found


def turns(python, rounds=3, gpus="auto", kind="torch", gib=0.25, found=None):
    """Three functions, each with the whole GPU: a call of one takes another off."""
    found = {} if found is None else found
    found.update({"rounds": rounds, "cold_s": {}, "back_s": []})
    held, replica, names = {}, {}, ("one", "two", "three")
    with Gantry(gpus) as g:
        found["driver"] = g.wait_driver()
        for name in names:
            g.deploy(name, spec(python, kind, gib, "120s"))
        for n, name in enumerate(names, 1):
            found["cold_s"][name], held[name], replica[name] = g.call(name, f"/touch?n={n}")
        must(len({h["hash"] for h in held.values()}) == len(names), "some hold the same: the check could not tell them apart")
        for i in range(rounds):
            for name in names:
                seconds, now, by = g.call(name, "/hash")
                found["back_s"].append(seconds)
                must(by == replica[name], f"round {i}: another replica of {name} answered: it was stopped, not parked")
                must(now["hash"] == held[name]["hash"], f"round {i}: what {name} holds differs: {held[name]} then, {now} now")
        for name in names:
            view = g.api(f"/v1/functions/{name}")
            must(view["starts_total"] == 1, f"{name} was started {view['starts_total']} times")
            found[name] = [{k: r.get(k) for k in ("state", "park", "usage")} for r in g.replicas(name)]
        found["events"] = [line for line in g.cli("events").splitlines() if "park" in line or "pressure" in line][-40:]
    found["cold_over_back"] = round(min(found["cold_s"].values()) / statistics.median(found["back_s"]), 1)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["cycles", "turns"])
    parser.add_argument("--gpus", default="auto")
    parser.add_argument("--kind", default="torch")
    parser.add_argument("--gib", type=float, default=0.25)
    args = parser.parse_args()
    try:
        found = {"cycles": cycles, "turns": turns}[args.what](sys.executable, gpus=args.gpus, kind=args.kind, gib=args.gib)
    except Failed as e:
        sys.exit(json.dumps({"why": str(e), "evidence": e.evidence}, indent=1))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
