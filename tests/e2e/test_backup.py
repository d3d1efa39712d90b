"""`gantryd backup` of a daemon at work, and the way back from it."""
import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest

from harness import BIN, Daemon, until


def gantryd(*words):
    return subprocess.run([BIN / "gantryd", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


@pytest.fixture
def daemon():
    one = Daemon()
    one.start()
    yield one
    one.stop()


def submit(daemon, name, body):
    reply = daemon.client.request("POST", f"/v1/functions/{name}/calls", body, {"Prefer": "respond-async"})
    assert reply.status == 202, reply
    return reply.json()["id"]


@contextlib.contextmanager
def busy(daemon, name):
    """Calls with large bodies come and go meanwhile."""
    on = [True]

    def run():
        while on[0]:
            submit(daemon, name, b"y" * 100_000)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        on[0] = False
        thread.join()


def epoch(state):
    with contextlib.closing(sqlite3.connect(state / "control/gantry.db")) as db:
        return db.execute("SELECT epoch FROM leader").fetchone()[0]


def restart(daemon):
    assert daemon.signal(signal.SIGINT) == 0
    return daemon


def test_what_was_backed_up_comes_back(daemon):
    daemon.echo("f")
    daemon.echo("far", image=f"dir:{daemon.dir}/nowhere")  # its calls wait
    waits = submit(daemon, "far", b"x" * 200_000)
    done = submit(daemon, "f", b"hello")
    assert daemon.client.get(f"/v1/calls/{done}?wait=20s").json()["state"] == "succeeded"
    copy = daemon.dir / "copy"
    with busy(daemon, "f"):
        made = gantryd("backup", copy, "--state", daemon.state)
    assert made.returncode == 0, made.stdout
    assert (copy / "admin.token").read_text() == (daemon.state / "admin.token").read_text()
    assert {"gantry.db", "bodies", "webhook.key"} <= {p.name for p in (copy / "control").iterdir()}
    assert "is there already" in gantryd("backup", copy, "--state", daemon.state).stdout
    refused = gantryd("restore", copy, "--state", daemon.state)
    assert refused.returncode == 1 and "is used by another gantryd" in refused.stdout, refused.stdout
    daemon.echo("later")
    last = epoch(daemon.state)
    restart(daemon)
    (daemon.state / "admin.token").write_text("gty_" + "0" * 64 + "\n")
    back = gantryd("restore", copy, "--state", daemon.state)
    assert back.returncode == 0, back.stdout
    assert len(list(daemon.state.glob("control.before-*/gantry.db"))) == 1
    assert len(list(daemon.state.glob("admin.token.before-*"))) == 1
    daemon.start()
    assert [f["name"] for f in daemon.client.get("/v1/functions").json()["items"]] == ["f", "far"]
    assert daemon.client.get(f"/v1/calls/{done}/result").text.endswith("hello")
    assert daemon.client.get(f"/v1/calls/{waits}").json()["state"] in ("queued", "waiting", "running")
    daemon.echo("far")
    until(lambda: daemon.client.get(f"/v1/calls/{waits}?wait=5s").json()["state"] == "succeeded", "it is done at last", 60)
    assert daemon.client.get(f"/v1/calls/{waits}/result").text.endswith("x" * 200_000)
    assert epoch(daemon.state) > last + 1000


def test_a_backup_that_is_not_whole_is_refused(daemon):
    daemon.echo("f")
    daemon.echo("far", image=f"dir:{daemon.dir}/nowhere")
    submit(daemon, "far", b"x" * 200_000)
    copy = daemon.dir / "copy"
    assert gantryd("backup", copy, "--state", daemon.state).returncode == 0
    restart(daemon)
    before = (daemon.state / "control/gantry.db").read_bytes()

    def refused(damage, word):
        bad = daemon.dir / "bad"
        shutil.copytree(copy, bad)
        damage(bad)
        said = gantryd("restore", bad, "--state", daemon.state)
        shutil.rmtree(bad)
        assert said.returncode != 0 and word in said.stdout, (word, said.stdout)
        assert (daemon.state / "control/gantry.db").read_bytes() == before
        assert not list(daemon.state.glob("control.*"))

    def flip(bad):
        path = bad / "control/gantry.db"
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)

    def sign(bad, path):
        digest = hashlib.sha256((bad / path).read_bytes()).hexdigest()
        lines = (bad / "MANIFEST").read_text().splitlines(keepends=True)
        lines = [f"{digest}  {path}\n" if line.endswith(f"  {path}\n") else line for line in lines]
        (bad / "MANIFEST").write_text("".join(lines))

    def newer(bad):
        with contextlib.closing(sqlite3.connect(bad / "control/gantry.db")) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("UPDATE meta SET value = 99 WHERE key = 'min_reader'")
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sign(bad, "control/gantry.db")

    def lose_body(bad):
        (body,) = (bad / "control/bodies").iterdir()
        lines = (bad / "MANIFEST").read_text().splitlines(keepends=True)
        (bad / "MANIFEST").write_text("".join(line for line in lines if body.name not in line))

    def climb(bad):
        with open(bad / "MANIFEST", "a") as f:
            f.write("0" * 64 + "  control/../../x\n")

    refused(flip, "has changed since the backup")
    refused(newer, "schema 99")
    refused(lose_body, "is not whole")
    refused(lambda bad: os.unlink(bad / "admin.token"), "admin.token")
    refused(climb, "is no line of it")
    refused(lambda bad: os.unlink(bad / "MANIFEST"), "MANIFEST")
    daemon.start()
    assert daemon.client.get("/v1/functions/f").status == 200
