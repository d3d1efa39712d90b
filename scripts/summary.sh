#!/bin/bash
# Adds up the counts of all stages; the last line is the total. Fails when anything failed.
# usage: scripts/summary.sh RESULTS_DIR
set -u
dir=$1
echo "== summary"
passed=0 failed=0
for file in "$dir"/*.txt; do
	[ -e "$file" ] || continue
	read -r p f < <(awk 'match($0, /[0-9]+ passed, [0-9]+ failed/) {
		split(substr($0, RSTART, RLENGTH), w, " "); p += w[1]; f += w[3] }
		END { print p + 0, f + 0 }' "$file")
	printf '  %-12s %5d passed, %d failed\n' "$(basename "$file" .txt)" "$p" "$f"
	passed=$((passed + p)) failed=$((failed + f))
done
# A stage that stopped before it could count (it did not build, say) is one failure.
while read -r stage; do
	file=$dir/${stage%-replay}.txt
	if ! grep -qsE ' [1-9][0-9]* failed' "$file"; then
		printf '  %-12s stopped before its end\n' "$stage"
		failed=$((failed + 1))
	fi
done < <(cat "$dir/stages.failed" 2>/dev/null)
grep -hs '^unsteady: ' "$dir"/*.txt | sed 's/^/  /'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
