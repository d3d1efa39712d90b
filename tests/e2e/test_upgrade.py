"""A newer program in the place of the running one, and what programs of other versions have written."""
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest

from harness import BIN, HELD, Background, Raw, install, processes, slow_syncs, until


@pytest.fixture
def daemon(own, tmp_path):
    program = tmp_path / "gantryd"
    shutil.copy(BIN / "gantryd", program)
    return own(program=program)


def version(daemon):
    return daemon.client.get("/v1/version").json().get("version")


def upgrade(daemon, to):
    install(daemon.program, to.encode())
    become(daemon, to)


def become(daemon, to):
    before = daemon.roles()
    daemon.proc.send_signal(signal.SIGUSR2)
    until(lambda: len(now := daemon.roles()) == 3 and not set(now.values()) & set(before.values()), "all roles are new")
    until(lambda: version(daemon) == to, f"it is {to}")


class Caller(threading.Thread):
    """Calls over one connection after the other, or over one that is kept."""

    def __init__(self, daemon, kept):
        super().__init__(daemon=True)
        self.gantry, self.kept, self.done, self.ended, self.errors = daemon, kept, 0, False, []

    def run(self):
        head = {"Authorization": f"Bearer {self.gantry.token}"}
        conn = http.client.HTTPConnection(*self.gantry.address, timeout=60)
        while not self.ended:
            try:
                conn.request("GET", "/f/echo/x", headers=head)
                answer = conn.getresponse()
                answer.read()
                if answer.status != 200:
                    self.errors.append(f"status {answer.status}")
                self.done += 1
            except (OSError, http.client.HTTPException) as e:
                self.errors.append(repr(e))
            if not self.kept:
                conn.close()
        conn.close()


def test_no_call_is_lost(daemon):
    daemon.echo("echo", scale={"min": 1, "max": 1, "concurrency": 100})
    replica = daemon.wait_replicas("echo", 1)[0]["id"]
    pid = daemon.proc.pid
    assert version(daemon) == "0.1.0"
    callers = [Caller(daemon, kept) for kept in (True, True, False, False)]
    for c in callers:
        c.start()
    for to in ("0.1.1", "0.1.2"):
        counts = [c.done for c in callers]
        upgrade(daemon, to)
        until(lambda counts=counts: all(c.done > n + 20 for c, n in zip(callers, counts, strict=True)), "all go on")
    for c in callers:
        c.ended = True
    for c in callers:
        c.join(30)
    assert [c.errors for c in callers] == [[]] * len(callers)
    assert daemon.proc.pid == pid and daemon.proc.poll() is None
    assert daemon.wait_replicas("echo", 1)[0]["id"] == replica


def test_one_that_comes_while_a_role_is_started_follows_it(daemon):
    """Also where nobody reads the log and asks again."""
    install(daemon.program, b"0.1.1")
    for _ in range(6):  # each time there is a longer pause: 640 ms in the end
        pid = until(lambda: daemon.roles().get("agent"), "there is an agent")
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: daemon.roles().get("agent") != pid, "it is gone")
    become(daemon, "0.1.1")
    assert daemon.log().count("upgrade: a role is just being started; the new program follows it") == 1
    assert daemon.log().count("upgrade: executing the new program") == 1


def test_idle_connections_go_over(daemon):
    """Also one on which nothing was said yet, and one that has said half of a head."""
    daemon.echo("echo", scale={"min": 1})
    daemon.wait_replicas("echo", 1)
    request = f"GET /f/echo/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {daemon.token}\r\n\r\n".encode()
    def answered(conn):
        data = b""
        while not data.endswith(b"GET /x\n"):
            more = conn.read_some()
            assert more, data
            data += more
        return data.startswith(b"HTTP/1.1 200")

    with Raw(daemon.address) as used, Raw(daemon.address) as silent, Raw(daemon.address) as half:
        used.send(request)
        assert answered(used)
        half.send(request[:20])
        upgrade(daemon, "0.1.1")
        for conn in (used, silent):
            conn.send(request)
            assert answered(conn)
        half.send(request[20:])
        assert answered(half)
        until(lambda: len(gateways(daemon)) == 1, "the old gateway is gone")
        for conn in (used, silent, half):
            conn.send(request)
            assert answered(conn)


def test_slots_hold_across_both(daemon):
    """One slot: a call of the old gateway has it for as long as its answer is not read, one waits there, one comes to
    the new one."""
    daemon.echo("echo", scale={"min": 1, "max": 1, "concurrency": {"target": 1, "max": 1}})
    daemon.wait_replicas("echo", 1)
    ends = []

    def call(name):
        def run():
            reply = daemon.call("echo", "/sleep?ms=300")
            ends.append(name)
            return reply.status

        return Background(run)

    def waiting():
        return daemon.client.get("/v1/functions/echo").json()["queued"]

    with daemon.client.stream("GET", f"/f/echo/bytes?n={HELD}") as first:
        second = call("waits in the old one")
        until(lambda: waiting() == 1, "the second waits")
        upgrade(daemon, "0.1.1")
        third = call("waits in the new one")
        until(lambda: waiting() == 2, "the third waits")
        assert not ends and len(gateways(daemon)) == 2
        assert len(first.read()) == HELD
    assert [b.result() for b in (second, third)] == [200] * 2
    assert ends == ["waits in the old one", "waits in the new one"]


