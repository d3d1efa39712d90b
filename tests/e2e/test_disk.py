"""The state disk fails, or has damaged the database: nothing is promised that may not be kept, and functions go on."""
import contextlib
import http.client
import signal
import sqlite3

import pytest

from harness import Daemon, failing_syncs, until


@pytest.fixture
def own_daemon():
    daemon = Daemon()
    daemon.start()
    yield daemon
    daemon.stop()


def submit(daemon, name, body=b"x"):
    return daemon.client.request("POST", f"/v1/functions/{name}/calls", body, {"Prefer": "respond-async"})


def test_a_sync_that_fails_ends_control_and_nothing_acknowledged_is_lost(own_daemon):
    own_daemon.echo("disk", scale={"min": 1, "max": 1})
    first = submit(own_daemon, "disk")
    assert first.status == 202, first
    reply = own_daemon.client.get(f"/v1/calls/{first.json()['id']}/result?wait=20s")
    assert reply.status == 200, reply
    pid = own_daemon.roles()["control"]
    with failing_syncs(pid):
        with contextlib.suppress(OSError, http.client.HTTPException):
            refused = submit(own_daemon, "disk")
            assert refused.status == 503, refused
        until(lambda: own_daemon.roles().get("control") not in (None, pid), "another control")
    assert "the state disk failed, nothing more is written" in own_daemon.log()
    assert own_daemon.call("disk", "/").status == 200
    until(lambda: submit(own_daemon, "disk").status == 202, "calls are accepted")
    assert own_daemon.client.get(f"/v1/calls/{first.json()['id']}").json()["state"] == "succeeded"


def test_a_database_that_was_removed_accepts_no_more(own_daemon):
    """SQLite alone would go on, and all of it would be gone with control."""
    own_daemon.echo("gone", scale={"min": 1, "max": 1})
    # To its end: the gateway would wait for as long as it may to get a result recorded, when the daemon ends.
    reply = own_daemon.client.request("POST", "/v1/functions/gone/calls", b"x")
    assert reply.status == 200, reply
    for file in (own_daemon.state / "control").glob("gantry.db*"):
        file.unlink()
    refused = [submit(own_daemon, "gone") for _ in range(2)]
    assert [r.status for r in refused] == [503, 503] and "was removed or replaced" in refused[1].json()["detail"], refused
    until(lambda: "removed or replaced while it was in use" in own_daemon.log(), "it is in the log")
    assert own_daemon.call("gone", "/").status == 200


def test_damage_is_told_and_functions_go_on(own_daemon):
    own_daemon.echo("hurt", scale={"min": 1, "max": 1})
    reply = own_daemon.client.request("POST", "/v1/functions/hurt/calls", b"x")
    assert reply.status == 200, reply
    own_daemon.signal(signal.SIGINT)
    path = own_daemon.state / "control/gantry.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'task_attempts'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as f:
        f.seek((page - 1) * size)
        f.write(b"\x5a" * size)
    own_daemon.start()
    until(lambda: "is damaged, nothing more is written to it" in own_daemon.log(), "the damage is found")
    refused = submit(own_daemon, "hurt")
    assert refused.status == 503 and "from its backup" in refused.json()["detail"], refused
    assert own_daemon.client.get("/v1/functions/hurt").status == 200
    until(lambda: own_daemon.call("hurt", "/").status == 200, "the function runs")
