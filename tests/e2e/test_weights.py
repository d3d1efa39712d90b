"""Weights that a node reads ahead of its replicas: into the page cache, or into its store; and what becomes of a
replica when that goes wrong."""
import glob
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from harness import FUNCTIONS, Daemon, alive, comm, processes, until
from test_contract import check

MIB = 1 << 20


def model(place, name="a.safetensors", size=24 * MIB):
    """A file of weights that no page cache has."""
    path = pathlib.Path(place) / name
    path.write_bytes(os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB))
    return forget(path)


def forget(path):
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def resident(path):
    """Bytes of it in the page cache."""
    return int(subprocess.run(["fincore", "-bno", "RES", path], capture_output=True, check=True).stdout)


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture
def place():
    """A volume on the disk."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="gantry-e2e-weights-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


def daemon_with(text):
    daemon = Daemon()
    config = daemon.dir / "conf"
    config.write_text("[agent]\nnode = n1\n" + text)
    daemon.config = config
    daemon.start()
    # It listens before its node has joined.
    until(lambda: "weights" in daemon.client.get("/v1/nodes/n1").json(), "its node is known")
    return daemon


@pytest.fixture(scope="module")
def gantry():
    daemon = daemon_with("weight_store = 64MiB\n")
    yield daemon
    daemon.stop()


@pytest.fixture(autouse=True)
def empty(gantry):
    """Nothing of a test that failed is in the way of the next."""
    yield
    remove(gantry, *[f["name"] for f in gantry.client.get("/v1/functions").json()["items"]])


@pytest.fixture
def own(request):
    """A daemon with the settings of the test."""
    daemon = daemon_with(request.param)
    yield daemon
    daemon.stop()


def deploy(gantry, name, place, pattern="*.safetensors", store=False, **more):
    spec = {"image": "host:", "command": ["/usr/bin/python3", "/app/weights.py"], "port": 8000,
            "volumes": [{"host": str(FUNCTIONS), "path": "/app"}, {"host": str(place), "path": "/models/m"}],
            "weights": {"paths": [f"/models/m/{pattern}"], "store": store},
            "resources": {"memory": "256MiB"}, "scale": {"min": 1, "max": 2, "concurrency": 1}}
    gantry.put(name, {**spec, **more})


def replica(gantry, name, n=1):
    return gantry.wait_replicas(name, n)[0]


def progress(gantry, name):
    return next((r["weights"] for r in gantry.replicas(name) if "weights" in r), None)


def is_whole(gantry, name):
    p = progress(gantry, name)
    return p and p["total"] and p["bytes"] + p["resident"] == p["total"] and p


def load(gantry, name, path="a.safetensors", more=""):
    return gantry.ask(name, f"/?path=/models/m/{path}{more}")


def node(gantry):
    reply = gantry.client.get("/v1/nodes/n1")
    check("getNode", reply)
    return reply.json()["weights"]


def remove(gantry, *names):
    for name in names:
        gantry.client.request("DELETE", f"/v1/functions/{name}?force=1")
        until(lambda name=name: not [p for p in gantry.client.get("/v1/functions").json()["items"]
                                     if p["name"] == name], f"{name} is gone")
    until(lambda: not readers(gantry), "nobody reads for it")


def readers(gantry):
    """Processes that find and read weights: process id -> name."""
    found = {pid: comm(pid) for pid in gantry.descendants()}
    return {pid: name for pid, name in found.items() if name in ("gantry-weights", "gantry-scout")}


def why(gantry, name):
    """Of its replicas now: a function of that name may have been there before."""
    ids = {r["id"] for r in gantry.replicas(name)}
    return [e for e in gantry.events(function=name) if e["type"] == "replica.weights" and e["replica"] in ids]


# ---- the page cache -------------------------------------------------------------------------------------------

def test_weights_are_in_memory_though_nobody_read_them(gantry, place):
    files = [model(place, f"{i}.safetensors", 9 * MIB + i) for i in range(3)]
    other = model(place, "not-these.bin", 4 * MIB)
    assert resident(files[0]) == 0
    deploy(gantry, "ahead", place)
    p = until(lambda: is_whole(gantry, "ahead"), "all is read")
    assert p["total"] == sum(f.stat().st_size for f in files) and not p["store"] and "why" not in p, p
    assert all(resident(f) >= f.stat().st_size for f in files)
    assert resident(other) == 0
    replica(gantry, "ahead")
    assert load(gantry, "ahead", "1.safetensors")["read_bytes"] == 0
    check("listReplicas", gantry.client.get("/v1/functions/ahead/replicas"))
    assert node(gantry)["models"] >= 1 and node(gantry)["resident_bytes"] >= p["total"]
    # What is there is found there.
    deploy(gantry, "ahead2", place)
    p = until(lambda: is_whole(gantry, "ahead2"), "all is known")
    assert p["resident"] == p["total"] and p["bytes"] == 0, p
    remove(gantry, "ahead", "ahead2")


def test_what_is_no_file_of_the_volume_is_never_opened(gantry, place):
    os.mkfifo(place / "pipe.safetensors")
    (place / "passwd.safetensors").symlink_to("/etc/passwd")
    (place / "up.safetensors").symlink_to("../../../../etc/hostname")
    (place / "loop.safetensors").symlink_to("loop.safetensors")
    (place / "dir.safetensors").mkdir()
    (place / "empty.safetensors").touch()
    os.mknod(place / "zero.safetensors", 0o600 | 0o020000, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(place / "sock.safetensors"))
    deploy(gantry, "odd", place)
    replica(gantry, "odd")
    event = until(lambda: why(gantry, "odd"), "the event")[0]
    assert event["cause"] == "weights_missing", event
    # A link within is what caches of models are made of.
    (place / "blobs").mkdir()
    model(place / "blobs", "1234", 3 * MIB)
    (place / "in.safetensors").symlink_to("blobs/1234")
    deploy(gantry, "link", place)
    assert until(lambda: is_whole(gantry, "link"), "it is read")["total"] == 3 * MIB
    remove(gantry, "odd", "link")


def test_a_file_with_a_hole(gantry, place):
    path = place / "a.safetensors"
    with open(path, "wb") as f:
        f.truncate(8 * MIB)
        f.seek(6 * MIB + 5)
        f.write(b"not all is empty")
    forget(path)
    for name, store in (("hole", False), ("hole-store", True)):
        deploy(gantry, name, place, store=store)
        until(lambda name=name: is_whole(gantry, name), "it is read")
        replica(gantry, name)
        assert load(gantry, name)["sha256"] == sha256(path)
    remove(gantry, "hole", "hole-store")


# ---- the store ------------------------------------------------------------------------------------------------

def test_replicas_share_one_copy_and_read_no_disk(gantry, place):
    path = model(place, size=24 * MIB + 4097)
    path.chmod(0o640)
    before = node(gantry)["store_used_bytes"]
    deploy(gantry, "shared", place, store=True)
    first = replica(gantry, "shared")
    assert first["weights"] == {"bytes": path.stat().st_size, "resident": 0, "total": path.stat().st_size,
                                "store": True}, first
    assert first["timings"]["weights_ms"] > 0
    assert resident(path) == 0, "its fill goes past the page cache"
    room = node(gantry)
    assert room["store_bytes"] == 64 * MIB and room["store_used_bytes"] == before + 26 * MIB, room
    answer = load(gantry, "shared", more="&write=1")
    assert answer["read_bytes"] == 0 and answer["sha256"] == sha256(path)
    assert answer["dev"] != path.stat().st_dev and answer["mode"] == 0o440
    assert answer["mtime_ns"] == path.stat().st_mtime_ns and answer["written"] in (13, 30), answer
    forget(path)
    deploy(gantry, "shared2", place, store=True)
    second = replica(gantry, "shared2")
    assert second["weights"]["resident"] == path.stat().st_size and second["weights"]["bytes"] == 0, second
    answer = load(gantry, "shared2")
    assert answer["read_bytes"] == 0 and answer["faults"] == 0 and resident(path) == 0
    assert answer["huge_bytes"] == (24 * MIB if node(gantry)["store_huge"] else 0), answer
    assert node(gantry)["store_used_bytes"] == before + 26 * MIB
    explained = gantry.client.get("/v1/functions/shared2/autoscaler/decisions").json()["items"]
    placed = [d for d in explained if d["kind"] == "place"][0]["outcome"]
    assert placed["weights_here"] == placed["weights_total"] == path.stat().st_size, placed
    remove(gantry, "shared", "shared2")


def test_another_version_is_another_copy(gantry, place):
    """As without a store, replicas that run see a file that took the place of theirs; but from its volume."""
    path = model(place, size=4 * MIB)
    deploy(gantry, "old", place, store=True)
    replica(gantry, "old")
    assert load(gantry, "old")["read_bytes"] == 0
    os.replace(model(place, "new", 4 * MIB), path)
    forget(path)
    deploy(gantry, "new", place, store=True)
    assert replica(gantry, "new")["weights"]["bytes"] == 4 * MIB
    answer = load(gantry, "new")
    assert answer["sha256"] == sha256(path) and answer["dev"] != path.stat().st_dev
    answer = load(gantry, "old")
    assert answer["sha256"] == sha256(path) and answer["dev"] == path.stat().st_dev
    remove(gantry, "old", "new")


def test_a_full_store_costs_nobody_a_start_and_unused_copies_go(gantry, place):
    for name, size in (("one", 40), ("two", 40), ("never", 80)):
        (place / name).mkdir()
        model(place / name, size=size * MIB)
    deploy(gantry, "one", place / "one", store=True)
    replica(gantry, "one")
    deploy(gantry, "two", place / "two", store=True)
    p = replica(gantry, "two")["weights"]
    assert p["why"] == "store_full" and p["bytes"] == 0, p
    assert why(gantry, "two")[0]["cause"] == "store_full"
    assert load(gantry, "two")["sha256"] == sha256(place / "two/a.safetensors")
    assert load(gantry, "one")["read_bytes"] == 0
    remove(gantry, "one", "two")
    until(lambda: gantry.client.get("/v1/nodes/n1").json()["replicas"] == 0, "no replica has a copy")
    assert node(gantry)["store_used_bytes"] >= 40 * MIB, "a copy stays for the next one"
    deploy(gantry, "two", place / "two", store=True)
    assert "why" not in replica(gantry, "two")["weights"]
    deploy(gantry, "never", place / "never", store=True)
    assert replica(gantry, "never")["weights"]["why"] == "store_full"
    remove(gantry, "two", "never")


def test_agents_after_a_crash_have_the_store(gantry, place):
    path = model(place, size=30 * MIB)
    deploy(gantry, "kept", place, store=True)
    replica(gantry, "kept")
    used = node(gantry)["store_used_bytes"]
    agent = gantry.roles()["agent"]
    os.kill(agent, signal.SIGKILL)
    until(lambda: gantry.roles().get("agent") not in (None, agent), "another agent")
    until(lambda: node(gantry)["store_used_bytes"] == used, "it has the store")
    assert until(lambda: progress(gantry, "kept"), "its replica is taken up")["store"]
    forget(path)
    # Its replica's copy is in use: there is no room for more than what is left.
    (place / "large").mkdir()
    model(place / "large", size=40 * MIB)
    deploy(gantry, "large", place / "large", store=True)
    assert replica(gantry, "large")["weights"]["why"] == "store_full"
    deploy(gantry, "again", place, store=True)
    assert replica(gantry, "again")["weights"]["resident"] == path.stat().st_size
    assert load(gantry, "again")["read_bytes"] == 0
    remove(gantry, "kept", "again", "large")


@pytest.mark.parametrize("own", [""], indirect=True)
def test_no_store_is_said(own, place):
    path = model(place, size=2 * MIB)
    deploy(own, "none", place, store=True)
    replica(own, "none")
    until(lambda: why(own, "none"), "the event")
    assert why(own, "none")[0]["cause"] == "store_off"
    assert load(own, "none")["sha256"] == sha256(path)


# ---- what dies, and when --------------------------------------------------------------------------------------

def weights_group(gantry, want):
    """Its file that freezes, and what to write there."""
    gantry.remember_traces()
    for name in gantry.groups:
        for path in glob.glob(f"/sys/fs/cgroup/**/{name}/weights/freezer.state", recursive=True):
            return pathlib.Path(path), "FROZEN" if want else "THAWED"
        for path in glob.glob(f"/sys/fs/cgroup/**/{name}/weights/cgroup.freeze", recursive=True):
            return pathlib.Path(path), "1" if want else "0"
    raise AssertionError("there is no group for weights")


def freeze(gantry, want):
    path, text = weights_group(gantry, want)
    path.write_text(text)


class Held:
    """Processes that find and read weights stand still where they begin, until they are let go."""

    def __init__(self, gantry, place):
        self.gantry = gantry
        deploy(gantry, "first", place, pattern="nothing")  # makes the group
        replica(gantry, "first")
        self.agent = gantry.roles()["agent"]
        self.group = weights_group(gantry, True)[0].parent / "cgroup.procs"
        # It may serve before somebody has looked for its weights, who would be held for another one's.
        until(lambda: why(gantry, "first") and not self.group.read_text(), "nobody looks for weights")

    def __enter__(self):
        freeze(self.gantry, True)
        return self

    def __exit__(self, *_):
        os.kill(self.agent, signal.SIGCONT)
        freeze(self.gantry, False)

    def one(self):
        return int(until(lambda: next(iter(self.group.read_text().split()), None), "a process has begun"))

    def next(self):
        """Lets the one that stands still go to its end, and holds the next."""
        pid = self.one()
        os.kill(self.agent, signal.SIGSTOP)
        freeze(self.gantry, False)
        until(lambda: not self.group.read_text().split(), f"{pid} has ended")
        freeze(self.gantry, True)
        os.kill(self.agent, signal.SIGCONT)
        return self.one()


@pytest.mark.parametrize("store", [False, True], ids=["cache", "store"])
@pytest.mark.parametrize("stage", ["scout", "reader"])
def test_a_kill_at_each_stage(gantry, place, stage, store):
    path = model(place, size=6 * MIB)
    used = node(gantry)["store_used_bytes"]
    with Held(gantry, place) as held:
        deploy(gantry, "killed", place, store=store)
        os.kill(held.one() if stage == "scout" else held.next(), signal.SIGKILL)
    replica(gantry, "killed")
    assert until(lambda: why(gantry, "killed"), "the event")[0]["cause"] == "weights_failed"
    assert load(gantry, "killed")["sha256"] == sha256(path)
    assert gantry.roles()["agent"] == held.agent
    assert node(gantry)["store_used_bytes"] <= used, "what was begun for it is gone"
    # The next one is not held back by it.
    deploy(gantry, "next", place, store=store)
    assert "why" not in until(lambda: is_whole(gantry, "next"), "it is read")
    remove(gantry, "first", "killed", "next")


@pytest.mark.parametrize("stage", ["scout", "reader"])
def test_a_removed_function_reads_no_further(gantry, place, stage):
    model(place, size=6 * MIB)
    used = node(gantry)["store_used_bytes"]
    with Held(gantry, place) as held:
        deploy(gantry, "gone", place, store=True)
        pid = held.one() if stage == "scout" else held.next()
        gantry.client.request("DELETE", "/v1/functions/gone?force=1")
        until(lambda: node(gantry)["store_used_bytes"] <= used, "what was begun for it is gone")
    until(lambda: not alive(pid), "nobody reads any more")
    remove(gantry, "first")


def test_a_file_that_shrinks_hurts_its_reader_alone(gantry, place):
    """Its mapping ends before the file's old size: the kernel kills who touches the rest."""
    path = model(place, size=6 * MIB)
    with Held(gantry, place) as held:
        deploy(gantry, "shrunk", place)
        held.next()
        os.truncate(path, 4096)
    replica(gantry, "shrunk")
    assert until(lambda: why(gantry, "shrunk"), "the event")[0]["cause"] == "weights_failed"
    assert gantry.roles()["agent"] == held.agent and alive(held.agent)
    assert load(gantry, "shrunk")["size"] == 4096
    remove(gantry, "first", "shrunk")