def gateways(daemon):
    return [argv for parent, _, argv in processes().values() if parent == daemon.proc.pid and "gateway" in argv]


def test_stream_ends_in_the_old_one(daemon):
    daemon.echo("echo", scale={"min": 1})
    daemon.wait_replicas("echo", 1)
    with daemon.client.stream("GET", f"/f/echo/bytes?n={HELD}") as answer:
        upgrade(daemon, "0.1.1")
        assert len(gateways(daemon)) == 2
        assert len(answer.read()) == HELD
    until(lambda: len(gateways(daemon)) == 1, "the old gateway is gone")


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no good >&2\nexit 3\n", "neither a program nor a script"])
def test_program_that_would_not_start(daemon, text):
    daemon.echo("echo")
    before = daemon.roles()
    daemon.program.unlink()
    daemon.program.write_text(text)
    os.chmod(daemon.program, 0o755)
    daemon.proc.send_signal(signal.SIGUSR2)
    until(lambda: "the new program would not start" in daemon.log(), "it says so")
    assert daemon.roles() == before and daemon.call("echo").status == 200
    upgrade(daemon, "0.1.1")
    assert daemon.call("echo").status == 200


def record_of(daemon, replica):
    return daemon.state / "agent/replicas" / replica["id"]


def test_records_are_read_by_versions_before(own):
    """Those take what is before a NUL for the record, and look for a file that says that it was ready."""
    daemon = own()
    daemon.echo("echo", scale={"min": 1})
    replica = daemon.wait_replicas("echo", 1)[0]
    folder = record_of(daemon, replica)
    old, _, _ = (folder / "record").read_bytes().partition(b"\0")
    head, _, spec = old.partition(b"\n")[2].partition(b"\n")
    assert head.startswith(b"echo 1 ") and json.loads(spec)["port"] == 8000
    assert (folder / "ready").exists()
    # And what they have written is read by this one.
    assert daemon.signal(signal.SIGTERM) == 0
    (folder / "record").write_bytes(old)
    (folder / "ready").unlink()
    (folder / "ready").write_text("11000 12000 13000 14000 15000 0\n")
    daemon.start()
    now = daemon.wait_replicas("echo", 1)[0]
    assert now["pid"] == replica["pid"] and now["timings"]["exec_ms"] == 14, now
    assert daemon.call("echo").status == 200


def test_function_of_a_newer_version(own):
    """It is kept, and what runs of it goes on; but none is started without what is not known."""
    daemon = own()
    daemon.echo("echo", scale={"min": 1, "max": 1})
    replica = daemon.wait_replicas("echo", 1)[0]
    record = record_of(daemon, replica) / "record"
    assert daemon.signal(signal.SIGTERM) == 0
    newer = b'{"tomorrow":{"a":1},'
    record.write_bytes(record.read_bytes().replace(b"{", newer, 1))
    with sqlite3.connect(daemon.state / "control/gantry.db") as db:
        db.execute("UPDATE revisions SET spec = ? || substr(spec, 2)", (newer.decode(),))
    db.close()
    daemon.start()
    assert daemon.wait_replicas("echo", 1)[0]["pid"] == replica["pid"]
    assert daemon.call("echo").status == 200
    assert 'its member \\"tomorrow\\"' in daemon.log(), daemon.log()
    os.kill(replica["pid"], signal.SIGKILL)
    until(lambda: daemon.client.get("/v1/functions/echo").json()["replicas"].get("ready", 0) == 0, "it is gone")
    reply = daemon.call("echo", timeout=30)
    assert reply.slug == "start_failed" and "tomorrow: unknown member" in reply.text, reply


def test_database_of_a_newer_version(own):
    """A program that may not use it says so in its check, so that no daemon becomes it."""
    daemon = own()
    daemon.echo("echo")
    assert daemon.signal(signal.SIGTERM) == 0

    def check(least):
        with sqlite3.connect(daemon.state / "control/gantry.db") as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("UPDATE meta SET value = ? WHERE key = 'min_reader'", (least,))
        db.close()
        return subprocess.run([BIN / "gantryd", "check", "--state", daemon.state], capture_output=True, text=True, check=False)

    refused = check(99)
    assert refused.returncode != 0 and "has schema 99, this program knows up to" in refused.stderr, refused
    assert check(9).returncode == 0
    daemon.start()
    assert daemon.call("echo").status == 200


def test_control_finishes_what_it_has_begun(daemon):
    """A durable call is always on its way into the store, also at the moment that control is replaced."""
    daemon.echo("echo")
    answers, ended = [], threading.Event()

    def post():
        while not ended.is_set():
            answers.append(daemon.client.request("POST", "/v1/functions/echo/calls", b"x", {"Prefer": "respond-async"}))
        return answers

    with slow_syncs(daemon.roles()["control"]):
        posting = [Background(post) for _ in range(2)]
        until(lambda: len(answers) > 3, "calls are taken")
        upgrade(daemon, "0.1.1")
    before = len(answers)
    until(lambda: len(answers) > before + 2, "and go on")
    ended.set()
    for p in posting:
        p.result()
    assert [r for r in answers if r.status != 202] == []
