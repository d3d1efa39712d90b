"""The process: start, roles, signals, crashes, and what must be left behind (nothing)."""
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess

import pytest

from harness import BIN, HELD, ROLES, Background, Client, alive, echo_spec, host_root, proc_status, until


def call_ok(daemon, name, path="/"):
    reply = daemon.call(name, path)
    assert reply.status == 200, reply
    return reply


def test_ready_line_names_the_port_that_was_picked(gantry):
    assert gantry.address[0] == "127.0.0.1" and gantry.address[1] > 0
    assert gantry.client.get("/livez", token=None).status == 200
    assert gantry.client.get("/readyz", token=None).status == 200


def test_admin_token_is_secret_and_strong(gantry):
    info = os.stat(gantry.state / "admin.token")
    assert stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == 0
    assert len(gantry.token) >= 32


def test_first_start_is_ready_quickly(gantry):
    """It waits for nothing. The figure itself is the benchmark's (tests/bench/footprint.py)."""
    assert gantry.ready_ms < 5000


def test_roles_are_direct_children_and_only_the_agent_is_root(gantry):
    roles = gantry.roles()
    assert set(roles) == set(ROLES)
    for role in ("control", "gateway"):
        pid = roles[role]
        assert set(proc_status(pid, "Uid")) != {"0"} and "0" not in proc_status(pid, "Uid")
        assert "0" not in proc_status(pid, "Gid")
        assert int(proc_status(pid, "CapEff")[0], 16) == 0
        assert proc_status(pid, "NoNewPrivs") == ["1"]
    assert proc_status(roles["agent"], "Uid")[0] == "0"
    control, gateway = (proc_status(roles[role], "Uid")[0] for role in ("control", "gateway"))
    assert control != gateway, "what parses strangers' bytes must not be able to read the store"
    assert os.stat(gantry.state / "control").st_uid == int(control)


def test_state_is_closed_to_others(gantry):
    """No account but root's and the roles' own may enter."""
    for path in ("admin.token", "control", "agent", "run"):
        assert not stat.S_IMODE(os.stat(gantry.state / path).st_mode) & 0o007, path
    assert os.stat(gantry.state / "agent").st_uid == 0


def test_state_directory_may_have_a_long_name(own, tmp_path):
    """Longer than the address of a Unix socket can be."""
    state = tmp_path / ("long" * 25) / ("name" * 25)
    state.parent.mkdir()
    daemon = own(state=state)
    daemon.echo("far")
    assert daemon.call("far", timeout=10).status == 200


