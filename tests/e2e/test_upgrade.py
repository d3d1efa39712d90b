"""A newer program in the place of the running one."""
import http.client
import os
import shutil
import signal
import threading

import pytest

from harness import BIN, HELD, Background, Raw, install, processes, until


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
