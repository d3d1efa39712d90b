"""N1: GPUs of others are refused to each container. No GPU is needed: test_inject.c says how it is tried."""
import os
import re
import subprocess

from bench import row
from harness import OUT, ROOT

SPAWNS = int(os.environ.get("STARTS", "1000"))
PROGRAM = OUT / "plain/tests/unit/runtime/test_inject"
SAID = re.compile(r"^N1 spawns=(\d+) granted=(\d+) let_through=(\d+) others=(\d+) denied=(\d+)$", re.M)


def rows():
    run = subprocess.run([PROGRAM], capture_output=True, text=True, cwd=ROOT, timeout=1800,
                         env={**os.environ, "GANTRY_SPAWNS": str(SPAWNS)})
    said = SAID.search(run.stdout + run.stderr)
    assert said, run.stdout + run.stderr
    spawns, granted, let_through, others, denied = map(int, said.groups())
    assert spawns == SPAWNS and others > 0
    share = 100 * denied / others
    return [
        row("N1", f"opens of other devices denied, {spawns:,} containers, {others:,} opens", share, "%",
            goal="100 %", passed=denied == others and let_through == granted),
        row("N1.own", "opens of its own device let through", 100 * let_through / granted, "%", goal="100 %",
            passed=let_through == granted),
    ]