@pytest.mark.parametrize("own", ["weight_cache = 16MiB\nweight_read_bps = 50MiB\n"], indirect=True)
def test_what_is_read_ahead_has_a_budget(own, place):
    """Of memory and of the disk's speed."""
    small, large = model(place, "small.bin", 4 * MIB), model(place, "z-large.bin", 16 * MIB)
    with Held(own, place) as held:
        deploy(own, "some", place, "*.bin")
        held.next()
        if os.major(small.stat().st_dev) != 0:
            limits = [pathlib.Path(path).read_text() for name in ("blkio.throttle.read_bps_device", "io.max")
                      for path in glob.glob(f"/sys/fs/cgroup/**/{held.group.parent.parent.name}/weights/{name}", recursive=True)]
            assert re.search(rf"^\d+:\d+ (rbps=)?{50 << 20}\b", "".join(limits), re.M), limits
    replica(own, "some")
    assert until(lambda: why(own, "some"), "the event")[0]["cause"] == "cache_full"
    until(lambda: progress(own, "some")["bytes"] == 4 * MIB, "the first one is there")
    assert resident(small) == 4 * MIB and resident(large) == 0


@pytest.mark.parametrize("own", ["weight_store = 16MiB\nweight_cache = 0\n"], indirect=True)
def test_nothing_is_left(own, place):
    """A daemon that ends and leaves its replicas leaves the store; the next one has it, and cleanup takes it."""
    path = model(place, size=8 * MIB)
    deploy(own, "off", place)
    until(lambda: why(own, "off"), "the event")
    assert why(own, "off")[0]["cause"] == "cache_off"
    deploy(own, "stays", place, store=True)
    replica(own, "stays")
    own.signal(signal.SIGTERM)
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    assert f"{own.state}/agent/weights " in mounts
    own.start()
    until(lambda: own.client.get("/v1/nodes/n1").json().get("weights", {}).get("store_used_bytes") == 8 * MIB,
          "the store is taken up")
    assert load(own, "stays")["read_bytes"] == 0
    own.kill_everything()
    own.cleanup()
    own.assert_nothing_left()
    assert sha256(path)
    assert not any("gantry-weights" in " ".join(argv) for _, _, argv in processes().values())
