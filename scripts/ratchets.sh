#!/bin/bash
# Sizes and banned calls. scripts/ratchets.txt lists exceptions (`file:name limit`) and may only
# shrink: an entry that is no longer needed is an error too.
#	usage: scripts/ratchets.sh
set -u
max_file=800 max_header=250 max_function=70
mapfile -t files < <(find src include -name '*.[ch]' | LC_ALL=C sort)
found=$(mktemp) allowed=$(mktemp)
trap 'rm -f "$found" "$allowed"' EXIT
sed 's/#.*//; /^[[:space:]]*$/d' scripts/ratchets.txt | awk '{ print $1, $2 }' > "$allowed"

# Every finding is `file:name number what`.
for f in "${files[@]}"; do
	limit=$max_file
	[[ $f == *.h ]] && limit=$max_header
	lines=$(wc -l < "$f")
	[ "$lines" -le $limit ] || echo "$f:file $lines lines (limit $limit)"
done > "$found"
ctags --languages=C --c-kinds=f --fields=+ne -f - -L <(printf '%s\n' "${files[@]}") 2>/dev/null |
	awk -F '\t' -v limit=$max_function '!/^!/ {
		for (i = 4; i <= NF; i++) {
			if ($i ~ /^line:/) start = substr($i, 6)
			if ($i ~ /^end:/) end = substr($i, 5)
		}
		if (end - start + 1 > limit)
			print $2 ":" $1, end - start + 1, "lines (limit " limit ")"
	}' >> "$found"
# Comments and strings may name what the code may not call.
awk 'FNR == 1 { comment = 0 } {
	line = $0
	gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
	if (comment) { if (!sub(/^.*\*\//, "", line)) next; comment = 0 }
	gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", line)
	if (sub(/\/\*.*/, "", line)) comment = 1
	while (match(line, /(^|[^A-Za-z0-9_>.])(sprintf|vsprintf|strcpy|strcat|system|time|gets)[ \t]*\(/)) {
		name = substr(line, RSTART, RLENGTH)
		gsub(/[^a-z]/, "", name)
		print FILENAME ":" name, FNR, "banned call (line " FNR ")"
		line = substr(line, RSTART + RLENGTH)
	}
}' "${files[@]}" >> "$found"

awk 'FILENAME == ARGV[1] { allow[$1] = $2; next }
	$1 in allow { seen[$1]; if ($2 <= allow[$1] || $0 ~ /banned/) next }
	{ print; bad = 1 }
	END {
		for (k in allow) if (!(k in seen)) { print "scripts/ratchets.txt: " k " is no longer needed"; bad = 1 }
		exit bad
	}' "$allowed" "$found"
