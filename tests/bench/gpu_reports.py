"""What was measured on a GPU: out of the reports of scripts/gpu-check, the last one that has it. build/gpu-check.json is
newer than those kept in docs/gpu. Each row says which report it is from."""
import json
import pathlib

import bench
from harness import ROOT

KEPT = sorted((ROOT / "docs/gpu").glob("*.json"), key=lambda path: json.loads(path.read_text())["date"], reverse=True)
REPORTS = [ROOT / "build/gpu-check.json", *KEPT]


def figures(step):
    """The step's, and the report's name; (None, None): no report has it passed."""
    for path in REPORTS:
        row = json.loads(path.read_text())["steps"].get(step, {}) if path.exists() else {}
        if row.get("result") == "passed":
            return row["figures"], path.name
    return None, None


def row(id, what, step, unit, goal, take, holds):
    """One row: `take` of the step's figures, and whether it holds; open where no report has the step."""
    found, source = figures(step)
    value = None if found is None else take(found)
    return bench.row(id, f"{what} ({source or 'scripts/gpu-check'})", value, unit, goal=goal,
                     passed=None if value is None else holds(value))


def parking():
    step = "checkpoint times"
    return [
        row("N6.hash", "cycles of a PyTorch process, each with equal memory", "50 cycles of a PyTorch process", "", "50",
            lambda f: f["cycles"] if f["same"] else 0, lambda v: v >= 50),
        *(row(f"N6.{name}.{gib}", f"{what} {gib} GiB, by the driver", step, "GB/s", None,
              lambda f, gib=gib, name=name: next((r[f"{name}_gbps"] for r in f["rows"] if r["gib"] == gib and "same" in r), None),
              lambda _: None)
          for name, what in (("park", "parking"), ("unpark", "coming back with")) for gib in (1, 8, 32)),
    ]


def turns():
    return [row("N8.real", "three functions take turns on a GPU: calls answered by the same replicas",
                "daemon: three functions take turns", "calls", ">= 9", lambda f: len(f["back_s"]), lambda v: v >= 9)]


def engine():
    """N9."""
    return [row("N9", "a transformers server's first answer, started against parked",
                "transformers server: parked against restarted", "x", ">= 10", lambda f: f["cold_over_back"], lambda v: v >= 10)]


def estimates():
    """N11, of the driver's peak."""
    return [row("N11.peak", "estimates of four models, furthest from the driver's peak", "estimates against what models take", "%",
                "<= 10", lambda f: max(abs(m["estimate_over_used"] - 1) * 100 for m in f.values() if "used" in m), lambda v: v <= 10)]
