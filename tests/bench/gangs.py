"""N10: gangs under faults in the simulated fleet, and how fast gantry-preflight finds each fault of a test double of
NCCL (loopback sockets and the host's memory: the time is of the verdict, not of any GPU). SCHEDULES=10000"""
import json
import os
import re
import subprocess
import time

from bench import row, write
from harness import BIN, OUT

FAULTS = ([f"corrupt={r}" for r in range(4)] + [f"slow={r}" for r in range(4)] + [f"hang={r}" for r in range(4)]
          + [f"hang_join={r}" for r in range(4)] + [f"version={r}:21805" for r in range(4)])
CAUSES = {"corrupt": "corrupt", "slow": "slow", "hang": "hung", "hang_join": "hung", "version": "version_mismatch"}


def preflight(fault):
    began = time.monotonic()
    done = subprocess.run([BIN / "gantry-preflight", "--ranks", "4", "--cuda", "none", "--sizes", "8,1048576,8388608",
                           "--nccl", OUT / "tests/fake/libnccl.so.2"], env={**os.environ, "GANTRY_FAKE_NCCL": fault},
                          capture_output=True, text=True, check=False)
    return time.monotonic() - began, json.loads(done.stdout)


def rows(schedules):
    done = subprocess.run([OUT / "plain/tests/sim/test_gangs"], env={**os.environ, "N_SCHEDULES": str(schedules)},
                          capture_output=True, text=True, check=False)
    said = re.search(r"(\d+) schedules: (\d+) routes of gangs looked at, (\d+) members died", done.stdout)
    broken = len(re.findall(r"^SEED=", done.stderr, re.M)) if said else schedules
    found, slowest = 0, 0.0
    for fault in FAULTS:
        seconds, v = preflight(fault)
        found += v.get("cause") == CAUSES[fault.split("=")[0]]
        slowest = max(slowest, seconds)
    healthy_s, healthy = preflight("")
    whole = schedules >= 10000
    return [
        row("N10.schedules", f"of {schedules:,} random schedules those that broke a rule of gangs", broken, "",
            goal="0" if whole else None, passed=broken == 0 if whole else None),
        row("N10.deaths", "members that died in them", int(said[3]) if said else 0, ""),
        row("N10.found", f"of {len(FAULTS)} injected faults preflight found", found, "", goal=f"{len(FAULTS)}",
            passed=found == len(FAULTS)),
        row("N10.verdict_s", "its slowest verdict on one", slowest, "s", goal="<= 5", passed=slowest <= 5),
        row("N10.healthy_s", f"its verdict on a healthy gang ({healthy['verdict']}), 8 MiB over loopback", healthy_s,
            "s"),
    ]


if __name__ == "__main__":
    write("gangs", rows(int(os.environ.get("SCHEDULES", 10000))))
