"""Hosts that are asked for when no node has room, and given back when nothing runs there: with the provider of
examples/netns-hosts, and with hooks that fail, hang, lie and die in the middle."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import BIN, ROOT, Background, Daemon, Held, crash, until
from hosts import NETNS, Hosts

EXAMPLE = ROOT / "examples/netns-hosts/netns-hosts"
SPEC = {"scale": {"min": 0, "max": 1, "concurrency": 8, "idle": "1s"}, "placement": {"labels": {"pool": "x"}}}


def providers(client):
    return {p["name"]: p for p in client.get("/v1/providers").json()["items"]}


def events(client):
    return client.get("/v1/events?tail=1000").json()["items"]


def states(client, name="p"):
    return [h["state"] for h in providers(client)[name]["hosts"]]


# ---- the example -----------------------------------------------------------------------------
class Example:
    """examples/netns-hosts, in the namespace of the host that has control."""

    def __init__(self, host):
        self.host = host
        self.dir = Path(tempfile.mkdtemp(prefix="gantry-netns-hosts-", dir="/tmp"))
        self.bridge = f"gth{os.getpid() % 100000}"
        self.proc = None

    def words(self, what):
        return ["nsenter", f"--net={self.host.netns_path}", sys.executable, str(EXAMPLE), what, "--dir", str(self.dir / "hosts"),
                "--gantryd", str(BIN / "gantryd"), "--bridge", self.bridge, "--key-file",
                str(self.host.state / "control/webhook.key")]

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.proc = subprocess.Popen(self.words("serve"), stdout=subprocess.PIPE, stderr=log, cwd="/")
        line = Background(self.proc.stdout.readline).result(30).decode()
        assert line.startswith("listening on "), (line, self.log())
        return self

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def log(self):
        return "\n".join(f"== {f}\n{f.read_text()[-4000:]}" for f in [self.dir / "log", *self.dir.glob("hosts/*/log")] if f.exists())

    def stop(self):
        if self.proc:
            self.kill()
        left = [p.name for p in self.dir.glob("hosts/*")]
        subprocess.run(self.words("clean"), check=False, capture_output=True, timeout=120)
        shutil.rmtree(self.dir, ignore_errors=True)
        return left


@pytest.fixture
def cluster():
    conf = ("[provider netns]\nurl = http://127.0.0.1:7070/\nmax = 2\nlabels = pool=x\nidle = 1s\nbackoff = 200ms\n"
            "gpus = 1x80GiB:H100\n")
    hosts = Hosts("a", config={"a": conf})
    example = Example(hosts.first)
    try:
        example.start()
        yield hosts, example
    finally:
        print(example.log(), hosts.log(), *events(hosts.first.client), sep="\n")
        example.stop()
        hosts.stop()


def cli(hosts, *words):
    with hosts.first.inside():
        done = subprocess.run([str(BIN / "gantry"), *words], capture_output=True, text=True, timeout=60, check=True,
                              env={**os.environ, "GANTRY_URL": hosts.first.url, "GANTRY_TOKEN": hosts.first.token})
    return done.stdout


def test_from_no_host_to_one_and_back(cluster):
    hosts, example = cluster
    a = hosts.first
    a.echo("f", **SPEC, resources={"memory": "32MiB", "gpu": {"count": 1, "models": ["H100"]}})
    assert hosts.nodes() == {"a": "ready"}
    call = Held(a.client, "f", timeout=60).begun()  # the host stays as long as it runs
    (host,) = providers(a.client)["netns"]["hosts"]  # one, and no second one for the same call
    key = host["key"]
    assert host["state"] == "up" and host["id"] == f"{example.bridge}-0"
    node = a.client.get(f"/v1/nodes/{key}").json()
    assert node["labels"] == {"pool": "x"} and [g["model"] for g in node["gpus"]] == ["H100"]
    assert a.replicas("f", "ready")[0]["node"] == key
    assert f"host {key} was asked of provider netns" in cli(hosts, "explain", "f")
    assert key in cli(hosts, "providers")
    assert f'gantry_provider_hosts{{provider="netns",state="up"}} 1' in a.client.get("/metrics").text
    call.end()
    # Nothing runs there any more: it goes back, and nothing of it is left.
    until(lambda: not providers(a.client)["netns"]["hosts"], "the host is given back", 60)
    assert hosts.nodes() == {"a": "ready"}
    assert not list(example.dir.glob("hosts/*")) and not (NETNS / f"{example.bridge}-0").exists()
    told = [e["type"] for e in events(a.client) if e["type"].startswith("host.")]
    assert told == ["host.asked", "host.up", "host.releasing", "host.released"], told
    # And once more, by the same way.
    assert a.client.request("POST", "/f/f/", b"again", timeout=60).body.endswith(b"again")
    assert providers(a.client)["netns"]["hosts"][0]["key"] != key


def test_control_and_provider_may_die_meanwhile(cluster):
    """Whatever is killed while a host comes, runs and goes: it is neither lost nor got twice."""
    hosts, example = cluster
    a = hosts.first
    a.echo("f", **SPEC)
    call = Held(a.client, "f", timeout=60)
    until(lambda: any(states(a.client, "netns")), "a host is asked for", 20)
    crash(a, "control")
    call.begun()
    (host,) = providers(a.client)["netns"]["hosts"]
    example.kill()
    call.end()
    crash(a, "control")
    until(lambda: providers(a.client)["netns"].get("error"), "the provider is away", 30)
    assert host["key"] in hosts.nodes()
    example.start()
    until(lambda: not providers(a.client)["netns"]["hosts"], "the host is given back", 60)
    assert hosts.nodes() == {"a": "ready"}


# ---- hooks that are no good ------------------------------------------------------------------
HOOK = """#!{python}
# A hook whose hosts are files, and never join.
import json, os, pathlib, sys, time
at = pathlib.Path({dir!r})
ask = json.load(sys.stdin)
with open(at / "asked", "a") as f:
    f.write(json.dumps(ask) + "\\n")
