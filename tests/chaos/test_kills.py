"""Each role is killed 200 times at random points while durable calls are made and run: nothing that was acknowledged is
lost, no result is recorded twice, and a request that was repeated is one call.

Many pairs of hosts at once, as a role that has just begun is given a pause before it begins again. KILLS is how many of
each role, in all pairs together; SEED repeats a run's choices.
"""
import collections
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import random
import signal
import sqlite3
import threading
import time

import figures
from fake_gpu import FakeDriver
from harness import SLOW, alive, children, comm, until
from hosts import Hosts
from registry import ECHO_CONFIG, OCI, digest_of, tar_of

KILLS = int(os.environ.get("KILLS", "200"))
PAIRS = int(os.environ.get("PAIRS", "8"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
ROLES = ("control", "gateway", "agent", "uplink", "supervisor", "gpud", "images", "replica")
RETRY = {"max": 100, "on": ["crash", "timeout", "502", "503", "504"], "backoff": {"first": "10ms", "most": "200ms"}}


class Images(http.server.ThreadingHTTPServer):
    """A registry that has an image for whatever name it is asked for, never the same."""

    def __init__(self, host):
        self.blobs = {}
        with host.inside():
            super().__init__(("127.0.0.1", 0), Images.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def blob(self, data, media):
        self.blobs[digest_of(data)] = data
        return {"mediaType": OCI + media, "digest": digest_of(data), "size": len(data)}

    def manifest(self):
        layer = tar_of({"noise": os.urandom(100000)})
        config = {"architecture": "amd64", "os": "linux", "config": ECHO_CONFIG,
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
        return json.dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                           "config": self.blob(json.dumps(config).encode(), "config.v1+json"),
                           "layers": [self.blob(layer, "layer.v1.tar")]}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[1]
            blobs = self.server.blobs
            if "/manifests/" in self.path and not name.startswith("sha256:"):
                blobs[name] = blobs.get(name) or self.server.manifest()
                blobs[digest_of(blobs[name])] = blobs[name]
            data = blobs[name]
            self.send_response(200)
            self.send_header("Content-Type", OCI + "manifest.v1+json")
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(data).hexdigest())
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_):
            pass


class Worker(threading.Thread):
    """Goes on until it is told to end; what went wrong in it is the test's."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.error = pair, None
        self.client = lambda: pair.hosts.first.client

    def run(self):
        try:
            for n in range(1 << 30):
                if self.pair.stop.is_set():
                    break
                self.one(n)
        except Exception as e:  # shown by the test
            self.error = e

    def insist(self, *request, **more):
        """Until there is an answer that is no 503."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = self.client().request(*request, timeout=20, **more)
                if reply.status != 503:
                    return reply
            if self.pair.dead.is_set():
                raise RuntimeError("the pair has ended")
            time.sleep(0.02)


class Submitter(Worker):
    """Durable calls, each repeated with its key until it is acknowledged."""

    def __init__(self, pair, number):
        super().__init__(pair)
        self.number, self.acknowledged = number, {}

    def make(self, function, key, path, body, answer):
        reply = self.insist("POST", f"/v1/functions/{function}/calls?path={path}", body,
                            {"Prefer": "respond-async", "Idempotency-Key": key, "Content-Type": "text/plain"})
        assert reply.status == 202, reply
        self.acknowledged[key] = (reply.json()["id"], answer)

    def one(self, n):
        key = f"{self.number}-{n}"
        body = f"call {key} " + "x" * (n * 7919 % 90000 if n % 10 == 0 else 20)
        if n % 2:
            self.make("job", key, f"/sleep?ms={n % 40}", body, "slept\n")
        else:
            self.make("job", key, "/", body, body)
        self.pair.stop.wait(0.05)


class Puller(Worker):
    """Images, each asked for until it is there."""
    done = 0

    def one(self, n):
        ask = {"image": f"127.0.0.1:{self.pair.images.server_port}/noise:{n}"}
        while not self.pair.stop.is_set():
            reply = self.insist("POST", "/v1/images/pull?node=a", ask)
            end = json.loads(reply.text.splitlines()[-1]) if reply.status == 200 and reply.text else {}
            if "image" in end:
                self.done += 1
                return
            time.sleep(0.02)


class Pair:
    """Host a with control, host b that has joined it, and what is done to them."""

    def __init__(self, number, kills, folder):
        self.rng = random.Random(SEED * 100 + number)
        self.order = [role for role in ROLES for _ in range(kills)]
        self.rng.shuffle(self.order)
        self.kills = collections.Counter()
        self.stop, self.dead, self.error = threading.Event(), threading.Event(), None
        folder.mkdir()
        self.driver = FakeDriver(folder, 1)
        self.hosts = Hosts("ab", gpus={"b": self.driver.config().removeprefix("gpus = ").strip()})
        self.images = Images(self.hosts["a"])
        self.victims = [f"r{i}" for i in range(kills)]
        self.hosts.first.echo("job", scale={"min": 1, "max": 2, "concurrency": 8}, retry=RETRY)
        for name in self.victims:
            self.hosts.first.echo(name, scale={"min": 1, "max": 1, "concurrency": 4}, retry=RETRY)
        self.submitters = [Submitter(self, i) for i in range(2)]
        self.replica_calls = Submitter(self, 9)  # made by the nemesis itself
        self.workers = [*self.submitters, Puller(self)]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            for worker in self.workers:
                worker.start()
            for role in self.order:
                time.sleep(self.rng.uniform(0, 0.05))
                while not self.kill(role):
                    pass
        except Exception as e:  # shown by the test
            self.error = e
        self.stop.set()

    def kill(self, role):
        if role == "supervisor":
            return self.kill_supervisor(self.hosts[self.rng.choice("ab")])
        if role == "replica":
            return self.kill_replica(self.victims[self.kills["replica"]])
        return self.end(role, until(lambda: self.find(role), f"there is a {role}", 60, 0.02))

    def end(self, role, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills[role] += 1
        return True

    def find(self, role):
        a, b = self.hosts["a"], self.hosts["b"]
        if role in ("control", "gateway"):
            return a.roles().get(role)
        if role == "uplink":
            return b.roles().get(role)
        if role == "agent":
            return self.rng.choice((a, b)).roles().get(role)
        host = b if role == "gpud" else a
        agent = host.roles().get("agent")
        for pid in children(agent) if agent else []:
            if comm(pid) == f"gantry-{role}":
                return pid
        # One that died often is given a long pause, which ends with the agent.
        if role == "gpud" and agent and self.rng.random() < 0.02:
            self.end("agent", agent)
        return None

    def kill_supervisor(self, host):
        roles = host.roles().values()
        self.end("supervisor", host.proc.pid)
        host.proc.wait()
        host.proc.stdout.close()
        until(lambda: not any(alive(p) for p in roles), "its roles have ended", 60, 0.02)
        host.start(60)
        return True

    def kill_replica(self, name):
        """While it has a call."""
        self.replica_calls.make(name, f"9-{name}", "/sleep?ms=300", "x", "slept\n")

        def pid():
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
                ready = self.hosts.first.replicas(name, "ready")
                return ready and ready[0]["pid"]

        found = until(pid, f"{name} runs", 60, 0.02)
        time.sleep(self.rng.uniform(0, 0.2))
        return self.end("replica", found)

    def finish(self):
        assert not self.error, (SEED, self.error)
        for worker in self.workers:
            worker.join(60)
            assert not worker.is_alive() and not worker.error, (SEED, worker.error)
        self.hosts.wait_nodes("ready", timeout=60)
        until(lambda: self.db("SELECT count(*) FROM tasks WHERE state < 3") == [(0,)], "every call has ended", 60)
        acknowledged = {k: v for s in (*self.submitters, self.replica_calls) for k, v in s.acknowledged.items()}
        assert len({call for call, _ in acknowledged.values()}) == len(acknowledged), SEED
        self.check(acknowledged)
        return len(acknowledged)

    def db(self, text):
        with contextlib.closing(sqlite3.connect(self.hosts.first.state / "control/gantry.db", timeout=30)) as db:
            return db.execute(text).fetchall()

    def check(self, acknowledged):
        """The record against what callers were told: by the rows themselves, and by the API."""
        rows = {row[0]: row[1:] for row in self.db("SELECT id, seq, state, key FROM tasks")}
        good = dict(self.db("SELECT seq, count(*) FROM task_attempts WHERE status = 200 GROUP BY seq"))
        results = dict(self.db("SELECT seq, count(*) FROM task_results GROUP BY seq"))
        assert len(rows) == len({key for _, _, key in rows.values()}), (SEED, "a key made two calls")
        for key, (call, _) in acknowledged.items():
            assert call in rows, (SEED, key, "lost")
            seq, state, own = rows[call]
            assert own == key and state == 3, (SEED, key, state)
            assert good[seq] == 1 and results[seq] == 1, (SEED, key, good.get(seq), results.get(seq))
        for key in self.rng.sample(sorted(acknowledged), min(20, len(acknowledged))):
            call, answer = acknowledged[key]
            reply = self.hosts.first.client.get(f"/v1/calls/{call}/result")
            assert reply.status == 200 and reply.text.endswith(answer), (SEED, key, reply)

    def close(self):
        self.dead.set()
        self.stop.set()
        self.thread.join(90)
        self.images.shutdown()
        self.images.server_close()
        os.close(self.driver.kmsg_fd)
        self.hosts.stop()


def test_each_role_is_killed_and_nothing_acknowledged_is_lost(tmp_path):
    print(f"SEED={SEED} KILLS={KILLS}")
    signal.alarm((180 + 2 * KILLS) * SLOW)
    tmp_path.chmod(0o755)
    begin, pairs = time.monotonic(), []
    try:
        for i in range(PAIRS):
            pairs.append(Pair(i, -(-KILLS // PAIRS), tmp_path / f"pair-{i}"))
        print(f"up after {time.monotonic() - begin:.1f} s")
        for pair in pairs:
            pair.thread.start()
        for pair in pairs:
            pair.thread.join()
        print(f"killed after {time.monotonic() - begin:.1f} s")
        calls = sum(pair.finish() for pair in pairs)
        print(f"checked after {time.monotonic() - begin:.1f} s")
    except BaseException:
        for pair in pairs:
            print(pair.hosts.log())
        raise
    finally:
        with contextlib.ExitStack() as ends:
            for pair in pairs:
                ends.callback(pair.close)
    kills = dict(sum((pair.kills for pair in pairs), collections.Counter()))
    pulls = sum(w.done for pair in pairs for w in pair.workers if isinstance(w, Puller))
    assert all(kills[role] >= KILLS for role in ROLES), kills
    figures.note("kills", kills=kills, acknowledged=calls, lost=0, twice=0, pulls=pulls)
    print(f"{calls} calls, {pulls} images, kills {kills}, {time.monotonic() - begin:.1f} s")
