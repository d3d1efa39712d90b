"""The gateway's door for other hosts, between a daemon and a scripted node: what it may ask for, calls over its pipes,
and a node that lies."""
import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from harness import BIN, Background, until
from scripted_node import ScriptedNode, openssl


@pytest.fixture(scope="module")
def far(gantry, tmp_path_factory):
    node = ScriptedNode(gantry, "far", tmp_path_factory.mktemp("far"))
    node.watch()
    until(lambda: gantry.client.get("/v1/nodes/far").json().get("state") == "ready", "far is ready")
    yield node
    node.stop()


@pytest.fixture
def remote(gantry, far):
    """A function whose one replica is the scripted node itself."""
    gantry.echo("remote", placement={"labels": {"host": "far"}}, scale={"min": 1, "max": 1, "concurrency": 8})
    gantry.wait_replicas("remote", 1)
    yield "remote"
    gantry.delete("remote")
    until(lambda: not far.orders, "no order is left")


def take(pipe, replica):
    assert pipe.line() == f"replica {replica}\n"
    pipe.say("ok\n")


def answer(pipe, body="hi"):
    head = pipe.head()
    pipe.say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    return head


def replica_of(far):
    return next(iter(far.orders))


# ---- what a node may ask for -----------------------------------------------------------------------
def test_paths_of_others_are_refused(gantry, far):
    for path in ("/link/v1/nodes/near/desired", "/link/v1/gateways/gw-1/routes", "/link/v1/nodes/far/agent/link/v1/logs"):
        assert far.ask("GET", path)[0] == 403, path
    for path in ("/v1/functions", "/livez", "/f/echo/"):
        assert far.ask("GET", path)[0] == 404, path
    assert far.ask("GET", "/link/v1/nodes/far/desired", cert=False)[0] == 403
    assert gantry.client.get("/link/v1/nodes/far/desired").status == 404


def test_certificates_of_others_are_refused(far):
    openssl("req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=far", "-days", "2",
            "-addext", "subjectAltName=URI:gantry://node/far", "-out", "own.pem", cwd=far.dir)
    try:
        status = far.ask("GET", "/link/v1/nodes/far/desired", cert="own.pem")[0]
    except OSError:
        status = 0
    assert status == 0


def test_a_certificate_is_renewed_by_its_own_key(far):
    status, body = far.ask("POST", "/link/v1/nodes/far/certificate", {"csr": (far.dir / "csr.pem").read_text()})
    assert status == 200 and "BEGIN CERTIFICATE" in body["certificate"]


def test_the_plain_port_still_speaks_http(gantry, far):
    assert gantry.client.get("/livez").status == 200


# ---- calls -----------------------------------------------------------------------------------------
def test_a_call_goes_by_a_pipe(gantry, far, remote):
    pipe = far.pipe()
    call = gantry.client.background("GET", "/f/remote/x?y=1")
    take(pipe, replica_of(far))
    head = answer(pipe)
    assert head.startswith("GET /x?y=1 HTTP/1.1\r\n")
    assert call.result().body == b"hi"
    again = gantry.client.background("GET", "/f/remote/again")
    assert answer(pipe, "there").startswith("GET /again HTTP/1.1\r\n")  # the same pipe, and no question
    assert again.result().body == b"there"
    pipe.close()


