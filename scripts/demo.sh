#!/bin/bash
# Shows Gantry at work on this machine: starts a daemon that stays, deploys, calls cold and warm.
# usage: [DEMO=llm] scripts/demo.sh	|	scripts/demo.sh stop|status
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
state=$root/build/demo-state
log=$root/build/demo.log

on='' off=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	on=$'\033[1m' off=$'\033[0m'
fi
bold() { printf '\n%s%s%s\n' "$on" "$*" "$off"; }
note() { printf '  %s\n' "$*"; }
die() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# Only the daemon itself needs root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo > /dev/null; then
		sudo "$@"
	else
		die "the daemon makes containers, which needs root, and there is no sudo: run as root"
	fi
}

daemon_pid() { # prints it while the demo's daemon runs
	local pid
	pid=$(cat build/demo.pid 2> /dev/null) || return 1
	tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF "run --state $state" || return 1
	echo "$pid"
}

stop() {
	local pid
	if ! pid=$(daemon_pid); then
		echo "demo: no daemon of the demo is running"
		return 0
	fi
	as_root kill -INT "$pid" # INT: its replicas end, too
	for _ in $(seq 300); do
		kill -0 "$pid" 2> /dev/null || [ -e "/proc/$pid" ] || break
		sleep 0.1
	done
	[ ! -e "/proc/$pid" ] || die "process $pid did not end within 30 s; its log is $log"
	rm -f build/demo.pid
	echo "demo: the daemon (process $pid) and all its replicas have ended; state stays in $state"
}

start() {
	local listen=127.0.0.1:8080
	if daemon_pid > /dev/null; then
		note "the demo's daemon already runs (process $(daemon_pid))"
		return 0
	fi
	if (exec 3<> /dev/tcp/127.0.0.1/8080) 2> /dev/null; then
		note "port 8080 is taken; another one is picked"
		listen=127.0.0.1:0
	fi
	: > "$log"
	as_root rm -f build/demo.pid # of one that was killed
	# setsid: Ctrl-C in this terminal must not end what is meant to stay.
	as_root setsid -f sh -c "echo \$\$ > '$root/build/demo.pid'
		exec '$root/build/gantryd' run --state '$state' --listen $listen >> '$log' 2>&1" < /dev/null
	for _ in $(seq 400); do
		grep -q '^listening on ' "$log" && return 0
		sleep 0.05
		# It is the shell at first, and nobody's at last.
		[ ! -s build/demo.pid ] || [ -e "/proc/$(cat build/demo.pid)" ] || break
	done
	tail -n 20 "$log" >&2
	die "the daemon did not start; that was the end of $log"
}

# api METHOD PATH [curl arguments]: the body on stdout; an error's body on stderr.
api() {
	local method=$1 path=$2 out
	shift 2
	if ! out=$(curl -sS --fail-with-body -X "$method" -H "Authorization: Bearer $TOKEN" "$@" "$URL$path"); then
		die "$method $path: $out"
	fi
	printf '%s' "$out"
}

deploy() { # NAME SPEC_FILE
	api PUT "/v1/functions/$1" -H 'Content-Type: application/json' --data-binary "@$2" > /dev/null
	note "PUT /v1/functions/$1 < $2"
}

# call PATH [curl arguments]: prints the answer, leaves headers and times in build/demo.head/.time
call() {
	local path=$1
	shift
	curl -sS --fail-with-body -D build/demo.head -w '%{stderr}%{time_starttransfer} %{time_total}' \
		-H "Authorization: Bearer $TOKEN" "$@" "$URL$path" 2> build/demo.time ||
		die "$path: $(cat build/demo.time)"
}

row() { printf '    %-34s %10.2f ms\n' "$1" "$2"; }

timing() { # NAME: one phase out of the last answer's Server-Timing
	sed -n "s/^[Ss]erver-[Tt]iming:.*$1;dur=\([0-9.]*\).*/\1/p" build/demo.head
}

