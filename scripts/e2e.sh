#!/bin/bash
# Runs tests/e2e and tests/chaos against the real binaries: as root, or by itself through sudo.
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
[ $# -gt 0 ] || set -- tests/e2e tests/chaos
mkdir -p "$(dirname "$results")"
# Not in /tmp: root may not write another user's files there (fs.protected_regular).
work=$(mktemp -d "$(dirname "$results")/e2e.XXXXXX")
xml=$work/results.xml
trap '"${run[@]}" rm -rf "$work"' EXIT
"${run[@]}" env BIN="$bin" PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY="$work/hypothesis" \
	build/venv/bin/python -m pytest -c tests/e2e/pytest.ini --rootdir tests/e2e \
	--junit-xml "$xml" "$@"
rc=$?
# What went wrong before a test began (an import, a fixture) counts as failed, too.
build/venv/bin/python - "$xml" >> "$results" <<'PY'
import sys
import xml.etree.ElementTree as tree
failed = passed = skipped = 0
try:
    for suite in tree.parse(sys.argv[1]).iter("testsuite"):
        n = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
        bad = n["failures"] + n["errors"]
        failed += bad
        skipped += n["skipped"]
        passed += max(0, n["tests"] - bad - n["skipped"])
except (tree.ParseError, OSError):
    failed = 1
if failed + passed + skipped == 0:
    failed = 1
print(f"e2e: {passed} passed, {failed} failed")
PY
tail -n 1 "$results"
exit $rc
