#!/bin/sh
# Every include keeps to the rooms that scripts/layers.txt allows.
# usage: scripts/check-layers.sh scripts/layers.txt $(git ls-files 'src/*.[ch]' 'include/*.h')
exec awk '
function room(p) {
	if (!sub(/^(.*\/)?include\/gantry\//, "", p)) sub(/^(.*\/)?src\//, "", p)
	sub(/\/.*/, "", p)
	return p
}
function no(msg) { print FILENAME ":" FNR ": " msg; bad = 1 }
NR == FNR {
	sub(/#.*/, "")
	if (!sub(/:/, " ")) next
	if ($1 ~ /^@/) { h = substr($1, 2); owned[h]; for (i = 2; i <= NF; i++) ext[h, $i]; next }
	for (i = 2; i <= NF; i++) { if (!($i in rooms)) no($1 " looks up to " $i); may[$1, $i] }
	rooms[$1]
	next
}
FNR == 1 { here = room(FILENAME); if (!(here in rooms)) no("room " here " has no line in layers.txt") }
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
	to = $0; sub(/^[^<"]*/, "", to); quoted = to ~ /^"/
	sub(/^[<"]/, "", to); sub(/[>"].*/, "", to)
	if (quoted && to ~ /\//) no("a quoted include stays in its own room: " to)
	if (to in owned && !((to, here) in ext)) no(here " may not include " to)
	if (sub(/^gantry\//, "", to)) {
		sub(/\/.*/, "", to)
		if (to != here && !((here, to) in may)) no(here " may not depend on " to)
	}
}
END { exit bad }' "$@"
