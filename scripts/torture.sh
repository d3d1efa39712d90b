#!/bin/bash
# Every call and allocation of each scene fails once (tests/torture), then POINTS (20) of each role, kind and scene of a whole
# daemon. SEED (1) picks errors and points; JOBS (two for each processor, as most of a point is waiting) are tried at once. Writes
# build/bench/torture.json. As root, or by itself through sudo.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
scripts/venv.sh || exit 1
run=()
if [ "$(id -u)" -ne 0 ]; then run=(sudo); fi
bad=0
jobs=${JOBS:-$((2 * $(nproc)))}
mkdir -p build/torture
"${run[@]}" build/address-undefined/tests/torture/torture -s "${SEED:-1}" -p "$jobs" -j build/torture/scenes.json || bad=1
"${run[@]}" env BIN="${BIN:-build}" PYTHONDONTWRITEBYTECODE=1 build/venv/bin/python tests/torture/daemon.py \
	--seed "${SEED:-1}" --points "${POINTS:-20}" --jobs "$jobs" --json build/torture/daemon.json || bad=1
env BIN="${BIN:-build}" PYTHONDONTWRITEBYTECODE=1 build/venv/bin/python tests/bench/torture.py || bad=1
exit $bad
