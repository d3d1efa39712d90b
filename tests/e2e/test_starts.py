"""Everything that can go wrong between an order and an answer, and what the caller is told."""
import datetime
import os
import time

import pytest

from harness import ECHO_ROOT, until


def refused(reply, cause):
    """A 503 start_failed whose cause is named."""
    assert reply.status == 503, reply
    body = reply.json()
    assert reply.slug == "start_failed", reply
    assert body["cause"] == cause, body
    assert int(reply.headers["Retry-After"]) >= 1
    body["detail"] += " " + body.get("reason", "")
    return body


def test_missing_image(gantry, name):
    gantry.put(name, {"image": "dir:/nonexistent/image", "command": ["/x"], "port": 8000})
    body = refused(gantry.call(name), "image_missing")
    assert "/nonexistent/image" in body["detail"]


def test_missing_command(gantry, name):
    gantry.put(name, {"image": f"dir:{ECHO_ROOT}", "command": ["/no-such-program"], "port": 8000})
    body = refused(gantry.call(name), "command_missing")
    assert "/no-such-program" in body["detail"]


def test_command_that_cannot_be_executed(gantry, name, tmp_path):
    os.chmod(tmp_path, 0o755)
    (tmp_path / "data").write_text("not a program")
    (tmp_path / "data").chmod(0o644)
    gantry.put(name, {"image": f"dir:{tmp_path}", "command": ["/data"], "port": 8000})
    refused(gantry.call(name), "exec_failed")


def test_command_of_no_known_format(gantry, name, tmp_path):
    os.chmod(tmp_path, 0o755)
    (tmp_path / "data").write_bytes(b"\x7fELFnot really")
    (tmp_path / "data").chmod(0o755)
    gantry.put(name, {"image": f"dir:{tmp_path}", "command": ["/data"], "port": 8000})
    refused(gantry.call(name), "exec_failed")


def test_user_that_the_image_lacks(gantry, name):
    gantry.put(name, {"image": f"dir:{ECHO_ROOT}", "command": ["/echo"], "port": 8000, "user": "web"})
    body = refused(gantry.call(name), "exec_failed")
    assert '"web" is not in /etc/passwd' in body["detail"]


def test_next_start_is_prepared(gantry, name):
    """A function that was started lately has its root and rights in order before it is called again."""
    gantry.put(name, {"image": f"dir:{ECHO_ROOT}", "command": ["/echo"], "port": 8000, "scale": {"idle": "200ms"}})
    roots = []

    def called_again():
        reply = gantry.call(name)
        assert reply.status == 200, reply
        gantry.wait_replicas(name, 0)
        [replica] = [r for r in gantry.replicas(name) if r["id"] == reply.headers["Gantry-Replica"]]
        roots.append(replica["timings"]["root_ms"])
        return roots[-1] < 0.01

    until(called_again, f"a start whose root was there before it: {roots} ms", 20)
    assert roots[0] > 0.01


def test_missing_volume(gantry, name):
    gantry.echo(name, volumes=[{"host": "/nonexistent/volume", "path": "/v"}])
    body = refused(gantry.call(name), "volume_missing")
    assert "/nonexistent/volume" in body["detail"]


def test_exit_during_start_shows_the_last_lines(gantry, name):
    gantry.shell(name, "echo one; echo two >&2; sleep 0.05; exit 3")
    body = refused(gantry.call(name), "exited_early")
    assert "3" in body["detail"]
    assert body["log"] == ["one", "two"] and body["exit_code"] == 3


def test_death_by_signal_is_named(gantry, name):
    gantry.shell(name, "kill -SEGV $$")
    body = refused(gantry.call(name), "exited_early")
    assert "SEGV" in body["detail"] or "signal 11" in body["detail"] or "139" in body["detail"], body


def test_port_never_opened(gantry, name):
    gantry.shell(name, "echo waiting; exec sleep 60", ready={"timeout": "1s"})
    begin = time.monotonic()
    body = refused(gantry.call(name), "not_ready_in_time")
    assert time.monotonic() - begin > 0.8
    assert "1000 ms" in body["detail"], body
    until(lambda: not gantry.running(name), "the replica is gone", 15)


def test_wrong_port_listened_on(gantry, name):
    gantry.echo(name, port=8000, command=["/echo"], env={"PORT": "9000"}, ready={"timeout": "1s"})
    refused(gantry.call(name), "not_ready_in_time")


