#!/bin/bash
# Runs cmocka programs one after the other and writes their counts to a file.
# usage: [RUNNER=command] scripts/run-tests.sh RESULTS_FILE PROGRAM...
set -u
results=$1
shift
mkdir -p "$(dirname "$results")"
: > "$results"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
bad=0
for prog in "$@"; do
	# shellcheck disable=SC2086
	timeout -k 5 "${TEST_TIMEOUT_S:-180}" ${RUNNER:-} "$prog" > "$log" 2>&1
	rc=$?
	passed=$(awk '/^\[  PASSED  \]/ && / test\(s\)\.$/ { n += $(NF - 1) } END { print n + 0 }' "$log")
	failed=$(sed -n 's/^\[  FAILED  \].* \([0-9]*\) test(s), listed below:$/\1/p' "$log" |
		awk '{ n += $1 } END { print n + 0 }')
	skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test(s), listed below:$/\1/p' "$log" |
		awk '{ n += $1 } END { print n + 0 }')
	# A crash, a time-out or a sanitizer's report has no FAILED line of its own.
	if [ "$rc" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
	# A program that ran nothing proves nothing.
	if [ $((passed + failed + skipped)) -eq 0 ]; then failed=1; fi
	name=${prog#*tests/}
	echo "$name: $passed passed, $failed failed" >> "$results"
	if [ "$failed" -ne 0 ]; then
		bad=1
		echo "FAIL $name (exit status $rc)"
		tail -n 200 "$log" | sed 's/^/     /'
	else
		echo "ok   $name: $passed passed$([ "$skipped" -gt 0 ] && echo ", $skipped skipped")"
	fi
done
exit $bad
