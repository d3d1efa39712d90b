#!/bin/bash
# Runs tests/e2e and tests/chaos against the real binaries: as root, or by itself through sudo.
# When at most three tests of a whole run fail, the files they are in are run twice more. What then passes both times is not broken
# but unsteady: it counts as passed, and the summary names it, for somebody to find the race.
# usage: [BIN=build] scripts/e2e.sh [pytest arguments]
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
bin=${BIN:-build}
results=${GT_RESULTS:-$root/build/results/e2e.txt}

scripts/venv.sh || exit 1
run=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo > /dev/null || ! sudo -v; then
		echo "e2e: containers need root, and there is no sudo; as root, run: make e2e" >&2
		exit 1
	fi
	run=(sudo)
	examples/llm/setup.sh || exit 1 # so that what it makes below build/ is not root's
fi
whole=
if [ $# -eq 0 ]; then
	whole=yes
	set -- tests/e2e tests/chaos
fi
mkdir -p "$(dirname "$results")"
# Not in /tmp: root may not write another user's files there (fs.protected_regular).
work=$(mktemp -d "$(dirname "$results")/e2e.XXXXXX")
trap '"${run[@]}" rm -rf "$work"' EXIT

tests() { # XML PYTEST-ARGUMENT...
	local xml=$1
	shift
	"${run[@]}" env BIN="$bin" PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY="$work/hypothesis" \
		build/venv/bin/python -m pytest -c tests/e2e/pytest.ini --rootdir tests/e2e --junit-xml "$xml" "$@"
}
results() { build/venv/bin/python scripts/e2e-results.py "$@"; }

tests "$work/results.xml" "$@"
rc=$?
steady=()
if [ -n "$whole" ] && [ "$rc" -eq 1 ] && files=$(results files "$work/results.xml"); then
	echo "e2e: again, twice, what a test failed in:" $files
	# shellcheck disable=SC2086
	if tests "$work/again.xml" $files && tests "$work/again.xml" $files; then
		steady=(unsteady)
		rc=0
	fi
fi
results count "$work/results.xml" "${steady[@]}" >> "$results"
tail -n 1 "$results"
exit $rc
