#!/bin/bash
# Installs the Debian packages of the named sections that are missing; silent when none is.
# usage: scripts/deps.sh build|demo|test|bench...
set -u
cd "$(dirname "$0")" || exit 1
[ $# -gt 0 ] || set -- build demo test
wanted=()
for section in "$@"; do
	mapfile -t -O ${#wanted[@]} wanted < <(awk -v want="[$section]" '
		{ sub(/#.*/, "") } /^\[/ { on = $1 == want; next } on && NF { print $1 }' packages.txt)
done
if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
	echo "deps: this is no Debian: install what these packages hold: ${wanted[*]}" >&2
	exit 1
fi
have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null |
	awk '$2 == "installed" { print $1 }')
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(sort -u <<< "$have"))
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
hint="apt-get install --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo > /dev/null || ! sudo -v; then
		echo "deps: packages are missing; as root, run: $hint" >&2
		exit 1
	fi
	as_root=(sudo)
fi
echo "deps: installing ${#missing[@]} packages: ${missing[*]}"
for try in 1 2 3; do
	if "${as_root[@]}" "${apt[@]}" update &&
		"${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; then
		# What needs them starts them itself; Debian's services would listen at all addresses for good.
		for service in docker-registry nginx haproxy varnish; do
			if [[ " ${missing[*]} " == *" $service "* && -d /run/systemd/system ]]; then
				"${as_root[@]}" systemctl disable --now "$service.service"
			fi
		done
		exit 0
	fi
	echo "deps: attempt $try failed" >&2
	sleep $((try * 3))
done
echo "deps: could not install the packages; as root, run: $hint" >&2
exit 1
