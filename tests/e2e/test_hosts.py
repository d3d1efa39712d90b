"""Several hosts: what joins, how calls get to replicas elsewhere, and what breaks."""
import contextlib
import hashlib
import http.client
import itertools
import os
import signal
import stat
import subprocess
import tempfile
import time

import pytest
from harness import BIN, REVERSER, SLOW, Background, Raw, alive, proc_status, until
from hosts import NETNS, PORT, Hosts, Load, inside, run
from lent import started

# Takes what comes, and says nothing.
SILENT = ("import os, socket\n"
          "s, kept = socket.create_server(('127.0.0.1', int(os.environ['PORT']))), []\n"
          "while True: kept.append(s.accept())\n")
MANY = {"scale": {"min": 1, "max": 1, "concurrency": 64, "idle": "60s"}}


@pytest.fixture(scope="module")
def cluster():
    with started(Hosts("abc", gpus={"b": "sim:2x80GiB:H100"})) as hosts:
        yield hosts


@pytest.fixture
def own_hosts():
    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(started(Hosts(*args, **more)))


def test_hosts_that_can_not_be_made_leave_nothing(monkeypatch, tmp_path):
    """Each command of a setup fails once, the last one a mount; then no namespace and no directory is there."""
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **more: str(tmp_path / "own"))
    begun = []

    def fails_at(last):
        begun.clear()

        def run_or_fail(*words, check=True, **more):
            if check:
                begun.append(words)
                if len(begun) > last:
                    raise subprocess.CalledProcessError(1, words)
            return run(*words, check=check, **more)

        (tmp_path / "own").mkdir()
        monkeypatch.setattr("hosts.run", run_or_fail)
        with pytest.raises(subprocess.CalledProcessError):
            Hosts("a", disk="16m")
        assert not list(NETNS.glob(f"gt{os.getpid() % 100000}x{1000 + last}-*")), begun[-1]
        with contextlib.suppress(FileNotFoundError):  # not a host's yet
            (tmp_path / "own").rmdir()
        return begun[-1][0]

    monkeypatch.setattr("hosts._worlds", itertools.count(1000))
    steps = [fails_at(n) for n in range(12)]
    assert steps[3] == "nsenter" and steps[-1] == "mount", steps


@pytest.fixture
def on_b(cluster):
    """A function that runs on host b alone."""
    cluster.first.echo("onb", placement={"labels": {"host": "b"}}, **MANY)
    cluster.first.wait_replicas("onb", 1)
    yield "onb"
    cluster.first.delete("onb")


def place(cluster, name, host, **more):
    cluster.first.echo(name, placement={"labels": {"host": host}}, **{**MANY, **more})
    return cluster.first.wait_replicas(name, 1)[0]


def node(cluster, *words, code=0):
    with cluster.first.inside():
        done = subprocess.run([str(BIN / "gantry"), "node", *words], capture_output=True, text=True, timeout=60,
                              check=False, env={**os.environ, "GANTRY_URL": cluster.first.url,
                                                "GANTRY_TOKEN": cluster.first.token})
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def serves(cluster, name, timeout=30):
    """What broke on the way to it is back."""
    def answers():
        with contextlib.suppress(OSError, http.client.HTTPException):
            return cluster.first.call(name, "/x", timeout=10).status == 200
        return False

    until(answers, f"{name} serves", timeout)


# ---- joining ---------------------------------------------------------------------------------
def test_hosts_join_and_are_listed(cluster):
    assert cluster.nodes() == {"a": "ready", "b": "ready", "c": "ready"}
    view = cluster.first.client.get("/v1/nodes/b").json()
    assert view["labels"] == {"host": "b"} and len(view["gpus"]) == 2


def test_a_joined_host_runs_an_agent_and_an_uplink_that_is_not_root(cluster):
    roles = cluster["b"].roles()
    assert set(roles) == {"agent", "uplink"}
    assert "0" not in proc_status(roles["uplink"], "Uid") + proc_status(roles["uplink"], "Gid")
    assert int(proc_status(roles["uplink"], "CapEff")[0], 16) == 0
    key = os.stat(cluster["b"].state / "link/node.key")
    assert stat.S_IMODE(key.st_mode) == 0o600 and key.st_uid == int(proc_status(roles["uplink"], "Uid")[0])
    with inside(cluster["b"].netns_path):
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    assert not listening, "nothing on it waits for others"


