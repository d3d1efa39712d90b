#!/bin/bash
# Measures; writes build/bench/NAME.json. As root, or by itself through sudo. `make report` prints them.
# usage: [BIN=build] scripts/bench.sh [cold|footprint|listing|leak|runtime|gateway|sched|scale|cluster|gpu|nodes|faults|overload|upgrades|gangs|doors]...
# sched and scale read recorded clusters and calls from TRACES=dir. runtime, cluster, gpu, nodes, faults (of which overload and upgrades are parts), gangs and gateway (of which doors is one) are `make bench-runtime` and so on, which also build what they measure with.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
scripts/venv.sh || exit 1
run=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo > /dev/null || ! sudo -v; then
		echo "bench: containers need root, and there is no sudo; as root, run: make bench" >&2
		exit 1
	fi
	run=(sudo)
fi
settings=() # sudo drops them
for name in ROUNDS CYCLES BURST_MS PULLS RUN_MS OUTAGE_MS CONNS STARTS LEAVERS UPGRADES MUTANTS SEED TRACES SCHEDULES CALLS HOURS FUNCTIONS FILES PARTS MIB SPLITS OLD REQUESTS LOAD_S; do
	if [ -n "${!name:-}" ]; then settings+=("$name=${!name}"); fi
done
[ $# -gt 0 ] || set -- cold footprint listing leak
bad=0
for name in "$@"; do
	echo "== bench $name"
	"${run[@]}" env BIN="${BIN:-build}" PYTHONDONTWRITEBYTECODE=1 "${settings[@]}" \
		build/venv/bin/python "tests/bench/$name.py" || bad=1
done
if [ ${#run[@]} -gt 0 ]; then "${run[@]}" chown -R "$(id -u):$(id -g)" build/bench; fi
exit $bad