def test_second_daemon_on_the_same_state_is_refused(gantry):
    second = subprocess.run([BIN / "gantryd", "run", "--state", gantry.state, "--listen", "127.0.0.1:0"],
                            capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode not in (0, None)
    assert "listening" not in second.stdout
    assert str(gantry.state) in second.stderr
    assert gantry.client.get("/readyz", token=None).status == 200


def test_start_that_can_not_succeed_ends_and_says_why(tmp_path):
    """A role that can not start takes the daemon with it, at once and whole."""
    state = tmp_path / "state"
    (state / "control").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(state / "control" / "gantry.db")) as db:
        db.execute("PRAGMA user_version = 999")
    r = subprocess.run([BIN / "gantryd", "run", "--state", state, "--listen", "127.0.0.1:0"],
                       capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode == 1
    assert "listening" not in r.stdout
    assert "999" in r.stderr and "the control could not start" in r.stderr
    with open(state / "lock", "rb") as lock:  # held as long as any role lives
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_bad_usage_is_explained(tmp_path):
    for words in (["run", "--nonsense"], ["nonsense"], ["run", "--listen", "nowhere", "--state", tmp_path],
                  ["run", "--listen", "127.0.0.1:99999", "--state", tmp_path],
                  ["run", "--listen", "127.0.0.1:", "--state", tmp_path]):
        r = subprocess.run([BIN / "gantryd", *words], capture_output=True, text=True, timeout=20, check=False)
        assert r.returncode != 0 and r.stderr.strip(), words


def test_ids_of_the_hosts_own_users_are_no_range_for_containers(tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[agent]\nsubid_base = 1000\n")
    r = subprocess.run([BIN / "gantryd", "check", "--config", conf], capture_output=True, text=True, timeout=20,
                       check=False)
    assert r.returncode == 2 and "subid_base" in r.stderr and "65536" in r.stderr


def test_a_network_that_is_none_is_named_by_its_key(tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[agent]\negress_block = 10.0.0.1/8\n")
    r = subprocess.run([BIN / "gantryd", "check", "--config", conf], capture_output=True, text=True, timeout=20,
                       check=False)
    assert r.returncode == 2 and 'egress_block: "10.0.0.1/8"' in r.stderr


def test_bad_configuration_names_file_line_and_key(tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[agent]\n# fine\npoool = 3\n")
    r = subprocess.run([BIN / "gantryd", "run", "--state", tmp_path / "s", "--listen", "127.0.0.1:0",
                        "--config", conf], capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode != 0
    assert f"{conf}:3" in r.stderr and "poool" in r.stderr and "pool" in r.stderr


def test_port_in_use_is_named(gantry, tmp_path):
    r = subprocess.run([BIN / "gantryd", "run", "--state", tmp_path / "s",
                        "--listen", f"127.0.0.1:{gantry.address[1]}"],
                       capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode != 0 and str(gantry.address[1]) in r.stderr


def test_proxy_header_names_the_client(own, tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[gateway]\nproxy_from = 127.0.0.2\n")
    daemon = own(config=conf)
    daemon.probe("p", access="public")
    header = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1")
              + b"\x30\x39\x01\xbb")
    request = b"GET /f/p/headers HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"

    def said(source, data):
        with socket.create_connection(daemon.address, 20, source_address=(source, 0)) as sock:
            sock.sendall(data)
            with sock.makefile("rb") as f:
                return f.read()

    assert b"192.0.2.7" in said("127.0.0.2", header + request)
    assert b"6.6.6.6" not in said("127.0.0.2", header + request)
    assert said("127.0.0.2", request).startswith(b"HTTP/1.1 400 ")
    assert said("127.0.0.2", b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n" + request).startswith(b"HTTP/1.1 400 ")
    assert b'"127.0.0.1"' in said("127.0.0.1", request)
    assert said("127.0.0.1", header + request).startswith(b"HTTP/1.1 400 ")

    conf.write_text("[gateway]\nproxy_from = 127.0.0.1/8\n")
    r = subprocess.run([BIN / "gantryd", "check", "--config", conf], capture_output=True, text=True, timeout=20,
                       check=False)
    assert r.returncode == 2 and "proxy_from" in r.stderr


def test_access_log_and_its_rotation(own, tmp_path):
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    conf = tmp_path / "gantryd.conf"
    conf.write_text(f"[gateway]\naccess_log = {log}\n")
    daemon = own(config=conf)
    daemon.echo("e")

    def lines(path):
        return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []

    def line(path, name):
        found = [x for x in lines(path) if x.get("path") == f"/f/e/{name}"]
        return found[0] if found else None

    assert daemon.call("e", "/one?secret=1").status == 200
    until(lambda: line(log, "one"), "the call is in the log")
    first = line(log, "one")
    assert first["status"] == 200 and first["function"] == "e" and first["peer"] == "127.0.0.1"
    assert first["token"] == hashlib.sha256(daemon.token.encode()).hexdigest()[:16]
    assert daemon.token not in log.read_text() and "secret" not in log.read_text()
    until(lambda: any(x["path"] == "/v1/functions/e" and x["method"] == "PUT" for x in lines(log)), "so is the put")
    assert stat.S_IMODE(log.stat().st_mode) == 0o640

    gateway = daemon.roles()["gateway"]
    with daemon.client.stream("GET", f"/f/e/bytes?n={HELD}") as answer:  # a call goes on meanwhile
        log.rename(old)
        daemon.proc.send_signal(signal.SIGHUP)
        # The file is there before the gateway has it.
        until(lambda: daemon.call("e", "/turn").status == 200 and line(log, "turn"), "it is made again")
        assert daemon.call("e", "/two").status == 200
        until(lambda: line(log, "two"), "the call is in the new file")
        assert not line(old, "two")
        assert len(answer.read()) == HELD
    until(lambda: line(log, "bytes"), "so is the call that went on")
    assert "cut" not in line(log, "bytes") and not line(old, "bytes")
    assert daemon.roles()["gateway"] == gateway


def test_access_log_that_can_not_be_opened(tmp_path):
    conf = tmp_path / "gantryd.conf"
    for path, why in ((tmp_path / "none" / "x", "No such file"), (tmp_path, "Is a directory"), ("x", "absolute")):
        conf.write_text(f"[gateway]\naccess_log = {path}\n")
        r = subprocess.run([BIN / "gantryd", "run", "--state", tmp_path / "s", "--listen", "127.0.0.1:0",
                            "--config", conf], capture_output=True, text=True, timeout=20, check=False)
        assert r.returncode != 0 and "access_log" in r.stderr and why in r.stderr, r


@pytest.mark.parametrize("role", ROLES)
def test_killed_role_is_back_within_a_second_and_others_stay(gantry, name, role):
    gantry.echo(name)
    call_ok(gantry, name)
    replica = gantry.wait_replicas(name, 1)[0]
    before = gantry.roles()
    said = len(gantry.log())
    os.kill(before[role], signal.SIGKILL)
    until(lambda: gantry.roles().get(role) not in (None, before[role]), f"{role} is restarted")
    pause, = re.findall(rf"the {role} .* starting it again in (\d+) ms", gantry.log()[said:])
    assert int(pause) < 1000
    after = gantry.roles()
    assert {r: p for r, p in after.items() if r != role} == {r: p for r, p in before.items() if r != role}

    def works():
        with contextlib.suppress(OSError):
            return (gantry.client.get("/readyz", token=None).status == 200
                    and gantry.call(name).status == 200)

    until(works, f"calls work after {role} was killed")
    again = until(lambda: gantry.replicas(name, "ready"), "the replica is known")
    assert [r["pid"] for r in again] == [replica["pid"]], "the replica survived"
    assert alive(replica["pid"])


@pytest.mark.parametrize("role", ["control", "agent"])
def test_call_in_flight_outlives_the_death_of(gantry, name, role):
    """The data plane does not wait for the control plane."""
    gantry.echo(name)
    call_ok(gantry, name)
    with gantry.client.stream("GET", f"/f/{name}/stream?n=2&ms=1500") as answer:
        assert answer.readline() == b"line 0\n", "the call is in flight"
        os.kill(gantry.roles()[role], signal.SIGKILL)
        assert answer.read() == b"line 1\n"
    until(lambda: len(gantry.roles()) == 3, "all roles are back")


def test_call_in_flight_ends_when_the_gateway_dies_and_the_replica_serves_on(gantry, name):
    gantry.echo(name)
    call_ok(gantry, name)
    pid = gantry.wait_replicas(name, 1)[0]["pid"]
    with gantry.client.stream("GET", f"/f/{name}/stream?n=2&ms=3000") as answer:
        assert answer.readline() == b"line 0\n", "the call is in flight"
        os.kill(gantry.roles()["gateway"], signal.SIGKILL)
        with pytest.raises((OSError, http.client.HTTPException)):  # and not the whole answer, which would be there in time
            answer.read()

    def works():
        with contextlib.suppress(OSError):
            return gantry.call(name).status == 200

    until(works, "calls work again")
    assert [r["pid"] for r in gantry.replicas(name, "ready")] == [pid]


def test_warm_calls_flow_while_control_is_down(gantry, name):
    gantry.echo(name)
    call_ok(gantry, name)
    control = gantry.roles()["control"]
    os.kill(control, signal.SIGSTOP)
    try:
        for _ in range(20):
            call_ok(gantry, name)
    finally:
        os.kill(control, signal.SIGCONT)


def test_cold_call_waits_for_control_to_come_back(gantry, name):
    gantry.echo(name)
    os.kill(gantry.roles()["control"], signal.SIGKILL)
    reply = gantry.call(name, timeout=20)
    assert reply.status == 200, reply


def refused_for_now(reply):
    assert (reply.status, reply.slug) == (503, "unavailable"), reply
    assert int(reply.headers["Retry-After"]) >= 1


def test_while_control_is_dead_what_is_known_is_served_and_the_rest_is_told(gantry, name):
    """Nobody restarts it, as the supervisor is stopped, too."""
    gantry.echo(name)
    gantry.echo(name + "-cold")
    call_ok(gantry, name)
    replica = gantry.wait_replicas(name, 1)[0]
    etag = gantry.client.get(f"/v1/functions/{name}").headers["ETag"]
    running = gantry.client.background("GET", f"/f/{name}/sleep?ms=3000")  # a refusal takes as long
    until(lambda: in_flight(gantry, name) == 1, "the call is in flight")
    gantry.proc.send_signal(signal.SIGSTOP)
    try:
        os.kill(gantry.roles()["control"], signal.SIGKILL)
        until(lambda: not gantry.client.get("/readyz", token=None).json()["control"], "the gateway knows")
        cold = gantry.client.background("GET", f"/f/{name}-cold/")
        managed = gantry.client.background("GET", "/v1/functions")
        refused_for_now(gantry.call("never-heard-of"))
        for _ in range(20):
            call_ok(gantry, name)
        assert running.result().status == 200
        refused_for_now(managed.result())
        assert gantry.client.get("/readyz", token=None).status == 200, "for half a minute it is"
    finally:
        gantry.proc.send_signal(signal.SIGCONT)
    assert cold.result().status == 200, "it waited"
    assert gantry.call("never-heard-of").status == 404
    assert gantry.client.get(f"/v1/functions/{name}").headers["ETag"] == etag
    assert [r["pid"] for r in gantry.wait_replicas(name, 1)] == [replica["pid"]]
    gantry.delete(name + "-cold")


def test_control_that_begins_anew_takes_no_replica_from_the_gateway(gantry, name):
    """It knows none before the agent has told it."""
    gantry.echo(name)
    call_ok(gantry, name)
    roles = gantry.roles()
    met = gantry.log().count("gateway: connected to control")
    os.kill(roles["agent"], signal.SIGSTOP)
    try:
        os.kill(roles["control"], signal.SIGKILL)
        until(lambda: gantry.log().count("gateway: connected to control") > met, "the gateway is told anew")
        call_ok(gantry, name)  # by the connection that is open already
    finally:
        os.kill(roles["agent"], signal.SIGCONT)
    until(lambda: gantry.client.request("GET", f"/v1/functions/{name}").json()["replicas"]["ready"] == 1,
          "control knows it again")
    call_ok(gantry, name)


def test_control_that_hangs_for_a_moment_loses_nothing(gantry, name):
    gantry.echo(name)
    gantry.echo(name + "-cold")
    call_ok(gantry, name)
    control = gantry.roles()["control"]
    os.kill(control, signal.SIGSTOP)
    try:
        waiting = [gantry.client.background("GET", path)
                   for path in (f"/f/{name}-cold/", f"/v1/functions/{name}", "/metrics")]
        call_ok(gantry, name)
    finally:
        os.kill(control, signal.SIGCONT)
    assert [w.result().status for w in waiting] == [200] * 3
    assert gantry.roles()["control"] == control
    gantry.delete(name + "-cold")


def test_agent_that_hangs_is_waited_for_and_then_told(gantry, name):
    """It makes the connections to replicas: those that are there serve on, a new one can not be had."""
    gantry.echo(name, scale={"max": 1, "concurrency": 2})
    call_ok(gantry, name)
    replica = gantry.wait_replicas(name, 1)[0]
    agent = gantry.roles()["agent"]
    os.kill(agent, signal.SIGSTOP)
    try:
        busy = gantry.client.open("GET", f"/f/{name}/sleep?ms=60000")
        until(lambda: in_flight(gantry, name) == 1, "the only connection is taken")
        refused_for_now(gantry.call(name))
        waiting = gantry.client.background("GET", f"/f/{name}/")
        until(lambda: in_flight(gantry, name) == 2, "a call waits for its connection")
    finally:
        os.kill(agent, signal.SIGCONT)
    assert waiting.result().status == 200
    busy.close()
    assert gantry.roles()["agent"] == agent
    assert [r["pid"] for r in gantry.wait_replicas(name, 1)] == [replica["pid"]]


def in_flight(daemon, name):
    return daemon.client.get(f"/v1/functions/{name}").json()["in_flight"]


def test_reload_by_hup_keeps_everything_running(gantry, name):
    gantry.echo(name)
    call_ok(gantry, name)
    roles, replica = gantry.roles(), gantry.replicas(name, "ready")[0]["id"]
    gantry.proc.send_signal(signal.SIGHUP)
    until(lambda: "reload" in gantry.log().lower(), "the log tells of the reload")
    call_ok(gantry, name)
    assert gantry.roles() == roles
    assert gantry.replicas(name, "ready")[0]["id"] == replica


def test_reload_by_hup_takes_a_new_token(own):
    daemon = own()
    daemon.echo("tok")
    call_ok(daemon, "tok")
    pid = daemon.wait_replicas("tok", 1)[0]["pid"]
    old, daemon.token = daemon.token, "gty_" + "5" * 64
    (daemon.state / "admin.token").write_text(daemon.token + "\n")
    daemon.client = Client(daemon.address, daemon.token)
    daemon.proc.send_signal(signal.SIGHUP)

    def taken():
        with contextlib.suppress(OSError):
            return daemon.call("tok").status == 200 and daemon.client.get("/v1/functions").status == 200

    until(taken, "the new token is valid")
    for path in ("/v1/functions", "/f/tok/"):  # the old gateway may still take a connection when the new one does
        until(lambda path=path: Client(daemon.address, old).get(path).status == 401, f"the old one is not, for {path}")
    assert daemon.wait_replicas("tok", 1)[0]["pid"] == pid


def test_replicas_survive_a_restart_and_are_adopted(own):
    daemon = own()
    daemon.echo("stay")
    call_ok(daemon, "stay")
    before = daemon.wait_replicas("stay", 1)[0]
    record = daemon.state / "agent/replicas" / before["id"]
    assert sorted(p.name for p in record.iterdir()) == ["ready", "record", "status", "stderr", "stdout"]
    assert (record / "ready").samefile(record / "record"), "no file was made for it"
    assert daemon.signal(signal.SIGTERM) == 0
    assert alive(before["pid"]), "the replica runs while the daemon is down"
    daemon.start()
    after = daemon.wait_replicas("stay", 1)[0]
    assert (after["id"], after["pid"]) == (before["id"], before["pid"])
    assert after["timings"] == before["timings"], "it was ready, and is not asked again"
    reply = call_ok(daemon, "stay")
    assert reply.headers["Gantry-Replica"] == before["id"]
    assert daemon.client.get("/v1/functions/stay").json()["revision"] == 1


def test_replica_that_died_while_the_daemon_was_down_is_noticed(own):
    daemon = own()
    daemon.echo("gone")
    call_ok(daemon, "gone")
    pid = daemon.wait_replicas("gone", 1)[0]["pid"]
    daemon.signal(signal.SIGTERM)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "the replica is dead")
    daemon.start()
    call_ok(daemon, "gone")
    assert all(r["pid"] != pid for r in daemon.replicas("gone", "ready"))


def test_term_drains_calls_in_flight(own):
    daemon = own()
    daemon.echo("drain")
    call_ok(daemon, "drain")
    with daemon.client.stream("GET", "/f/drain/stream?n=2&ms=700") as answer:
        assert answer.readline() == b"line 0\n", "the call is in flight"
        assert daemon.signal(signal.SIGTERM) == 0
        assert answer.read() == b"line 1\n"


def test_unclean_stop_leaves_no_orphan_after_the_next_start(own):
    daemon = own()
    daemon.echo("crash")
    call_ok(daemon, "crash")
    pid = daemon.wait_replicas("crash", 1)[0]["pid"]
    daemon.kill_everything()
    assert alive(pid), "the replica does not depend on the daemon"
    daemon.start()
    assert daemon.wait_replicas("crash", 1)[0]["pid"] == pid, "it is adopted, not orphaned"
    call_ok(daemon, "crash")
    daemon.delete("crash")
    until(lambda: not alive(pid), "its process is gone")
    # The fixture's end proves that no process, mount or cgroup is left.


def test_ids_of_adopted_replicas_are_not_given_again(own):
    daemon = own()
    daemon.echo("old", scale={"min": 2, "max": 2})
    old = {host_root(r["pid"]) for r in daemon.wait_replicas("old", 2)}
    daemon.kill_everything()
    daemon.start()
    daemon.echo("new", scale={"min": 4, "max": 4})
    new = {host_root(r["pid"]) for r in daemon.wait_replicas("new", 4)}
    assert {host_root(r["pid"]) for r in daemon.wait_replicas("old", 2)} == old
    assert len(old) == 2 and len(new) == 4 and not old & new


def test_unclean_stop_during_a_start_leaves_no_orphan(own):
    daemon = own()
    daemon.shell("slow", "sleep 60", ready={"timeout": "60s"})
    call = daemon.client.background("GET", "/f/slow/")
    until(lambda: daemon.replicas("slow", "starting"), "a replica starts")
    daemon.kill_everything()
    with pytest.raises(OSError):
        call.result()
    daemon.start()
    daemon.delete("slow")
    # The fixture's end proves that nothing is left of it.


def test_cleanup_command_removes_what_an_unclean_stop_left(own):
    daemon = own()
    daemon.echo("left")
    call_ok(daemon, "left")
    pid = daemon.wait_replicas("left", 1)[0]["pid"]
    daemon.kill_everything()
    r = subprocess.run([BIN / "gantryd", "cleanup", "--state", daemon.state],
                       capture_output=True, text=True, timeout=30, check=False)
    assert r.returncode == 0, r.stderr
    until(lambda: not alive(pid), "the replica is gone")
    daemon.assert_nothing_left()


def test_functions_survive_every_kind_of_end(own):
    daemon = own()
    daemon.echo("keep", env={"A": "1"})
    etag = daemon.client.get("/v1/functions/keep").headers["ETag"]
    for end in (lambda: daemon.signal(signal.SIGTERM), lambda: daemon.signal(signal.SIGINT),
                daemon.kill_everything):
        end()
        daemon.start()
        until(lambda: daemon.client.get("/v1/functions/keep").status == 200, "control answers")
        assert daemon.client.get("/v1/functions/keep").headers["ETag"] == etag


def test_int_stops_replicas_too(own):
    daemon = own()
    daemon.echo("halt")
    call_ok(daemon, "halt")
    pid = daemon.wait_replicas("halt", 1)[0]["pid"]
    assert daemon.signal(signal.SIGINT) == 0
    assert not alive(pid)
    daemon.assert_nothing_left()


def test_int_stops_replicas_of_an_agent_that_died_meanwhile(own):
    """As of one that made room for a new one: it was never told to stop them."""
    daemon = own()
    daemon.echo("halt")
    call_ok(daemon, "halt")
    pid = daemon.wait_replicas("halt", 1)[0]["pid"]
    roles = daemon.roles()
    daemon.remember_traces()
    os.kill(roles["gateway"], signal.SIGSTOP)  # the agent is told only when this one has ended
    daemon.proc.send_signal(signal.SIGINT)
    until(lambda: "stopping:" in daemon.log(), "the daemon stops")
    os.kill(roles["agent"], signal.SIGKILL)
    until(lambda: "agent" not in daemon.roles(), "the agent is dead")
    assert alive(pid)
    os.kill(roles["gateway"], signal.SIGCONT)
    assert daemon.proc.wait(30) == 0
    assert not alive(pid)
    daemon.assert_nothing_left()


def test_sd_notify_says_ready_and_stopping(own, tmp_path):
    import socket
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = path
        try:
            daemon = own()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert b"READY=1" in sock.recv(4096)
        daemon.signal(signal.SIGTERM)
        assert b"STOPPING=1" in sock.recv(4096)


@pytest.fixture
def small_disk(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0755", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_full_state_disk_is_a_507_and_recovers(small_disk, own):
    daemon = own(state=small_disk / "state")
    daemon.echo("before")
    call_ok(daemon, "before")
    filler = small_disk / "filler"
    # Not a byte may be left: a journal still has room in its last page otherwise.
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while f.write(b"x" * size):
                    pass
    refused = None
    for i in range(50):
        spec = echo_spec(env={"BIG": "y" * 30000, "N": str(i)})
        reply = daemon.client.request("PUT", f"/v1/functions/during{i}", spec)
        if reply.status != 201:
            refused = reply
            break
    assert refused is not None and refused.status == 507 and refused.slug == "storage_full", refused
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert daemon.client.get(f"/v1/functions/during{i}").status == 404, "nothing was changed"
    call_ok(daemon, "before")
    os.unlink(filler)
    until(lambda: daemon.client.request("PUT", f"/v1/functions/during{i}", spec).status == 201,
          "deploys work again")
    daemon.signal(signal.SIGTERM)
    daemon.start()
    assert daemon.client.get(f"/v1/functions/during{i}").status == 200
    assert daemon.client.get("/v1/functions/before").status == 200


def test_many_clients_at_once(gantry, name):
    gantry.echo(name, scale={"concurrency": 100, "max": 2})
    calls = [Background(lambda i=i: Client(gantry.address, gantry.token).get(f"/f/{name}/?{i}"))
             for i in range(100)]
    assert [c.result().status for c in calls] == [200] * 100