def test_a_token_is_good_once(own_hosts):
    hosts = own_hosts("abc", joined=False)
    token = hosts.new_token()
    for name, good in (("b", True), ("c", False)):
        host = hosts[name]
        host.join = ["--join", f"https://{hosts.first.ip}:{PORT}", "--token", token]
        host.spawn()
        if good:
            host.wait_ready()
            continue
        assert host.proc.wait(20 * SLOW) == 1
        assert "bad_join_token" in host.log() or "token" in host.log(), host.log()
    hosts.wait_nodes("ready", "a", "b")  # a daemon listens before its node has joined
    assert set(hosts.nodes()) == {"a", "b"}
    # A name is one host's; the token is not used up by who asked for it.
    hosts["c"].name = "b"
    hosts["c"].write_config()
    hosts["c"].join[-1] = hosts.new_token()
    hosts["c"].spawn()
    assert hosts["c"].proc.wait(20 * SLOW) == 1
    hosts["c"].name = "c"
    hosts["c"].write_config()
    hosts["c"].start()
    hosts.wait_nodes("ready", "c")
    # Later starts need no token.
    hosts["c"].signal(signal.SIGTERM)
    hosts["c"].join = []
    hosts["c"].start()
    hosts.wait_nodes("ready", "b", "c")


def test_a_host_waits_for_a_cluster_that_is_not_there_yet(own_hosts):
    hosts = own_hosts("ab", joined=False)
    token = hosts.new_token()
    hosts.first.signal(signal.SIGTERM)
    host = hosts["b"]
    host.join = ["--join", f"https://{hosts.first.ip}:{PORT}", "--token", token]
    host.spawn()
    until(lambda: "is tried again" in host.log(), "it says so")
    hosts.first.start()
    host.wait_ready()
    hosts.wait_nodes("ready", "b")


def test_a_removed_node_is_refused_at_once(own_hosts):
    hosts = own_hosts("abc")
    place(hosts, "f", "b", limits={"wait": "1s"})
    serves(hosts, "f")
    busy = hosts.first.client.background("GET", "/f/f/sleep?ms=20000")
    until(lambda: hosts.first.client.get("/v1/functions/f").json()["in_flight"] == 1, "it runs")
    node(hosts, "rm", "b", code=6)
    begin = time.monotonic()
    node(hosts, "rm", "b", "--force")
    assert busy.result().status in (502, 503, 504)
    assert time.monotonic() - begin < 10, "its connections end at once, not with the call"
    assert hosts.first.call("f").status in (503, 504)
    until(lambda: "b" not in hosts.nodes(), "it is gone")
    until(lambda: "was this node removed?" in hosts["b"].log(), "it says why")
    assert hosts.nodes()["c"] == "ready"
    hosts["b"].signal(signal.SIGTERM)
    hosts.join("b")
    hosts.wait_nodes("ready", "b")
    serves(hosts, "f")


def test_a_certificate_is_renewed_under_load(own_hosts):
    hosts = own_hosts("ab", config={"a": "[control]\nnode_certificate = 10s\n"})
    place(hosts, "f", "b")
    cert = hosts["b"].state / "link/node.crt"
    first = cert.read_text()
    load = Load(hosts.first.client, "/f/f/x")
    began = time.monotonic()
    until(lambda: cert.read_text() != first, "there is another one", 12)
    until(lambda: time.monotonic() - began > 11, "the first one's life is over", 20)
    assert load.stop() > 20 and not load.failed, load.failed[:3]
    hosts.wait_nodes("ready")


def test_an_agent_host_is_reloaded_and_upgraded_under_load(own_hosts):
    hosts = own_hosts("ab", joined=False)
    host = hosts["b"]
    hosts.join("b")
    hosts.wait_nodes("ready")
    pid = place(hosts, "f", "b")["pid"]
    load = Load(hosts.first.client, "/f/f/x", threads=4)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        host.text += "[gateway]\ndrain = 9s\n"
        host.write_config()
        served = load.served[0]
        until(lambda: load.served[0] > served + 20, "calls run")
        before = host.replace_roles(number)
        until(lambda: not any(alive(p) for p in before.values()), "those before have ended", 20)
        served = load.served[0]
        until(lambda: load.served[0] > served + 20, "calls run")
    load.stop()
    assert not load.failed, load.failed[:3]
    assert hosts.first.replicas("f")[0]["pid"] == pid and alive(pid)


# ---- calls -----------------------------------------------------------------------------------
def test_a_call_reaches_a_replica_on_another_host(cluster, on_b):
    reply = cluster.first.call(on_b, "/hello", "POST", "body")
    assert reply.status == 200 and reply.text == "POST /hello\nbody", reply
    replica = cluster.first.replicas(on_b)[0]
    assert replica["node"] == "b" and reply.headers["Gantry-Replica"] == replica["id"]