def test_large_bodies_both_ways(gantry, far, remote):
    body = os.urandom(1 << 22)
    pipe = far.pipe()
    call = gantry.client.background("POST", "/f/remote/", body)
    take(pipe, replica_of(far))
    assert f"Content-Length: {len(body)}\r\n" in pipe.head()
    got = b""
    while len(got) < len(body):
        got += pipe.sock.recv(1 << 20)
    assert got == body
    pipe.say(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert call.result().body == body
    pipe.close()


def test_events_come_one_by_one(gantry, far, remote):
    pipe = far.pipe()
    call = threading.Thread(target=lambda: (take(pipe, replica_of(far)), pipe.head(), pipe.say(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")))
    call.start()
    conn = gantry.client.open("GET", "/f/remote/")
    reply = conn.getresponse()
    assert reply.readline() == b"data: 1\n"
    call.join()
    pipe.say("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
    assert reply.read() == b"\ndata: 2\n\n"
    conn.close()
    pipe.close()


def test_a_call_waits_for_a_pipe_and_not_for_ever(gantry, far, remote):
    call = gantry.client.background("GET", "/f/remote/")
    pipe = far.pipe()
    take(pipe, replica_of(far))
    answer(pipe)
    assert call.result().status == 200
    pipe.close()
    begun = time.monotonic()
    refused = gantry.client.get("/f/remote/")
    assert refused.status == 503 and refused.slug == "unavailable" and "node far" in refused.text
    assert 2.5 < time.monotonic() - begun < 20  # far from limits.wait, which is minutes


# ---- a node that lies ------------------------------------------------------------------------------
@pytest.mark.parametrize("lie", ["nonsense\n", "err 0\n", "\n", "ok", "x" * 100, "HTTP/1.1 200 OK\r\n\r\n"])
def test_no_lie_reaches_a_client(gantry, far, remote, lie):
    first, second = far.pipe(), far.pipe()
    call = gantry.client.background("GET", "/f/remote/")
    second.line()
    second.say(lie)
    with contextlib.suppress(OSError):  # "ok" alone is half an answer; others may have ended it by now
        second.sock.shutdown(socket.SHUT_RDWR)
    take(first, replica_of(far))
    answer(first, "truth")
    assert call.result().body == b"truth"
    first.close()
    second.close()


def test_an_error_ends_the_call(gantry, far, remote):
    stop = threading.Event()

    def refuse():
        while not stop.is_set():
            pipe = far.pipe()
            pipe.sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):  # nobody asks: perhaps it is over
                if pipe.line():
                    pipe.say("err 111\n")
            pipe.close()

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    refused = gantry.client.get("/f/remote/")
    assert refused.status == 502 and refused.slug == "replica_lost", refused
    stop.set()
    thread.join(20)
    assert not thread.is_alive()  # it would take pipes of the next test


# ---- control's own way -----------------------------------------------------------------------------
def test_logs_of_a_replica_elsewhere(gantry, far, remote):
    pipe = far.pipe()
    call = gantry.client.background("GET", f"/v1/functions/remote/logs?replica={replica_of(far)}")
    assert pipe.line() == "agent\n"
    pipe.say("ok\n")
    head = pipe.head()
    assert head.startswith("GET /link/v1/logs?function=remote") and replica_of(far) in head
    line = '{"seq":1,"ts":"2026-11-26T08:00:00.000Z","line":"from afar"}\n'
    pipe.say(f"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(line)}\r\n\r\n{line}")
    assert call.result().text == line
    refused = gantry.client.get(f"/v1/functions/remote/logs?replica={replica_of(far)}")
    assert refused.status == 503 and refused.slug == "node_unreachable"
    pipe.close()


def test_images_of_another_node(gantry, far):
    pipe = far.pipe()
    words = [str(BIN / "gantry"), "image", "ls", "--node", "far", "--json"]
    call = Background(lambda: subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env={
        **os.environ, "GANTRY_URL": gantry.url, "GANTRY_TOKEN": gantry.token}))
    assert pipe.line() == "agent\n"
    pipe.say("ok\n")
    assert pipe.head().startswith("GET /link/v1/images HTTP/1.1\r\n")
    body = '{"items":[{"digest":"sha256:00","name":"afar"}]}'
    pipe.say(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    done = call.result()
    assert done.returncode == 0 and "afar" in done.stdout, done
    pipe.close()
    unknown = subprocess.run([*words[:-2], "none"], capture_output=True, text=True, timeout=30, check=False,
                             env={**os.environ, "GANTRY_URL": gantry.url, "GANTRY_TOKEN": gantry.token})
    assert unknown.returncode != 0 and "no node none" in unknown.stderr, unknown


def test_the_door_is_for_control_alone(gantry):
    path = gantry.state / "run/door.sock"
    mode = path.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600
    uids = {role: os.stat(f"/proc/{pid}").st_uid for role, pid in gantry.roles().items()}
    assert mode.st_uid == uids["control"] != uids["gateway"]


# ---- what ends -------------------------------------------------------------------------------------
def test_a_new_gateway_gets_the_nodes_at_once(gantry, far, remote):
    """The old one goes on with its call; watches and pipes come to the new one."""
    pipe = far.pipe()
    call = gantry.client.background("GET", "/f/remote/")
    take(pipe, replica_of(far))
    pipe.head()

    def takes_reports():
        try:
            return far.report()[0] == 204
        except OSError:
            return False  # the old one ended the connection

    gantry.proc.send_signal(signal.SIGUSR2)
    until(lambda: "draining" in gantry.log(), "the old one gives way", timeout=20)
    until(lambda: takes_reports() and far.snapshots, "the new one takes watches and reports", 20)
    pipe.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
    assert call.result().body == b"old"
    pipe.close()
    second = far.pipe()
    call = gantry.client.background("GET", "/f/remote/")
    assert second.line().startswith("replica ")  # control may have begun another one
    second.say("ok\n")
    answer(second, "new")
    assert call.result().body == b"new"
    second.close()


def test_a_removed_node_is_out_at_once(gantry, tmp_path):
    node = ScriptedNode(gantry, "gone", tmp_path)
    node.watch()
    until(lambda: gantry.client.get("/v1/nodes/gone").json().get("state") == "ready", "it is ready")
    pipe = node.pipe()
    assert gantry.client.request("DELETE", "/v1/nodes/gone?force=true").status in (200, 204)
    assert pipe.closed()
    until(lambda: node.cuts, "the watch ends")
    status, body = node.ask("GET", "/link/v1/nodes/gone/desired")
    assert status == 403 and body["code"] == "node_removed"
    node.stop()
