"""The end of a durable call, told to the address that it named."""
import base64
import contextlib
import hashlib
import hmac
import http.server
import signal
import socket
import sqlite3
import subprocess
import threading

import pytest

from harness import BIN, Daemon, until


class Receiver:
    """Takes webhooks on loopback; answers 500 to the first `fails` of them."""

    def __init__(self, fails=0):
        self.seen, left = [], [fails]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.seen.append((dict(handler.headers), body))
                handler.send_response(500 if left[0] > 0 else 204)
                left[0] -= 1
                handler.end_headers()

            def log_message(handler, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/done?of=x"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver(fails=1)
    yield made
    made.close()


@pytest.fixture
def telling(tmp_path):
    config = tmp_path / "gantryd.conf"
    config.write_text("[control]\nwebhook_allow = 127.0.0.1\n")
    daemon = Daemon(config=config)
    daemon.start()
    yield daemon
    daemon.stop()


def call(daemon, url):
    return daemon.client.request("POST", "/v1/functions/f/calls", b"x",
                                 {"Prefer": "respond-async", "Gantry-Callback": url})


def mac(key, headers, body):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode()


def told(daemon, receiver):
    """One more call, and what is told of its end."""
    seen = len(receiver.seen)
    assert call(daemon, receiver.url).status == 202
    until(lambda: len(receiver.seen) > seen, "it is told", 30)
    return receiver.seen[-1]


def test_a_new_key_signs_beside_the_one_before(telling):
    """A receiver that knows one of them alone can tell all along, first by the old one, then by the new one."""
    receiver, file = Receiver(), telling.state / "control/webhook.key"
    old = file.read_text()

    def keys():
        return telling.client.get("/v1/webhooks/keys").json()["items"]
    try:
        telling.echo("f")
        headers, body = told(telling, receiver)
        assert headers["webhook-signature"] == mac(old, headers, body)
        reply = telling.client.request("POST", "/v1/webhooks/keys", {"overlap": "1h"})
        assert reply.status == 201 and reply.headers["Cache-Control"] == "no-store", reply
        new = reply.json()["key"]
        assert file.read_text() == new != old
        assert [k["id"] for k in keys()] == [hashlib.sha256(k.encode()).hexdigest()[:16] for k in (new, old)]
        assert "ends_at" not in keys()[0] and keys()[1]["ends_at"] > keys()[0]["created_at"] > keys()[1]["created_at"]
        for restarted in (False, True):
            if restarted:
                assert telling.signal(signal.SIGTERM) == 0
                telling.start()
            headers, body = told(telling, receiver)
            assert headers["webhook-signature"].split() == [mac(new, headers, body), mac(old, headers, body)]
        reply = telling.client.request("DELETE", f"/v1/webhooks/keys/{keys()[1]['id']}")
        assert reply.status == 200, reply
        headers, body = told(telling, receiver)
        assert headers["webhook-signature"] == mac(new, headers, body)
        assert file.read_text() == new
    finally:
        receiver.close()


def test_the_key_is_changed_by_the_command(telling):
    def gantry(*words):
        done = subprocess.run([BIN / "gantry", "webhook", *words], capture_output=True, text=True, check=False,
                              env={"GANTRY_URL": telling.url, "GANTRY_TOKEN": telling.token})
        return done.returncode, done.stdout.strip(), done.stderr
    file = telling.state / "control/webhook.key"
    old = file.read_text()
    status, new, err = gantry("rotate", "--overlap", "2d")
    assert status == 0 and file.read_text() == new != old, err
    ids = [hashlib.sha256(k.encode()).hexdigest()[:16] for k in (new, old)]
    status, table, err = gantry("keys")
    assert status == 0 and [line.split()[0] for line in table.splitlines()[1:]] == ids, (table, err)
    assert gantry("rm", ids[0])[0] != 0
    assert gantry("rm", ids[1])[:2] == (0, f"{ids[1]} signs nothing any more")
    assert gantry("rotate", "--overlap", "soon")[0] == 2 and gantry("keys", "--overlap", "1h")[0] == 2
    assert gantry("rotate", "--overlap", "0s")[0] == 0  # one that others know is gone at once
    assert len(telling.client.get("/v1/webhooks/keys").json()["items"]) == 1 and file.read_text() != new


def test_the_end_of_a_call_is_told_and_signed(telling, receiver):
    telling.echo("f")
    made = call(telling, receiver.url)
    assert made.status == 202, made
    until(lambda: len(receiver.seen) == 2, "it is told once more after a failure", 30)
    key = (telling.state / "control/webhook.key").read_text().strip()
    for headers, body in receiver.seen:
        assert headers["ce-specversion"] == "1.0" and headers["ce-type"] == "dev.gantry.call.finished"
        assert headers["ce-subject"] == made.json()["id"] and headers["ce-source"] == "/v1/functions/f"
        assert b'"state":"succeeded"' in body
        assert headers["webhook-signature"] == mac(key, headers, body)
    assert receiver.seen[0][0]["webhook-id"] == receiver.seen[1][0]["webhook-id"]


def test_the_key_is_the_stores_and_a_file_of_before_is_taken_over_once(gantry):
    file = gantry.state / "control/webhook.key"
    first = file.read_text()

    def restarted(key, forget=False):
        assert gantry.signal(signal.SIGTERM) == 0
        if forget:
            with contextlib.closing(sqlite3.connect(gantry.state / "control/gantry.db")) as db:
                db.execute("DELETE FROM keys")
                db.commit()
        with open(file, "r+") as f:  # its owner stays
            f.truncate(0)
            f.write(key)
        gantry.start()
        return file.read_text()
    assert restarted("ab" * 32) == first  # the store has one
    assert restarted("cd" * 32 + "\n", forget=True).strip() == "cd" * 32
    assert restarted("") == "cd" * 32


def test_nobody_inside_is_called(gantry, receiver):
    """Not by address, nor by a name that leads there."""
    gantry.echo("f")
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"),
                receiver.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
        made = call(gantry, url)
        assert made.status == 202, made
        assert gantry.client.get(f"/v1/calls/{made.json()['id']}?wait=10s").json()["state"] == "succeeded"
        until(lambda made=made: f"webhook of call {made.json()['id']} was not taken" in gantry.log(), "it is refused")
    assert not receiver.seen


def test_only_web_addresses_are_taken(gantry):
    gantry.echo("f")
    for url in ("file:///etc/passwd", "gopher://example.org/", "http://", "//example.org/", "https://u:p@example.org/"):
        reply = call(gantry, url)
        assert reply.status == 400 and reply.slug == "bad_parameter", (url, reply)


def test_a_slow_receiver_has_nobody_wait_but_itself(telling):
    """Many ends of calls for a receiver that never answers; another one hears of its own at once."""
    deaf, swift = socket.create_server(("127.0.0.1", 0), backlog=64), Receiver()
    telling.echo("f")
    try:
        for _ in range(40):
            assert call(telling, f"http://127.0.0.1:{deaf.getsockname()[1]}/").status == 202
        until(lambda: len(telling.client.get("/v1/calls?state=succeeded").json()["items"]) == 40, "their ends", 20)
        given_up = telling.log().count("was not taken")
        own = call(telling, swift.url).json()["id"]
        until(lambda: [h["webhook-id"] for h, _ in swift.seen] == [f"{own}-1"], "the swift one is told", timeout=20)
        assert telling.log().count("was not taken") == given_up, "it waited until the deaf one was given up"
    finally:
        swift.close()
        deaf.close()
