#!/usr/bin/python3
"""Prints every measured figure in build/bench/*.json with its goal; fails when one misses its goal."""
import json
import pathlib
import sys

MEMBERS = {"id", "what", "value", "unit", "peer", "ratio", "goal", "pass"}
# Only in build/bench: how the value was found.
EXTRA = {"runs", "min", "median", "p99", "peer_min", "cpu_ms", "peer_cpu_ms"}


def number(value):
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main():
    folder = pathlib.Path(__file__).resolve().parents[1] / "build/bench"
    files = sorted(folder.glob("*.json"))
    if not files:
        sys.exit("report: build/bench holds no figures; run: make bench")
    rows, bad = [("id", "what", "value", "unit", "peer", "ratio", "goal", "")], 0
    for file in files:
        for row in json.loads(file.read_text()):
            if set(row) - EXTRA != MEMBERS:
                sys.exit(f"report: {file}: a row has {sorted((set(row) - EXTRA) ^ MEMBERS)} too few or too many")
            verdict = {True: "pass", False: "MISS", None: "open" if row["value"] is None else ""}[row["pass"]]
            bad += row["pass"] is False
            rows.append((row["id"], row["what"], number(row["value"]), row["unit"], number(row["peer"]),
                         number(row["ratio"]), row["goal"] or "-", verdict))
    width = [max(len(r[i]) for r in rows) for i in range(8)]
    for r in rows:
        print("  ".join(c.rjust(w) if i in (2, 4, 5) else c.ljust(w)
                        for i, (c, w) in enumerate(zip(r, width, strict=True))).rstrip())
    judged = sum(r[7] in ("pass", "MISS") for r in rows[1:])
    print(f"{judged - bad} of {judged} goals met")
    sys.exit(1 if bad else 0)


main()
