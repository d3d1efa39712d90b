"""The counts of `make torture`, which come from build/torture, as rows of build/bench/torture.json."""
import json
import sys

import bench
from harness import OUT


def counts(name):
    return json.loads((OUT / "torture" / f"{name}.json").read_text())


def main():
    s, d = counts("scenes"), counts("daemon")
    wrong = s["left"] + s["wrong"] + s["broken"]
    rows = [
        bench.row("F18.scenes", f"scenes in which each of {s['calls']:,} calls, and one allocation of each of "
                  f"{s['places']:,} places, failed once", s["scenes"], "", goal=">= 30", passed=s["scenes"] >= 30),
        bench.row("F18.points", "failures in them", s["points"], ""),
        bench.row("F18.crashes", "crashes and hangs among them", s["crashes"], "", goal="0", passed=s["crashes"] == 0),
        bench.row("F18.leaks", "leaks of memory", s["leaks"], "", goal="0", passed=s["leaks"] == 0),
        bench.row("F18.wrong", "something left, a wrong answer, or none", wrong, "", goal="0", passed=wrong == 0),
        bench.row("F18.daemon", f"{d['failures']:,} failures in a whole daemon, {d['role_ends']} ends of roles: it did not serve "
                  "again, lost something acknowledged, or left something", d["faults"], "", goal="0", passed=d["faults"] == 0),
    ]
    bench.write("torture", rows)
    return 0 if all(r["pass"] is not False for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