mode = (at / "mode").read_text()
verb, key = ask["verb"], ask.get("key")
if verb == "create":
    if mode == "refuses":
        print("no machines are left", file=sys.stderr)
        sys.exit(3)
    (at / key).write_text("same" if mode == "lies" else "id-" + key)
    (at / key).rename(at / "hosts" / key)  # whole, or not at all: it may be killed at any moment
    if mode == "hangs":
        time.sleep(1000)
    if mode == "rubbish":
        print("ok")
        sys.exit(0)
    print(json.dumps({{"id": (at / "hosts" / key).read_text()}}))
elif verb == "release":
    if mode == "keeps":
        sys.exit("not now")
    (at / "hosts" / key).unlink(missing_ok=True)
    print("{{}}")
else:
    print(json.dumps({{"hosts": [{{"key": p.name, "id": p.read_text()}} for p in (at / "hosts").iterdir()]}}))
"""


class Hook:
    """The program, and a daemon that calls it."""

    def __init__(self, mode, **more):
        self.dir = Path(tempfile.mkdtemp(prefix="gantry-hook-", dir="/tmp"))
        (self.dir / "hosts").mkdir()
        (self.dir / "asked").touch()
        for path in (self.dir, self.dir / "hosts", self.dir / "asked"):
            path.chmod(0o777)  # control is not root
        self.set(mode)
        hook = self.dir / "hook"
        hook.write_text(HOOK.format(python=sys.executable, dir=str(self.dir)))
        hook.chmod(0o755)
        keys = {"exec": hook, "labels": "pool=x", "idle": "1s", "backoff": "200ms", "join": "https://127.0.0.1:1", **more}
        self.daemon = Daemon()
        self.daemon.config = self.dir / "conf"
        self.daemon.config.write_text("[provider p]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))
        self.daemon.start()
        self.client = self.daemon.client

    def set(self, mode):
        (self.dir / "mode.new").write_text(mode)
        (self.dir / "mode.new").rename(self.dir / "mode")

    def asked(self, verb):
        return [a for a in map(json.loads, (self.dir / "asked").read_text().splitlines()) if a["verb"] == verb]

    def hosts(self):
        return sorted(p.name for p in (self.dir / "hosts").iterdir())

    def need(self, on):
        """A function with a least number of replicas that only a host of it could run."""
        if on:
            self.daemon.echo("f", placement={"labels": {"pool": "x"}}, scale={"min": 1, "max": 1})
        else:
            self.daemon.delete("f")

    def error(self):
        return providers(self.client)["p"].get("error", "")

    def stop(self):
        self.daemon.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture
def hook():
    made = []

    def make(*args, **more):
        made.append(Hook(*args, **more))
        return made[-1]
    yield make
    for one in made:
        one.stop()


def gone(hook):
    """Nothing is left, here or there."""
    until(lambda: not hook.hosts() and not states(hook.client), "all is given back", 60)
    tokens = hook.client.get("/v1/nodes/tokens").json()["items"]
    assert not tokens, tokens


@pytest.mark.parametrize("mode, error, more", [
    ("refuses", "create: exit status 3: no machines are left", {}),
    ("hangs", "create: no answer within 3000 ms", {"timeout": "3s"}),
    ("rubbish", "create: the answer is no JSON object", {}),
])
def test_a_hook_that_fails_is_asked_again_later_and_leaves_nothing(hook, mode, error, more):
    h = hook(mode, max=3, **more)
    h.need(True)
    until(lambda: h.error().startswith(error), f"{error}, not {h.error()}", 60)
    until(lambda: len(h.asked("create")) >= 2, "it is asked again", 60)
    keys = [a["key"] for a in h.asked("create")]
    assert len(set(keys)) == len(keys)  # each at most once
    h.need(False)
    gone(h)


def test_an_id_that_is_there_already_is_not_believed(hook):
    h = hook("lies", max=2, min=2)
    until(lambda: "is another host's" in h.error() or "is there twice" in h.error(), "it is found out", 60)
    h.set("good")
    until(lambda: len(h.hosts()) == 2 and states(h.client) == ["starting"] * 2, "two real ones", 60)
    ids = [x["id"] for x in providers(h.client)["p"]["hosts"]]
    assert len(set(ids)) == 2


def test_a_host_that_never_joins_is_given_back_and_another_one_asked_for(hook):
    h = hook("good", start_timeout="2s")
    h.need(True)
    until(lambda: len(h.asked("create")) >= 2, "another one is asked for", 60)
    assert h.error() == "a host did not join in time"
    until(lambda: h.asked("release"), "the first one is given back", 30)  # at the same time
    first = h.asked("create")[0]
    assert first["offer"]["labels"] == {"pool": "x"} and first["token"].startswith("gtj_")
    assert [a["key"] for a in h.asked("release")][0] == first["key"]
    h.need(False)
    gone(h)


def test_control_is_killed_after_the_hook_has_made_a_host_and_before_it_said_so(hook):
    h = hook("hangs", timeout="10m")
    h.need(True)
    until(h.hosts, "the hook has made one", 60)
    (key,) = h.hosts()
    assert states(h.client) == ["asked"]
    h.set("good")
    crash(h.daemon, "control")
    # It is found by asking for the list, and is waited for.
    until(lambda: [(x["key"], x.get("id"), x["state"]) for x in providers(h.client)["p"]["hosts"]] ==
          [(key, f"id-{key}", "starting")], "it is known by its name", 60)
    assert [a["key"] for a in h.asked("create")] == [key]
    # It vanishes, which the next control finds out, and asks for another one.
    (h.dir / "hosts" / key).unlink()
    crash(h.daemon, "control")
    until(lambda: len(h.asked("create")) == 2 and len(h.hosts()) == 1, "there is another one", 60)
    until(lambda: key not in [x["key"] for x in providers(h.client)["p"]["hosts"]], "the first one is forgotten", 60)


def test_what_nobody_asked_for_is_given_back(hook):
    """As after the database was restored from a copy: the provider has hosts that are in no row."""
    h = hook("good")
    forgotten = h.dir / "hosts" / "p-01arz3ndektsv4rrffq69g5fav"
    other = h.dir / "hosts" / "somebody-elses"
    for file in (forgotten, other):
        file.write_text(f"id-{file.name}")
    crash(h.daemon, "control")
    until(lambda: not forgotten.exists(), "it is given back", 30)
    assert other.exists()
    assert [a["key"] for a in h.asked("release")] == [forgotten.name]
    other.unlink()


def test_a_release_is_asked_for_until_it_is_done(hook):
    h = hook("good", start_timeout="1s")
    h.need(True)
    until(h.hosts, "there is one", 30)
    h.set("keeps")
    until(lambda: "release: exit status 1: not now" in h.error(), "it is not taken back", 60)
    h.need(False)
    assert h.hosts() and states(h.client).count("releasing") >= 1
    h.set("good")
    gone(h)


def test_the_least_number_is_always_there(hook):
    h = hook("good", min=2, max=3)
    until(lambda: len(h.hosts()) == 2, "two", 30)
    assert len(h.asked("create")) == 2
