#!/bin/bash
# Makes the Python environment of a requirements file, once: a second run with the same file is free.
# usage: scripts/venv.sh [DIR [REQUIREMENTS]]		default: build/venv tests/requirements.txt
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/venv} requirements=${2:-$root/tests/requirements.txt}
python=/usr/bin/python3
[ -x $python ] || python=python3
stamp=$dir/.requirements
cmp -s "$requirements" "$stamp" && exit 0

rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
echo "venv: making ${dir#"$root"/}"
$python -m venv "$dir" || {
	echo "venv: $python has no venv module; as root, run: apt-get install python3-venv" >&2
	exit 1
}
for try in 1 2 3; do
	"$dir/bin/pip" install --quiet --no-input --disable-pip-version-check --only-binary :all: \
		-r "$requirements" && break
	echo "venv: attempt $try to install ${requirements#"$root"/} failed" >&2
	[ "$try" -lt 3 ] || exit 1
done
# Written last, so that an interrupted run starts afresh.
cp "$requirements" "$stamp"
