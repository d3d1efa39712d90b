#!/bin/bash
# Fuzz targets tests/fuzz/fuzz_NAME.c over tests/fuzz/corpus/fuzz_NAME/, each counted as one test.
# Where there is one, tests/fuzz/dict/fuzz_NAME.dict tells the fuzzer words of the format.
# usage: scripts/run-fuzz.sh replay|SECONDS RESULTS_FILE PROGRAM...
set -u
mode=$1 results=$2
shift 2
mkdir -p "$(dirname "$results")"
: > "$results"
bad=0
for prog in "$@"; do
	name=$(basename "$prog")
	corpus=tests/fuzz/corpus/$name
	log=$prog.log
	if [ "$mode" = replay ]; then
		timeout -k 5 300 "$prog" "$corpus" > "$log" 2>&1
	else
		found=build/fuzz/found/$name
		mkdir -p "$found"
		seeds=() dict=()
		if [ -d "$corpus" ]; then seeds=("$corpus"); fi
		if [ -f "tests/fuzz/dict/$name.dict" ]; then dict=("-dict=tests/fuzz/dict/$name.dict"); fi
		"$prog" -max_total_time="$mode" -timeout=10 -rss_limit_mb=2048 -verbosity=1 \
			-artifact_prefix="$found/crash-" "${dict[@]}" "$found" "${seeds[@]}" > "$log" 2>&1
	fi
	rc=$?
	if [ $rc -eq 0 ]; then
		echo "$name: 1 passed, 0 failed" >> "$results"
		echo "ok   $name: $(tail -n 1 "$log")"
	else
		bad=1
		echo "$name: 0 passed, 1 failed" >> "$results"
		echo "FAIL $name (exit status $rc)"
		tail -n 60 "$log" | sed 's/^/     /'
	fi
done
exit $bad