def test_ready_path_that_never_says_ok(gantry, name):
    gantry.put(name, {"image": "host:", "command": ["/usr/bin/python3", "-c", (
        "import os,socket\n"
        "s=socket.socket();s.setsockopt(1,2,1);s.bind(('127.0.0.1',int(os.environ['PORT'])));s.listen(16)\n"
        "while True:\n"
        " c,_=s.accept();c.recv(4096)\n"
        " c.sendall(b'HTTP/1.1 503 Loading\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n');c.close()\n")],
        "port": 8000, "ready": {"path": "/health", "timeout": "1s"}})
    refused(gantry.call(name), "not_ready_in_time")


def test_out_of_memory_during_start_is_named(gantry, name):
    gantry.put(name, {"image": "host:", "command": ["/usr/bin/python3", "-c",
                                                    "x = bytearray(512 << 20); import time; time.sleep(60)"],
                      "port": 8000, "resources": {"memory": "32MiB"}})
    body = refused(gantry.call(name), "out_of_memory")
    assert "32" in body["detail"], body


def test_out_of_memory_during_a_call_is_named(gantry, name):
    gantry.probe(name, resources={"memory": "64MiB"})
    assert gantry.call(name).status == 200
    reply = gantry.call(name, "/alloc?mib=256")
    assert reply.status == 502 and reply.slug == "replica_lost", reply

    def named():
        ended = gantry.replicas(name, "failed")
        return ended and ended[0]["end"]["cause"] == "out_of_memory"

    until(named, "the replica's end says out of memory")
    assert gantry.call(name).status == 200, "the next call gets a new replica"


def test_crash_loop_backs_off_and_fails_waiters_fast(gantry, name):
    gantry.shell(name, "echo cannot start; exit 1")
    told = [refused(gantry.call(name), "exited_early")]
    assert gantry.client.get(f"/v1/functions/{name}").json()["state"] == "failing"

    def failed_again():
        """Now and then a call is admitted to a start again."""
        told.append(refused(gantry.call(name), "exited_early"))
        return len(failures(gantry, name)) >= 3

    until(failed_again, "start number 3", 30)
    assert len(told) > 6, "refused at once, not each after another start"
    starts = gantry.replicas(name, "failed")[::-1]
    pauses = [wall(after["created_at"]) - wall(before["ended_at"]) for before, after in zip(starts, starts[1:])]
    assert pauses[0] > 0.9 and pauses[1] > 1.9, pauses


def wall(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def failures(gantry, name):
    return [e for e in gantry.events(function=name) if e["type"] == "replica.failed"]


def test_all_waiters_of_a_failed_start_are_told(gantry, name):
    gantry.shell(name, "sleep 0.4; exit 1")
    calls = [gantry.client.background("GET", f"/f/{name}/") for _ in range(5)]
    for c in calls:
        refused(c.result(), "exited_early")


def test_new_deploy_forgives_a_crash_loop(gantry, name):
    gantry.shell(name, "exit 1")
    refused(gantry.call(name), "exited_early")
    gantry.echo(name)
    assert gantry.call(name).status == 200
    assert gantry.client.get(f"/v1/functions/{name}").json()["state"] == "ready"


def test_deploy_that_cannot_start_keeps_the_old_one_serving(gantry, name):
    gantry.echo(name, scale={"min": 1})
    assert gantry.call(name).status == 200
    gantry.shell(name, "exit 1", scale={"min": 1})
    until(lambda: failures(gantry, name), "the new revision failed")
    for _ in range(5):
        reply = gantry.call(name)
        assert reply.status == 200 and reply.headers["Gantry-Revision"] == "1", reply


def test_slow_start_is_waited_for(gantry, name):
    gantry.put(name, {"image": "host:", "command": ["/bin/sh", "-c",
                      "sleep 1; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT"],
                      "port": 8000, "workdir": "/usr/share"})
    reply = gantry.call(name)
    assert reply.status == 200, reply


@pytest.mark.parametrize("command", [["echo"], ["sh", "-c", "exec /usr/bin/python3 -m http.server $PORT"]])
def test_command_is_found_in_path(gantry, name, command):
    if command == ["echo"]:
        gantry.put(name, {"image": f"dir:{ECHO_ROOT}", "command": command, "port": 8000, "env": {"PATH": "/"}})
    else:
        gantry.put(name, {"image": "host:", "command": command, "port": 8000})
    assert gantry.call(name).status == 200
