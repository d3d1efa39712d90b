"""Functions and calls in PostgreSQL: it goes and comes back, and of several controls one leads."""
import contextlib
import http.client
import os
import signal
import threading
import time

import pytest

import postgres
from harness import Daemon, echo_spec, until

pytestmark = pytest.mark.skipif(not postgres.programs(), reason="Debian's package postgresql is not installed")

TOKEN = "gty_" + "0123456789abcdef" * 4


@pytest.fixture
def database():
    pg = postgres.Postgres()
    try:
        yield pg.start()
    finally:
        pg.stop()


@contextlib.contextmanager
def control(database, node, lease="4s"):
    """A daemon with the database as its store, and the token that all of them have."""
    daemon = Daemon()
    daemon.state.mkdir()
    (daemon.state / "admin.token").write_text(TOKEN + "\n")
    (daemon.state / "admin.token").chmod(0o600)
    daemon.config = daemon.dir / "conf"
    daemon.config.write_text(f"[control]\nstore = {database.url}\nlease = {lease}\n"
                             f"[agent]\nnode = {node}\nlabels = host={node}\n")
    try:
        yield daemon.start(60)
    finally:
        daemon.stop()


def both_are_known(daemon):
    """A daemon listens before its node has joined; a label that no node has is refused."""
    until(lambda: [n["state"] for n in daemon.client.get("/v1/nodes").json().get("items", [])] == ["ready"] * 2,
          "both nodes are up", 30)


def deploy(daemon, name, host):
    daemon.echo(name, placement={"labels": {"host": host}})


class Traffic:
    """Warm calls of one function, one after the other, until told to stop."""

    def __init__(self, daemon, name):
        self.calls, self.errors, self.on = 0, [], True
        assert daemon.client.request("POST", f"/f/{name}/", b"x").status == 200

        def run():
            while self.on:
                try:
                    answer = daemon.client.request("POST", f"/f/{name}/", b"x")
                    if answer.status != 200:
                        self.errors.append(answer)
                except OSError as e:
                    self.errors.append(e)
                self.calls += 1
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def end(self):
        self.on = False
        self.thread.join(60)
        assert not self.errors, (self.calls, self.errors[:3])
        return self.calls


def submit(daemon, name, **more):
    return daemon.client.request("POST", f"/v1/functions/{name}/calls", b"x", {"Prefer": "respond-async"}, **more)


def accepted(daemon, name):
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = submit(daemon, name)
        return answer.json()["id"] if answer.status == 202 else None


def test_a_lost_database_costs_no_warm_call(database):
    with control(database, "a") as a:
        assert not (a.state / "control/gantry.db").exists()
        a.echo("f")
        warm = Traffic(a, "f")
        answer = submit(a, "f")
        assert answer.status == 202, answer
        first = answer.json()["id"]
        database.crash()
        refused = submit(a, "f")
        assert refused.status == 503 and refused.headers["Retry-After"], refused
        assert a.client.request("PUT", "/v1/functions/g", echo_spec()).status == 503
        calls = warm.calls
        until(lambda: warm.calls > calls + 20, "warm calls go on")
        time.sleep(5)  # longer than a leader may go on without the database
        refused = submit(a, "f")
        assert refused.status == 503 and refused.headers["Retry-After"], refused
        database.start()
        back = time.monotonic()
        again = until(lambda: accepted(a, "f"), "calls are accepted again")
        print(f"full service {time.monotonic() - back:.2f} s after the database is back")
        for call in first, again:
            view = a.client.get(f"/v1/calls/{call}?wait=20s").json()
            assert view["state"] == "succeeded", view
        warm.end()


def test_another_control_follows_a_leader_that_was_killed(database):
    with control(database, "a", "20s") as a, control(database, "b", "20s") as b:
        both_are_known(b)
        deploy(b, "fa", "a")  # by the one that follows
        deploy(b, "fb", "b")
        warm = [Traffic(a, "fa"), Traffic(b, "fb")]
        answer = submit(b, "fb")
        assert answer.status == 202, answer
        call = answer.json()["id"]
        epoch = int(database.sql("SELECT epoch FROM leader"))
        assert database.sql("SELECT holder FROM leader") == "a"
        os.kill(a.proc.pid, signal.SIGSTOP)  # its supervisor starts no other one before
        os.kill(a.roles()["control"], signal.SIGKILL)
        begun = time.monotonic()
        until(lambda: accepted(b, "fb"), "calls are accepted again", 30)
        took = time.monotonic() - begun
        print(f"calls are accepted {took:.2f} s after the leader was killed")
        assert took < 10, took  # its connection has ended: nobody waits for the end of its lease
        assert database.sql("SELECT holder FROM leader") == "b"
        keys = {d: (d.state / "control/webhook.key").read_text() for d in (a, b)}
        assert keys[a] == keys[b] and len(keys[a]) == 64  # receivers of webhooks know one
        assert int(database.sql("SELECT epoch FROM leader")) == epoch + 1
        os.kill(a.proc.pid, signal.SIGCONT)
        until(lambda: accepted(a, "fa"), "the other one follows", 20)
        assert b.client.get(f"/v1/calls/{call}?wait=20s").json()["state"] == "succeeded"
        print([t.end() for t in warm], "warm calls")


def test_a_leader_that_slept_leads_no_more(database):
    with control(database, "a", "3s") as a, control(database, "b", "3s") as b:
        both_are_known(a)
        deploy(a, "fb", "b")
        victim = a.roles()["control"]
        os.kill(victim, signal.SIGSTOP)
        until(lambda: accepted(b, "fb"), "the other one leads", 30)
        epoch = database.sql("SELECT epoch FROM leader")
        os.kill(victim, signal.SIGCONT)
        until(lambda: a.roles().get("control") not in (None, victim), "the one that slept has ended", 20)
        until(lambda: accepted(a, "fb"), "and another one follows", 20)
        assert database.sql("SELECT epoch FROM leader") == epoch
        assert "is over" in a.log()
