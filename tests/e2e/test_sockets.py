"""Replicas that listen on a unix socket instead of a port."""
import os
import signal
import socket
import threading

from harness import FUNCTIONS, until


def spec(path="/tmp/app.sock", script="exec python3 /app/uds.py", **more):
    return {"image": "host:", "command": ["/bin/sh", "-c", script], "socket": path,
            "volumes": [{"host": str(FUNCTIONS), "path": "/app"}], "resources": {"memory": "128MiB"}, **more}


def test_calls_reach_it(gantry, name):
    gantry.put(name, spec(ready={"path": "/health"}, scale={"concurrency": 8}))
    assert gantry.call(name, "/a").text == "/a 0 -"
    assert gantry.call(name, "/b").text == "/b 0 -"
    body = os.urandom(300_000)
    assert gantry.call(name, "/", "POST", body).body == body
    got = []
    threads = [threading.Thread(target=lambda: got.append(gantry.call(name, "/c").status)) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [200] * 20


def test_other_user_and_directory(gantry, name):
    gantry.put(name, spec("/tmp/deep/x.sock", "exec python3 /app/uds.py", user="1000:1000"))
    reply = gantry.call(name)
    assert reply.status == 503, "the directory is not there"
    gantry.put(name, spec("/tmp/deep/x.sock", "mkdir /tmp/deep && exec python3 /app/uds.py", user="1000:1000"))
    assert gantry.call(name).text == "/ 1000 -"


def test_agent_dies(own):
    daemon = own()
    daemon.put("uds", spec(scale={"min": 1}))
    assert daemon.call("uds", "/1").status == 200
    os.kill(daemon.roles()["agent"], signal.SIGKILL)
    before = daemon.wait_replicas("uds", 1)[0]["id"]
    until(lambda: daemon.call("uds", "/2").status == 200, "it is reached again")
    assert daemon.wait_replicas("uds", 1)[0]["id"] == before


def test_path_leads_nowhere_else(gantry, name, tmp_path):
    """Not to a socket of the host that a volume shows, neither by a link nor over a moved directory."""
    os.chmod(tmp_path, 0o755)
    host = socket.socket(socket.AF_UNIX)
    host.bind(str(tmp_path / "host.sock"))
    os.chmod(tmp_path / "host.sock", 0o777)
    host.listen()
    host.setblocking(False)
    volumes = [{"host": str(FUNCTIONS), "path": "/app"}, {"host": str(tmp_path), "path": "/mnt", "readonly": False}]
    for script in ("ln -s /mnt/host.sock /tmp/app.sock; exec sleep 1000",
                   "ln -s /proc/self/root/mnt/host.sock /tmp/app.sock; exec sleep 1000",
                   "ln -s /mnt /tmp/d; exec sleep 1000"):
        path = "/tmp/d/host.sock" if "/tmp/d" in script else "/tmp/app.sock"
        gantry.put(name, spec(path, script, volumes=volumes, ready={"timeout": "1s"}))
        reply = gantry.call(name)
        assert reply.status == 503 and reply.json()["cause"] == "not_ready_in_time", reply
    try:
        host.accept()
        raise AssertionError("the host's socket was reached")
    except BlockingIOError:
        pass


def test_file_that_is_no_socket(gantry, name):
    gantry.put(name, spec(script="mkfifo /tmp/app.sock; exec sleep 1000", ready={"timeout": "1s"}))
    assert gantry.call(name).json()["cause"] == "not_ready_in_time"


def test_refused_specifications(gantry, name):
    for more, words in (({"port": 8000}, "there is a port too"), ({"socket": "run/app.sock"}, "no absolute path"),
                        ({"socket": "/app/x.sock"}, "is on the mount of volumes[0].path"),
                        ({"socket": "/dev/x.sock"}, "belongs to the runtime"), ({"socket": "/" + "x" * 107}, "107"),
                        ({"socket": "/scratch/x", "tmpfs": [{"path": "/scratch"}]}, "on the mount of tmpfs[0].path")):
        reply = gantry.client.request("PUT", f"/v1/functions/{name}", spec() | more)
        assert reply.status == 422, reply
        assert words in reply.text and "socket" in reply.text, reply
