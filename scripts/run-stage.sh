#!/bin/bash
# Runs one stage of `make check` that does its own counting. The stage may write its results file
# (lines that hold `N passed, N failed`); when it does not, the last such line it printed counts.
# usage: scripts/run-stage.sh NAME RESULTS_FILE COMMAND...
set -u
name=$1 results=$2
shift 2
mkdir -p "$(dirname "$results")"
rm -f "$results"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
GT_RESULTS=$results "$@" 2>&1 | tee "$log"
rc=${PIPESTATUS[0]}
if ! [ -s "$results" ]; then
	line=$(grep -E '[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
	[ -n "$line" ] && echo "$name: $line" > "$results"
fi
exit "$rc"
