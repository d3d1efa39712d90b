"""F12: what clients lose while a daemon becomes a newer program and the one before again, under load: on one host, and on
three of mixed versions. OLD names the revision to come from; else it is the newest release, or, while there is none, the first
revision whose program reads today's databases. It is built once, below build/old. REQUESTS (50,000) are made at least."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import bench
from gateway_rig import LOAD, LOAD_CORE, many_descriptors, progress
from harness import BIN, OUT, ROOT, Daemon, until
from hosts import Hosts

REQUESTS = int(os.environ.get("REQUESTS", "50000"))
FIRST = "b6a76be"  # of main; see docs/operating.md
REFUSED = "upgrade: a role is just being started; try again"  # as older versions say


def git(*words):
    done = subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


class Old:
    """The program of another revision."""

    def __init__(self):
        tag = git("tag", "--list", "v[0-9]*", "--sort=-version:refname").split("\n")[0]
        self.name = os.environ.get("OLD") or tag or FIRST
        self.sha = git("rev-parse", f"{self.name}^{{commit}}")
        if not self.sha:
            raise AssertionError(f"there is no revision {self.name}")
        self.tree = OUT / "old" / self.sha
        self.program = self.tree / "build/gantryd"
        # Before this a program refuses each database of a newer one; before those there were no other hosts.
        self.goes_back = bool(git("grep", "-l", "min_reader", self.sha, "--", "src/store/migrate.c"))
        self.has_hosts = bool(git("ls-tree", self.sha, "src/uplink"))
        if not self.program.exists():
            self.build()

    def build(self):
        progress(f"building {self.name}")
        self.tree.mkdir(parents=True, exist_ok=True)
        archive = subprocess.Popen(["git", "-c", "safe.directory=*", "-C", ROOT, "archive", self.sha], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", self.tree], stdin=archive.stdout, check=True)
        archive.stdout.close()
        assert archive.wait() == 0
        subprocess.run(["make", "-C", self.tree, "-j2", "build/gantryd", "build/gantry-preflight"], check=True,
                       stdout=subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))})


def put_program(daemon, program):
    """As a package manager does it."""
    for name in ("gantryd", "gantry-preflight"):
        new = daemon.program.with_name(name + ".new")
        shutil.copy(program.with_name(name), new)
        new.rename(daemon.program.with_name(name))


def become(daemon, program):
    put_program(daemon, program)
    before, refusals = set(daemon.roles().values()), daemon.log().count(REFUSED)
    daemon.proc.send_signal(signal.SIGUSR2)

    def is_new():
        nonlocal refusals
        if (now := daemon.log().count(REFUSED)) > refusals:
            refusals = now
            daemon.proc.send_signal(signal.SIGUSR2)
        roles = daemon.roles()
        return len(roles) == len(daemon.roles_of) and not set(roles.values()) & before

    until(is_new, "all roles are new", 60)
    assert os.path.samefile(f"/proc/{daemon.proc.pid}/exe", daemon.program)


class Calls:
    """The load generator, on a new connection for each call, until it is ended."""

    def __init__(self, daemon, path, conns=16):
        words = [LOAD, "churn", f"port={daemon.address[1]}", f"host={daemon.address[0]}", f"path={path}",
                 f"token={daemon.token}", f"core={LOAD_CORE}", f"conns={conns}"]
        inside = [f"nsenter --net={daemon.netns_path}"] if hasattr(daemon, "netns_path") else []
        self.path = path
        self.proc = subprocess.Popen([*" ".join(inside).split(), *map(str, words)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        assert self.proc.stdout.readline() == "running\n"

    def end(self):
        self.proc.stdin.close()
        got = json.loads(self.proc.stdout.readline())
        self.proc.wait(60)
        self.proc.stdout.close()
        return got["requests"], got["errors"]


class Kept(threading.Thread):
    """Calls over one connection that is kept."""

    def __init__(self, daemon, path):
        super().__init__(daemon=True)
        self.conn = daemon.client.open("GET", path)
        self.path, self.token = path, daemon.token
        self.ended, self.n, self.failed = threading.Event(), 0, []
        self.start()

    def run(self):
        while True:
            try:
                answer = self.conn.getresponse()
                text = answer.read()
                if answer.status != 200:
                    self.failed.append((answer.status, text[:300]))
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
                self.conn.close()
            self.n += 1
            if self.ended.is_set():
                break
            self.conn.request("GET", self.path, headers={"Authorization": f"Bearer {self.token}"})
        self.conn.close()

    def end(self):
        self.ended.set()
        self.join(60)
        return self.n, len(self.failed)


class Durable(threading.Thread):
    """Durable calls, one after the other; what was acknowledged is remembered. Where the answer says so it is asked again,
    with the same key, so that it is one call whatever became of the first try."""

    def __init__(self, daemon, function):
        super().__init__(daemon=True)
        self.gantry, self.function = daemon, function
        self.ended, self.ids, self.failed, self.again = threading.Event(), [], [], 0
        self.start()

    def ask(self, key):
        return self.gantry.client.request("POST", f"/v1/functions/{self.function}/calls?path=/x", b"x",
                                          {"Prefer": "respond-async", "Idempotency-Key": key})

    def run(self):
        while not self.ended.wait(0.01):
            try:
                key = f"{id(self)}-{len(self.ids)}-{len(self.failed)}"
                reply = self.ask(key)
                if reply.status == 503 and "Retry-After" in reply.headers:
                    self.again += 1
                    time.sleep(int(reply.headers["Retry-After"]))
                    reply = self.ask(key)
                if reply.status in (200, 202):
                    self.ids.append(reply.json()["id"])
                else:
                    self.failed.append(reply.text)
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))

    def end(self):
        """How many were made, not taken, and taken without coming to a result."""
        self.ended.set()
        self.join(60)
        lost = 0
        for call in self.ids:
            reply = self.gantry.client.get(f"/v1/calls/{call}?wait=30s")
            lost += reply.status != 200 or reply.json()["state"] != "succeeded"
        return len(self.ids) + len(self.failed), len(self.failed), lost


def known(reply):
    return reply if reply.status != 404 else None


class Trial:
    """A load over functions, and what came of it, round by round."""

    def __init__(self, daemon, *functions):
        self.gantry, self.functions, self.n = daemon, functions, 0
        self.requests = self.failed = self.made = self.refused = self.lost = self.again = 0
        daemon.echo("again", scale={"idle": "1s"})

    @contextlib.contextmanager
    def load(self):
        made = [kind(self.gantry, f"/f/{f}/x") for f in self.functions for kind in (Calls, Kept)]
        durable = Durable(self.gantry, self.functions[0])
        yield
        for t in made:
            n, failed = t.end()
            self.requests += n
            self.failed += failed
            if isinstance(t, Kept) and failed:
                progress(f"{t.path}: {t.failed[:5]}")
        if durable.failed:
            progress(f"durable: {durable.failed[:5]}")
        n, refused, lost = durable.end()
        self.made += n
        self.refused += refused
        self.lost += lost
        self.again += durable.again

    def cold(self, where=None):
        """Calls for which a replica has to be started: of a new function, and of one that there was."""
        more = {"placement": {"labels": {"host": where}}} if where else {}
        self.n += 1
        name = f"cold{self.n}"
        self.gantry.echo(name, scale={"idle": "1s"}, **more)
        for function in (name, "again"):
            until(lambda f=function: not self.gantry.running(f), f"{function} is at zero", 60)
            # Two gateways hear of a new function one after the other.
            reply = until(lambda f=function: known(self.gantry.call(f, timeout=60)), f"{function} is known")
            self.requests += 1
            if reply.status != 200:
                self.failed += 1
                progress(f"{function}: {reply}")
        self.gantry.delete(name)


def echo_here(daemon, name, **more):
    daemon.echo(name, scale={"min": 1, "max": 1, "concurrency": 100}, **more)
    return daemon.wait_replicas(name, 1, timeout=60)[0]


def goes_on(daemon, name, replica):
    now = daemon.wait_replicas(name, 1)[0]
    return (now["id"], now["pid"]) == (replica["id"], replica["pid"])


def one_host(old):
    daemon = Daemon()
    daemon.program = daemon.dir / "gantryd"
    put_program(daemon, old.program)
    daemon.start(30)
    changes = 0
    try:
        replica = echo_here(daemon, "warm")
        trial = Trial(daemon, "warm")
        while not changes or (old.goes_back and trial.requests < REQUESTS):
            with trial.load():
                for program in (BIN / "gantryd", old.program):
                    if program == old.program and not old.goes_back:
                        time.sleep(10)  # of load on what has become of it
                        continue
                    become(daemon, program)
                    trial.cold()
                    changes += 1
            progress(f"one host: {changes} changes, {trial.requests:,} requests, {trial.failed} failed")
        same = goes_on(daemon, "warm", replica)
    finally:
        daemon.stop()
    return changes, trial, same


class OldHosts(Hosts):
    """All begin with the old program."""

    def __init__(self, old, *args, **more):
        self.old = old
        super().__init__(*args, **more)

    def prepare(self, names):
        super().prepare(names)
        for host in self.all.values():
            put_program(host, self.old.program)


def several_hosts(old):
    """Control is the first to be newer, and the last to go back."""
    new = BIN / "gantryd"
    hosts = OldHosts(old, "abc")
    try:
        first = hosts.first
        kept = {f: echo_here(first, f, placement={"labels": {"host": h}}) for f, h in (("far", "b"), ("near", "c"))}
        trial = Trial(first, *kept)
        with trial.load():
            for name, program in [(n, new) for n in "abc"] + [(n, old.program) for n in "cba"]:
                become(hosts[name], program)
                hosts.wait_nodes("ready", timeout=30)
                for where in "bc":
                    trial.cold(where)
                progress(f"hosts: {name} is {'new' if program == new else 'old'}")
        same = all(goes_on(first, f, replica) for f, replica in kept.items())
    finally:
        hosts.stop()
    return trial, same


def of(trial, same, id, what):
    return [bench.row(id, f"{what}, {trial.requests:,} requests: failed", trial.failed, "", goal="0",
                      passed=trial.failed == 0 and (id != "F12" or trial.requests >= REQUESTS)),
            bench.row(f"{id}.durable", f"{trial.made:,} durable calls meanwhile, {trial.again} of them asked twice: "
                      "not taken, or lost", trial.refused + trial.lost,
                      "", goal="0", passed=trial.refused + trial.lost == 0),
            bench.row(f"{id}.replicas", "replicas that were there before and did not go on", 0 if same else 1, "", goal="0",
                      passed=same)]


def rows():
    many_descriptors()
    old = Old()
    changes, trial, same = one_host(old)
    made = of(trial, same, "F12", f"{changes} changes of the program between {old.name} and this under load")
    if old.has_hosts:
        trial, same = several_hosts(old)
        made += of(trial, same, "F12.hosts", "three hosts under load, one by one to this and back")
    return made


if __name__ == "__main__":
    bench.write("upgrades", rows())
