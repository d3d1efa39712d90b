#!/bin/bash
# The checks that read the source; each is one test.
# usage: CPPFLAGS=... scripts/lint.sh RESULTS_FILE
set -u
results=$1
mkdir -p "$(dirname "$results")"
: > "$results"
bad=0
mapfile -t files < <(find src include -name '*.[ch]' | LC_ALL=C sort)
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "ok   $name"
		echo "$name: 1 passed, 0 failed" >> "$results"
	else
		bad=1
		printf 'FAIL %s\n%s\n' "$name" "$out"
		echo "$name: 0 passed, 1 failed" >> "$results"
	fi
}
check layers scripts/check-layers.sh scripts/layers.txt "${files[@]}"
check ratchets scripts/ratchets.sh
check headers scripts/hdr-check.sh
check format scripts/format-check.sh
exit $bad