show_call() { # FUNCTION: where the time of the last call went
	local first replica phases
	first=$(cut -d' ' -f1 build/demo.time)
	row "request to first byte (curl)" "$(awk -v s="$first" 'BEGIN { print s * 1000 }')"
	row "  waiting in the queue" "$(timing queue)"
	row "  waiting for the start" "$(timing start)"
	if awk -v s="$(timing start)" 'BEGIN { exit !(s > 0) }'; then
		replica=$(sed -n 's/^[Gg]antry-[Rr]eplica: *\([0-9A-Za-z]*\).*/\1/p' build/demo.head)
		phases=$(api GET "/v1/functions/$1/replicas/$replica" | jq -r '.timings |
			.sandbox_ms, .root_ms, .exec_ms, .ready_ms')
		# shellcheck disable=SC2086
		set -- $phases
		row "    a sandbox is at hand" "$1"
		row "    root file system and mounts" "$2"
		row "    the program runs" "$3"
		row "    it answers" "$4"
	fi
	row "  running" "$(timing run)"
}

wait_zero() { # FUNCTION
	local begin
	begin=$(date +%s%N)
	for _ in $(seq 240); do
		if api GET "/v1/functions/$1/replicas" |
			jq -e '[.items[] | select(.state != "stopped" and .state != "failed")] == []' > /dev/null; then
			note "no replica is left, $((($(date +%s%N) - begin) / 1000000)) ms later"
			return 0
		fi
		sleep 0.25
	done
	die "$1 still has replicas after 60 s"
}

demo_echo() {
	sed "s|@ROOT@|$root|g" examples/echo/echo.json.in > build/echo.json
	bold "Deploy: examples/echo, a static C server"
	deploy echo build/echo.json
	note "nothing runs yet: $(api GET /v1/functions/echo | jq -c '{state, revision}')"

	bold "Call it cold: the request itself starts it"
	call /f/echo/hello | sed 's/^/    | /' | head -n 5
	show_call echo
	bold "Call it warm"
	call /f/echo/hello > /dev/null
	show_call echo
	bold "Leave it alone: its idle window is 2 s"
	wait_zero echo
}

demo_llm() {
	local ask
	ask='"model": "gemma3-270m", "max_tokens": 24, "temperature": 0, "stop": ["\n"],
		"messages": [{"role": "user", "content": "What is the capital of France?"}]'
	bold "A language model: llama.cpp with Gemma 3 270M on the CPU (the first time: about 300 MB to fetch)"
	examples/llm/setup.sh build/llm.json
	deploy llm build/llm.json
	note "GET /v1/models lists it while it is at zero: $(api GET /v1/models | jq -c '[.data[].id]')"

	bold "POST /v1/chat/completions, cold: the model is loaded because of this request"
	call /v1/chat/completions -H 'Content-Type: application/json' -d "{$ask}" |
		jq -r '"    | " + .choices[0].message.content'
	show_call llm
	bold "The same, warm and streamed"
	call /v1/chat/completions -N -H 'Content-Type: application/json' -d "{$ask, \"stream\": true}" |
		sed -u 's/^/    | /' | cut -c1-120 | head -n 12
	bold "Leave it alone: its idle window is 10 s"
	wait_zero llm
}

farewell() {
	bold "It stays: $URL (process $(daemon_pid), log build/demo.log, state build/demo-state)"
	if [ "$(id -u)" -eq 0 ]; then
		note "export URL=$URL TOKEN=\$(cat build/demo-state/admin.token)"
	else
		note "export URL=$URL TOKEN=\$(sudo cat build/demo-state/admin.token)"
	fi
	note "curl -H \"Authorization: Bearer \$TOKEN\" \$URL/f/echo/hello"
	note "curl -H \"Authorization: Bearer \$TOKEN\" \$URL/v1/functions/echo"
	note "export GANTRY_URL=\$URL GANTRY_TOKEN=\$TOKEN; build/gantry ls; build/gantry events -f"
	note "docs/TOUR.md is a five-minute tour; make demo DEMO=llm adds a language model"
	note "make demo-stop ends the daemon and all it runs"
}

case "${1:-}" in
stop)
	stop
	exit
	;;
status) # 0 while it runs; prints the process
	daemon_pid
	exit
	;;
'') ;;
*)
	echo "usage: [DEMO=llm] scripts/demo.sh [stop|status]" >&2
	exit 2
	;;
esac

mkdir -p build
bold "Start gantryd"
start
URL=$(sed -n 's/^listening on //p' "$log" | tail -n 1)
TOKEN=$(as_root cat "$state/admin.token")
note "listening on $URL"
demo_echo
case " ${DEMO:-} " in
*" llm "*) demo_llm ;;
esac
farewell
