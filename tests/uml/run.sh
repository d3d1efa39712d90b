#!/bin/bash
# Runs test programs, and end-to-end tests, under a kernel that the developer's machine may not have: control
# groups of version 2 and nothing else; no layers mounted from files, and none by descriptor. User Mode Linux
# 6.1 on the host's own root, read-only; /tmp is an ext4. In a second guest systemd is process 1.
# usage: tests/uml/run.sh RESULTS_FILE PROGRAM...
set -u
results=$1
shift
if ! command -v linux.uml > /dev/null; then
	echo "SKIPPED: version 2 of control groups is not tested; install user-mode-linux for it"
	exit 0
fi
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
programs=$(IFS=,; echo "$*")
mkdir -p "$(dirname "$results")"
: > "$results"
bad=0

# guest INIT: results go to $results, what was said to the terminal.
guest() {
	local out=$top/$1
	mkdir -p "$out"
	# Also for limits of io: the root is no block device.
	truncate -s 1G "$out/disk" && /usr/sbin/mkfs.ext4 -q "$out/disk" || exit 1
	# TMPDIR: the guest's memory is a file there. The console is only for the log.
	TMPDIR=$out timeout -k 5 "${UML_TIMEOUT_S:-900}" linux.uml mem=1G root=/dev/root rootfstype=hostfs \
		rootflags=/ ro ubd0="$out/disk" quiet con=null con0=null,fd:1 init="$PWD/tests/uml/$1.sh" \
		uml_dir="$out" GT_DIR="$PWD" GT_OUT="$out" GT_TESTS="$programs" GT_BIN="${BIN:-build}" \
		< /dev/null > "$out/log" 2>&1
	grep -aE '^(kernel|ok  |FAIL|     )' "$out/log" | tr -d '\r'
	cat "$out/e2e.log" 2> /dev/null
	if ! [ -s "$out/status" ]; then
		echo "FAIL the guest of $1.sh did not come to its end"
		tail -n 40 "$out/log"
		echo "uml: 0 passed, 1 failed" >> "$results"
		bad=1
		return
	fi
	cat "$out/counts" "$out/e2e.txt" 2> /dev/null | sed 's/^/uml\//' >> "$results"
	[ "$(cat "$out/status")" -eq 0 ] || bad=1
}

guest init
if [ -x /lib/systemd/systemd ]; then
	guest systemd
else
	echo "SKIPPED: what a reload of systemd does; install systemd for it"
fi
exit $bad