def test_from_zero_on_another_host(cluster):
    cluster.first.echo("cold", placement={"labels": {"host": "c"}}, scale={"min": 0, "idle": "1s"})
    for _ in range(2):
        assert cluster.first.call("cold", "/x").text == "GET /x\n"
        cluster.first.wait_zero("cold")
    cluster.first.delete("cold")


def both_ways(client, path, data):
    """The echo answers while it reads: who first sends all of it could wait for ever."""
    conn = http.client.HTTPConnection(*client.address, timeout=60)
    with contextlib.closing(conn):
        with inside(client.netns):
            conn.connect()
        sock = conn.sock
        conn.putrequest("POST", path)
        conn.putheader("Authorization", f"Bearer {client.token}")
        conn.putheader("Content-Length", len(data))
        conn.endheaders()
        sender = Background(lambda: sock.sendall(data))
        answer = conn.getresponse()
        body = answer.read()
        sender.result()
        return answer.status, body


def test_large_bodies_go_both_ways(cluster, on_b):
    data = os.urandom(1 << 20) * 24
    status, body = both_ways(cluster.first.client, f"/f/{on_b}/up", data)
    assert status == 200 and len(body) == len(data) + len("POST /up\n")
    assert hashlib.sha256(body[-len(data):]).digest() == hashlib.sha256(data).digest()
    reply = cluster.first.call(on_b, f"/bytes?n={32 << 20}", timeout=60)
    assert reply.status == 200 and len(reply.body) == 32 << 20


def test_who_reads_slowly_gets_all_of_it(cluster, on_b):
    """The window to another host stays closed for longer than a host may be silent."""
    with cluster.first.client.stream("GET", f"/f/{on_b}/bytes?n={64 << 20}", timeout=60) as answer:
        got = len(answer.read(100000))
        time.sleep(5)
        got += len(answer.read())
    assert got == 64 << 20


def test_many_at_once(cluster, on_b):
    calls = [cluster.first.client.background("POST", f"/f/{on_b}/{i}", f"body {i}") for i in range(60)]
    for i, call in enumerate(calls):
        reply = call.result()
        assert reply.status == 200 and reply.text == f"POST /{i}\nbody {i}", (i, reply)


def test_a_stream_arrives_as_it_is_made(cluster, on_b):
    with cluster.first.client.stream("GET", f"/f/{on_b}/stream?n=2&ms=60000") as answer:
        assert answer.readline() == b"line 0\n", "long before the next one is made"
    assert len(cluster.first.call(on_b, "/stream?n=5&ms=10").text.splitlines()) == 5


def test_a_websocket_is_a_pipe(cluster):
    cluster.first.put("ws", {"image": "host:", "command": ["/usr/bin/python3", "-c", REVERSER], "port": 8000,
                             "placement": {"labels": {"host": "c"}}})
    with cluster.first.inside():
        raw = Raw(cluster.first.address, 30)
    with raw:
        raw.send("GET /f/ws/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 f"Authorization: Bearer {cluster.first.token}\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for word in (b"abc", b"\x00\xff\x01", b"HTTP/1.1"):
            raw.send(word)
            assert raw.read_until(word[::-1]) == word[::-1]
    cluster.first.delete("ws")


def test_a_client_that_leaves_frees_the_slot(cluster):
    place(cluster, "one", "b", scale={"min": 1, "max": 1, "concurrency": 1})
    gone = cluster.first.client.open("GET", "/f/one/sleep?ms=60000")
    until(lambda: cluster.first.client.get("/v1/functions/one").json()["in_flight"] == 1, "it runs")
    gone.close()
    assert cluster.first.call("one", "/x", timeout=20).status == 200
    cluster.first.delete("one")


def test_a_call_that_is_given_up_is_given_up_there(cluster):
    """Else each call of a replica that hangs would have the host hold connections until it speaks."""
    place(cluster, "stuck", "b", scale={"min": 1, "max": 1, "concurrency": 8}, limits={"first_byte": "500ms"})
    assert cluster.first.call("stuck", "/x", timeout=20).status == 200
    uplink = cluster["b"].roles()["uplink"]

    def held():
        return len(os.listdir(f"/proc/{uplink}/fd"))
    before = held()
    calls = [cluster.first.client.background("GET", "/f/stuck/sleep?ms=50000") for _ in range(8)]
    assert {c.result().status for c in calls} == {504}
    until(lambda: held() <= before + 4, "the host holds no more than before, but for connections in stock", 15)
    cluster.first.delete("stuck")


def test_gpus_of_other_nodes(cluster):
    cluster.first.echo("gpu", resources={"gpu": {"count": 2}}, **MANY)
    replica = cluster.first.wait_replicas("gpu", 1)[0]
    assert replica["node"] == "b"
    env = cluster.first.call("gpu", "/env").text
    assert "GANTRY_GPU_BACKEND=sim" in env, env
    cluster.first.delete("gpu")


# ---- what is asked of a node -----------------------------------------------------------------
def test_logs_come_from_where_the_replica_is(cluster):
    cluster.first.shell("talk", "echo from b; exec python3 -m http.server $PORT --bind 127.0.0.1",
                        placement={"labels": {"host": "b"}}, scale={"min": 1})
    cluster.first.wait_replicas("talk", 1)
    until(lambda: "from b" in cluster.first.client.get("/v1/functions/talk/logs").text, "its log is here")
    cluster.first.delete("talk")


def test_a_drain_moves_replicas_from_host_to_host(cluster):
    cluster.first.echo("move", scale={"min": 1, "max": 1, "concurrency": 8})
    replica = cluster.first.wait_replicas("move", 1)[0]
    load = Load(cluster.first.client, "/f/move/x")
    begin = load.served[0]
    until(lambda: load.served[0] > begin + 5, "calls run")
    assert "is drained" in node(cluster, "drain", replica["node"], "--wait")
    after = cluster.first.wait_replicas("move", 1)[0]
    begin = load.served[0]
    until(lambda: load.served[0] > begin + 5, "calls run")
    load.stop()
    node(cluster, "uncordon", replica["node"])
    assert after["node"] != replica["node"] and not load.failed, load.failed[:3]
    cluster.first.delete("move")


# ---- when things break -----------------------------------------------------------------------
@pytest.mark.parametrize("host, role", [("b", "uplink"), ("b", "agent"), ("a", "gateway"), ("a", "control")])
def test_a_role_that_dies_is_missed_for_a_moment(cluster, on_b, host, role):
    pid = cluster.first.replicas(on_b)[0]["pid"]
    assert cluster[host].kill_role(role)
    serves(cluster, on_b, 20)
    cluster.wait_nodes("ready")
    until(lambda: [r["pid"] for r in cluster.first.replicas(on_b, "ready")] == [pid], "the replica goes on")
    assert alive(pid)


def test_a_blackholed_node_is_noticed_by_a_call(cluster):
    """Promise 5: within 3.1 s; its durable calls run once more, elsewhere; others do not feel it."""
    place(cluster, "far", "b", scale={"min": 1, "max": 1, "concurrency": 4})
    place(cluster, "near", "c")
    cluster.first.echo("job", scale={"min": 1, "max": 2, "concurrency": 4}, retry={"max": 5},
                       placement={"labels": {}})
    quiet = Load(cluster.first.client, "/f/near/x", threads=1)
    until(lambda: quiet.served[0] > 50, "others are served")
    before = quiet.slowest
    waiting = cluster.first.client.background("GET", "/f/far/sleep?ms=20000")
    until(lambda: cluster.first.client.get("/v1/functions/far").json()["in_flight"] == 1, "it runs there")
    cut_at = time.monotonic()
    cluster.net.cut("a", "b")
    reply = waiting.result()
    noticed = time.monotonic() - cut_at
    print(f"noticed after {noticed:.2f} s: {reply.status}; others: at most {before * 1000:.0f} ms before, "
          f"{quiet.slowest * 1000:.0f} ms now")
    assert reply.status in (502, 503, 504), reply
    assert noticed < 8, noticed  # by the call, long before the node is lost; the machine may have much else to do
    quiet.stop()
    assert not quiet.failed, quiet.failed[:3]
    cluster.net.heal()
    cluster.wait_nodes("ready")
    serves(cluster, "far")
    for name in ("far", "near", "job"):
        cluster.first.delete(name)


def test_new_calls_go_around_a_host_that_stands_still(own_hosts):
    """Its connections stand, so no call hears of it: but nothing was heard of it for `node_suspect`."""
    hosts = own_hosts("abc", config={"a": "[control]\nnode_lost = 100s\n"})
    first = hosts.first
    memory = first.client.get("/v1/nodes").json()["items"][0]["memory_bytes"]
    first.echo("f", resources={"memory": f"{(memory >> 20) * 6 // 10}MiB"}, scale={"min": 3, "max": 3, "concurrency": 8})
    at = {r["node"]: r["id"] for r in first.wait_replicas("f", 3)}

    def who():
        """At once, so that they spread."""
        calls = [first.client.background("GET", "/f/f/sleep?ms=300", timeout=60) for _ in range(12)]
        replies = [c.result() for c in calls]
        assert {r.status for r in replies} == {200}, replies
        return {r.headers["gantry-replica"] for r in replies}

    until(lambda: who() == set(at.values()), "all three are called")
    with hosts["b"].standing_still():
        hosts.wait_nodes("suspect", "b")
        assert who() == {at["a"], at["c"]}
    hosts.wait_nodes("ready", "b")
    until(lambda: at["b"] in who(), "it is called again")


def test_durable_calls_of_a_blackholed_node_run_once_more(cluster):
    more = {"scale": {"min": 1, "max": 1, "concurrency": 4},
            "retry": {"max": 5, "on": ["crash", "timeout", "502", "503", "504"],
                      "backoff": {"first": "100ms", "most": "200ms"}}}
    cluster.first.put("jobs", {"image": "host:", "command": ["/usr/bin/python3", "-c", SILENT], "port": 8000,
                               "placement": {"labels": {"host": "b"}}, **more})
    cluster.first.wait_replicas("jobs", 1)
    calls = [cluster.first.client.request("POST", "/v1/functions/jobs/calls", "x",
                                          {"Prefer": "respond-async"}).json()["id"] for _ in range(3)]
    until(lambda: cluster.first.client.get("/v1/functions/jobs").json()["in_flight"] == 3, "they run on b")
    cluster.net.cut("a", "b")
    cluster.first.echo("jobs", placement={"labels": {"host": "c"}}, **more)

    def ended():
        views = [cluster.first.client.get(f"/v1/calls/{c}").json() for c in calls]
        return all(v["state"] == "succeeded" for v in views) and views

    views = until(ended, "they ran elsewhere", 40)
    assert [v["attempts"] if isinstance(v["attempts"], int) else len(v["attempts"]) for v in views] == [2, 2, 2], views
    cluster.net.heal()
    cluster.wait_nodes("ready")
    cluster.first.delete("jobs")


def test_a_partition_heals(cluster):
    """Long enough for the node to be lost: its replica is given up, and stopped when the node is back."""
    cluster.first.echo("part", scale={"min": 1, "max": 1, "concurrency": 8})
    replica = cluster.first.wait_replicas("part", 1)[0]
    away = replica["node"]
    if away == "a":  # it is to be on another host
        node(cluster, "drain", "a", "--wait")
        replica = cluster.first.wait_replicas("part", 1)[0]
        away = replica["node"]
    cluster.net.cut("a", away)
    until(lambda: cluster.nodes()[away] == "suspect", "it is suspect", 20)
    assert alive(replica["pid"]), "it goes on alone"
    until(lambda: cluster.nodes()[away] == "lost", "it is lost", 20)
    serves(cluster, "part")
    cluster.net.heal()
    cluster.wait_nodes("ready", away)
    until(lambda: not alive(replica["pid"]), "the one that was given up is stopped")
    until(lambda: len(cluster.first.running("part")) == 1, "one is left", 15)
    node(cluster, "uncordon", "a")
    cluster.first.delete("part")


def test_what_must_not_run_twice_is_stopped_by_the_node_that_is_cut_off(cluster):
    """With `stop_after` the node ends it by itself, before another one has it."""
    for other in "ab":
        node(cluster, "cordon", other)
    cluster.first.echo("once", scale={"min": 1, "max": 1}, limits={"drain": "1s"},
                       disconnect={"stop_after": "5s", "lost_after": "12s"})
    replica = cluster.first.wait_replicas("once", 1)[0]
    assert replica["node"] == "c"
    pid = replica["pid"]
    node(cluster, "uncordon", "b")
    cluster.net.cut("a", "c")
    begin, dead_at, next_at = time.monotonic(), None, None
    while next_at is None and time.monotonic() - begin < 40:
        on_b = any(r["node"] == "b" for r in cluster.first.running("once"))
        if dead_at is None and not alive(pid):
            dead_at = time.monotonic()
        if on_b:
            assert dead_at, "two of them run"
            next_at = time.monotonic()
        time.sleep(0.01)
    assert next_at, "no other one was started"
    print(f"stopped {dead_at - begin:.1f} s after the cut, given to another after {next_at - begin:.1f} s")
    cluster.net.heal()
    node(cluster, "uncordon", "a")
    cluster.wait_nodes("ready")
    cluster.first.delete("once")


@pytest.mark.parametrize("one, other", [("a", "b"), ("b", "a")])
def test_a_cut_of_one_direction_is_a_cut(cluster, on_b, one, other):
    cluster.net.cut(one, other, both=False)
    until(lambda: cluster.nodes()["b"] == "suspect", "it is suspect", 20)
    cluster.net.heal()
    cluster.wait_nodes("ready")
    serves(cluster, on_b)
