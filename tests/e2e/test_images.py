"""Functions whose image comes from a registry, or was uploaded; what a node keeps of them."""
import base64
import contextlib
import gzip
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from harness import BIN, Background, Daemon, children, comm, until
from registry import (ECHO_CONFIG, FILES_CONFIG, OCI, Gate, Registry, digest_of, echo_layer, files_layer, tar_of,
                      zstd)


BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def registry():
    r = Registry()
    yield r
    r.close()


@pytest.fixture(scope="module")
def daemon():
    d = Daemon()
    d.start()
    yield d
    d.stop()


def lines(reply):
    return [json.loads(line) for line in reply.text.splitlines() if line]


def pull(daemon, image):
    return lines(daemon.client.request("POST", "/v1/images/pull", {"image": image}))[-1]


def images(daemon):
    return {i["digest"]: i for i in daemon.client.get("/v1/images").json()["items"]}


def store(daemon):
    return daemon.state / "agent" / "images"


def agent_children(daemon, name):
    return [p for p in children(daemon.roles()["agent"]) if comm(p) == name]


def test_smallest_deploy(daemon, registry):
    digest = registry.push("team/echo", "1", [echo_layer()], ECHO_CONFIG)
    reply = daemon.put("smallest", {"image": f"{registry.host}/team/echo:1"}).json()
    assert reply["spec"]["image"] == f"{registry.host}/team/echo:1@{digest}"
    assert reply["spec"]["port"] == 8000
    answer = daemon.call("smallest", "/hello")
    assert answer.status == 200, answer
    replica = daemon.replicas("smallest", "ready")[0]
    assert daemon.client.get(f"/v1/functions/smallest/replicas/{replica['id']}").json()["timings"]["image_ms"] > 0
    assert images(daemon)[digest]["in_use"]


def inodes(folder):
    """name -> inode of what is there, without what is removed at this moment."""
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_ino
    return found


def check_layers(daemon, registry, compress):
    low = tar_of({"app/old": b"old", "app/kept": b"kept", "gone/inside": b"x", "link": "app/kept"})
    high = tar_of({"app/.wh.old": b"", "app/new": b"new", "gone/.wh..wh..opq": b"", "gone/fresh": b"fresh"})
    repo = f"team/layers-{compress or 'plain'}"
    digest = registry.push(repo, "1", [files_layer(), low, high], FILES_CONFIG, compress)
    name = f"layers-{compress or 'plain'}"
    daemon.put(name, {"image": f"{registry.host}/{repo}:1"})
    assert daemon.call(name, "/app/new").text == "new"
    assert daemon.call(name, "/app/kept").text == "kept"
    assert daemon.call(name, "/link").text == "kept"
    assert daemon.call(name, "/gone/fresh").text == "fresh"
    assert daemon.call(name, "/app/old").status == 404
    assert daemon.call(name, "/gone/inside").status == 404
    return name, digest


@pytest.mark.parametrize("compress", ["gzip", "zstd", ""])
def test_layers_and_whiteouts(daemon, registry, compress):
    check_layers(daemon, registry, compress)
    assert not list((store(daemon) / "trees").iterdir())


def check_opaque_root(daemon, registry):
    """A layer whose root is opaque shows nothing of what lies below it, be that its image's or a bundle's base."""
    low = tar_of({"low": b"low", "app/low": b"low"})
    high = tar_of({"./": None, "./.wh..wh..opq": b"", "bin/busybox": pathlib.Path("/bin/busybox").read_bytes(),
                   "app/high": b"high"})
    registry.push("team/opaque", "1", [files_layer(), low, high, tar_of({"app/top": b"top"})], FILES_CONFIG)
    bundle = zstd(tar_of({".wh..wh..opq": b"", "bin/busybox": pathlib.Path("/bin/busybox").read_bytes(),
                          "app/own": b"own"}))
    daemon.put("opaque", {"image": f"{registry.host}/team/opaque:1"})
    assert [daemon.call("opaque", p).text for p in ("/app/high", "/app/top")] == ["high", "top"]
    assert [daemon.call("opaque", p).status for p in ("/low", "/app/low")] == [404, 404]
    upload(daemon, bundle)
    daemon.put("over-opaque", {"image": f"bundle:{digest_of(bundle)}", "base": f"{registry.host}/team/opaque:1"})
    assert daemon.call("over-opaque", "/app/own").text == "own"
    assert [daemon.call("over-opaque", p).status for p in ("/app/high", "/app/top", "/low")] == [404, 404, 404]


def test_opaque_root(daemon, registry):
    check_opaque_root(daemon, registry)


def test_unpacked_layers(registry):
    """The same image out of directories: unpacked once a layer, found again, removed with the image."""
    daemon = Daemon()
    trees = store(daemon) / "trees"
    try:
        (daemon.dir / "conf").write_text("[agent]\nimage_extract = always\n")
        daemon.config = daemon.dir / "conf"
        daemon.start()
        name, digest = check_layers(daemon, registry, "gzip")
        assert trees.stat().st_mode & 0o7777 == 0o700  # what is setuid in there is nobody's outside
        made = inodes(trees)
        assert set(made) == {p.stem for p in (store(daemon) / "layers").glob("*.tar")} and len(made) == 3
        daemon.put("again", {"image": f"{registry.host}/team/layers-gzip:1"})
        assert daemon.call("again", "/app/new").text == "new"
        daemon.signal(signal.SIGTERM)
        (trees / "part").mkdir()
        (trees / "part" / "half").write_bytes(b"x")
        daemon.start()
        until(lambda: inodes(trees) == made, "the half one is removed")
        assert daemon.call(name, "/app/new").text == "new"
        data = zstd(tar_of({"app/new": b"bundle"}))
        upload(daemon, data)
        daemon.put("over", {"image": f"bundle:{digest_of(data)}", "base": f"{registry.host}/team/layers-gzip:1"})
        assert daemon.call("over", "/app/new").text == "bundle"
        for function in (name, "again", "over"):
            daemon.delete(function)
        assert digest in images(daemon)
        until(lambda: not any(i["in_use"] for i in images(daemon).values()), "no replica has one")
        assert daemon.client.request("POST", "/v1/images/gc?all=1").json()["images"] == 2
        until(lambda: not list(trees.iterdir()), "the directories are removed")
    finally:
        daemon.stop()


def test_killed_while_unpacking(registry):
    """A layer that was being unpacked when the agent was killed is unpacked anew."""
    many = tar_of({f"d{i // 100}/f{i}": b"x" for i in range(40000)})
    registry.push("team/many", "1", [echo_layer(), many], ECHO_CONFIG)
    daemon = Daemon()
    trees = store(daemon) / "trees"
    try:
        (daemon.dir / "conf").write_text("[agent]\nimage_extract = always\n")
        daemon.config = daemon.dir / "conf"
        daemon.start()
        pull(daemon, f"{registry.host}/team/many:1")
        daemon.put("many", {"image": f"{registry.host}/team/many:1", "scale": {"min": 1}})
        until(lambda: (trees / "part" / "d1").exists(), "it is unpacked", 30)
        child, = agent_children(daemon, "gantry-files")
        daemon.kill_everything()
        until(lambda: comm(child) != "gantry-files", "the child ends with its agent", 30)
        daemon.start()
        assert daemon.call("many", timeout=120).status == 200  # 40000 files on a busy disk
        assert not (trees / "part").exists()
    finally:
        daemon.stop()


def test_full_disk_while_unpacking(registry, tmp_path):
    registry.push("team/room", "1", [echo_layer(), tar_of({"large": os.urandom(16 << 20)})], ECHO_CONFIG)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=28m,mode=0755", "none", tmp_path], check=True)
    daemon = Daemon(state=tmp_path / "state")
    try:
        (daemon.dir / "conf").write_text("[agent]\nimage_extract = always\nimage_disk = 0\n")
        daemon.config = daemon.dir / "conf"
        daemon.start()
        assert "image" in pull(daemon, f"{registry.host}/team/room:1")
        daemon.put("room", {"image": f"{registry.host}/team/room:1"})
        assert daemon.call("room").json()["cause"] == "storage_full"
        until(lambda: len(list((store(daemon) / "trees").iterdir())) < 2, "the half one is removed")
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path], check=True)
        daemon.put("again", {"image": f"{registry.host}/team/room:1"})
        assert daemon.call("again").status == 200
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", tmp_path], check=True)


def connections(port):
    """To a port of the loopback interface, established."""
    rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "01" for row in rows)


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_pulling(signo):
    """A registry that never answers holds up neither a deletion nor the end of the daemon, however long calls
    may drain: who waits for it is told that the daemon stops."""
    daemon = Daemon()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        try:
            (daemon.dir / "conf").write_text("[gateway]\ndrain = 1h\n")
            daemon.config = daemon.dir / "conf"
            daemon.start()
            image = f"127.0.0.1:{silent.getsockname()[1]}/team/silent@{digest_of(b'silent')}"
            spec = {"image": image, "command": ["/echo"], "port": 8000, "scale": {"min": 1}}
            daemon.put("first", spec)
            until(lambda: daemon.replicas("first", "pulling"), "it waits for the registry")
            daemon.delete("first")
            until(lambda: daemon.client.get("/v1/functions/first").status == 404, "it is gone")
            until(lambda: not connections(silent.getsockname()[1]), "nobody asks for it any more")
            daemon.put("second", spec)
            until(lambda: daemon.replicas("second", "pulling"), "it waits for the registry")
            deploy = Background(lambda: daemon.client.request(
                "PUT", "/v1/functions/third", {"image": image.split("@", maxsplit=1)[0] + ":1"}))
            gets = Background(lambda: daemon.client.request(
                "POST", "/v1/images/pull", {"image": image.replace("silent@", "other@")}))
            until(lambda: connections(silent.getsockname()[1]) >= 3, "the registry is asked for all three")
            assert daemon.signal(signo) == 0
            refused = deploy.result(5)
            assert (refused.status, refused.slug) == (503, "unavailable")
            assert "the daemon is stopping" in refused.json()["detail"]
            assert lines(gets.result(5))[-1]["error"]["code"] == "unavailable"
            assert "cut at the end of the drain" not in daemon.log()
            if signo == signal.SIGTERM:
                daemon.start()  # the replica, which had no process yet, is ordered anew
                until(lambda: daemon.replicas("second", "pulling"), "it waits for the registry")
        finally:
            daemon.stop()


def test_condition_holds_after_resolution(daemon, registry):
    """What If-Match asked for is true when the change is made, not when its image was looked up."""
    registry.push("team/gate", "1", [echo_layer()], ECHO_CONFIG)
    gate = Gate(registry)
    try:
        daemon.put("gate", {"image": f"{registry.host}/team/gate:1"})
        change = Background(lambda: daemon.client.request(
            "PUT", "/v1/functions/gate", {"image": f"{gate.host}/team/gate:1"},
            headers={"If-Match": "*"}))
        assert gate.seen.wait(30)
        daemon.delete("gate")
        until(lambda: daemon.client.get("/v1/functions/gate").status == 404, "it is deleted")
        gate.opened.set()
        assert change.result(20).status == 412
    finally:
        gate.close()


def test_index_by_its_digest(registry):
    """The platform's manifest is found by the index's digest, with the registry gone, too."""
    other, daemon = Registry(), Daemon()
    try:
        daemon.start()
        inner = other.push("team/index", "inner", [echo_layer()], ECHO_CONFIG)
        size = len(other.request("GET", f"/v2/team/index/manifests/{inner}", Accept=OCI + "manifest.v1+json")[2])
        index = other.manifest("team/index", "1", {
            "schemaVersion": 2, "mediaType": OCI + "index.v1+json",
            "manifests": [{"mediaType": OCI + "manifest.v1+json", "digest": inner, "size": size,
                           "platform": {"os": "linux", "architecture": "amd64"}}]})
        daemon.put("index", {"image": f"{other.host}/team/index@{index}", "port": 8000})
        assert daemon.call("index").status == 200
        assert images(daemon)[inner]["in_use"]
        other.stop()
        daemon.put("offline", {"image": f"{other.host}/team/index@{index}", "port": 8000, "pull": "never"})
        assert daemon.call("offline").status == 200
    finally:
        daemon.stop()
        other.close()


def test_progress_of_a_pull(registry):
    """A replica that waits for its image says how much of it is here, also one that joins the pull late."""
    small, large = echo_layer(), tar_of({"large": os.urandom(3 << 20)})
    digest = registry.push("team/progress", "1", [small, large], ECHO_CONFIG, compress="")
    gate, daemon = Gate(registry, only=digest_of(large)), Daemon()
    all_bytes, here = len(small) + len(large), len(small) + len(large) // 2
    want = {"bytes": here, "bytes_total": all_bytes, "layers": 1, "layers_total": 2}

    def pulls(name):
        return [r.get("pull") for r in daemon.replicas(name, "pulling")]

    try:
        daemon.start()
        spec = {"image": f"{gate.host}/team/progress@{digest}", "port": 8000, "scale": {"min": 1}}
        daemon.put("first", spec)
        until(lambda: pulls("first") == [want], "half of the large layer is told", 20)
        daemon.put("second", spec)
        until(lambda: pulls("second") == [want], "who comes later hears the same", 20)
        assert f"its image: {here / (1 << 20):.0f} of {all_bytes / (1 << 20):.0f} MiB, 1 of 2 layers" in gantry(daemon, "ps").stdout
        gate.opened.set()
        until(lambda: daemon.replicas("first", "ready") and daemon.replicas("second", "ready"), "both are ready", 30)
        assert not any("pull" in r for name in ("first", "second") for r in daemon.replicas(name, "ready"))
    finally:
        gate.close()
        daemon.stop()


def test_many_replicas_one_pull(registry):
    """Replicas that begin while the image is not here wait for one pull."""
    image = registry.push("team/fleet", "1", [echo_layer(), tar_of({"big": os.urandom(8 << 20)})], ECHO_CONFIG)
    daemon = Daemon()
    try:
        daemon.start()
        daemon.put("fleet", {"image": f"{registry.host}/team/fleet:1", "scale": {"min": 8, "max": 8}})
        until(lambda: len(daemon.replicas("fleet", "ready")) == 8, "all are ready", 40)
        assert len(list((store(daemon) / "layers").glob("*.tar"))) == 2
        assert image in images(daemon)
    finally:
        daemon.stop()


def test_second_image_pulls_only_what_is_new(daemon, registry):
    shared = tar_of({"shared": os.urandom(1 << 20)})
    registry.push("team/first", "1", [echo_layer(), shared], ECHO_CONFIG)
    registry.push("team/second", "1", [echo_layer(), shared, tar_of({"own": b"own"})], ECHO_CONFIG)
    first = pull(daemon, f"{registry.host}/team/first:1")["image"]
    before = {p: p.stat().st_ino for p in (store(daemon) / "layers").glob("*.tar")}
    second = pull(daemon, f"{registry.host}/team/second:1")["image"]
    after = {p: p.stat().st_ino for p in (store(daemon) / "layers").glob("*.tar")}
    assert {p: after[p] for p in before} == before and len(after) == len(before) + 1
    assert (first["layers"], second["layers"]) == (2, 3)


def test_tag_moves_replicas_do_not(daemon, registry):
    registry.push("team/moving", "1", [files_layer(), tar_of({"v": b"one"})], FILES_CONFIG)
    spec = {"image": f"{registry.host}/team/moving:1"}
    first = daemon.put("moving", spec).json()
    assert daemon.put("moving", spec).json()["unchanged"]
    registry.push("team/moving", "1", [files_layer(), tar_of({"v": b"two"})], FILES_CONFIG)
    assert daemon.call("moving", "/v").text == "one"
    second = daemon.put("moving", spec).json()
    assert second["changed"] and second["spec"]["image"] != first["spec"]["image"]
    until(lambda: daemon.call("moving", "/v").text == "two", "the new revision serves", 30)


def test_registry_gone_after_deploy(daemon):
    other = Registry()
    try:
        other.push("team/gone", "1", [echo_layer(), tar_of({"gone": b"gone"})], ECHO_CONFIG)
        for name, policy in (("gone-missing", "missing"), ("gone-always", "always"), ("gone-never", "never")):
            daemon.put(name, {"image": f"{other.host}/team/gone:1", "pull": policy})
        assert daemon.call("gone-never").json()["cause"] == "image_missing"
        assert daemon.call("gone-missing").status == 200
        other.stop()
        daemon.delete("gone-missing")
        body = daemon.call("gone-always").json()
        assert (body["code"], body["cause"]) == ("start_failed", "registry_unavailable")
        spec = {"image": f"{other.host}/team/gone:1"}
        reply = daemon.client.request("PUT", "/v1/functions/gone-new", spec)
        assert reply.status == 422 and reply.json()["code"] == "image_unresolved"
        assert reply.json()["errors"][0]["path"] == "image"
    finally:
        other.close()


@pytest.mark.parametrize("image, words", [
    ("echo:1", "registry"), ("registry.example/UPPER:1", "lower"), ("registry.example/a:b:c", ""),
    ("bundle:sha256:12", "bundle")])
def test_bad_references(daemon, image, words):
    reply = daemon.client.request("PUT", "/v1/functions/bad", {"image": image})
    assert reply.status == 422 and reply.json()["code"] == "invalid_spec"
    assert reply.json()["errors"][0]["path"] == "image" and words in reply.json()["detail"]


def test_no_port_no_command(daemon, registry):
    registry.push("team/bare", "1", [echo_layer()], {})
    reply = daemon.client.request("PUT", "/v1/functions/bare", {"image": f"{registry.host}/team/bare:1"})
    assert reply.status == 422 and reply.json()["errors"][0]["path"] == "port"
    reply = daemon.client.request("PUT", "/v1/functions/bare", {"image": f"{registry.host}/team/bare:1", "port": 80})
    assert reply.status == 422 and reply.json()["errors"][0]["path"] == "command"
    reply = daemon.client.request("PUT", "/v1/functions/bare", {"image": f"{registry.host}/team/none:1"})
    assert reply.status == 422 and reply.json()["code"] == "image_unresolved"


def test_wrong_diff_id(daemon, registry):
    layer = echo_layer()
    config = {"architecture": "amd64", "os": "linux", "config": ECHO_CONFIG,
              "rootfs": {"type": "layers", "diff_ids": [digest_of(b"something else")]}}
    kind = "application/vnd.oci.image."
    registry.manifest("team/lie", "1", {
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
        "config": {"mediaType": kind + "config.v1+json", **registry.blob("team/lie", json.dumps(config).encode())},
        "layers": [{"mediaType": kind + "layer.v1.tar+gzip", **registry.blob("team/lie", gzip.compress(layer))}]})
    assert pull(daemon, f"{registry.host}/team/lie:1")["error"]["code"] == "image_invalid"
    assert not list((store(daemon) / "work").iterdir())


def test_basic_auth():
    private = Registry(htpasswd=subprocess.run(["htpasswd", "-Bbn", "u", "secret"], stdout=subprocess.PIPE,
                                               check=True, text=True).stdout)
    daemon = Daemon()
    try:
        config = daemon.dir / "registry.json"
        auth = base64.b64encode(b"u:secret").decode()
        config.write_text(json.dumps({"auths": {private.host: {"auth": auth}}}))
        (daemon.dir / "conf").write_text(f"[agent]\nregistry_config = {config}\n")
        daemon.config = daemon.dir / "conf"
        daemon.start()
        private.headers = {"Authorization": f"Basic {auth}"}
        private.push("team/secret", "1", [echo_layer()], ECHO_CONFIG)
        daemon.put("secret", {"image": f"{private.host}/team/secret:1"})
        assert daemon.call("secret").status == 200
    finally:
        daemon.stop()
        private.close()


def test_removal_and_collection(daemon, registry):
    used = registry.push("team/used", "1", [echo_layer(), tar_of({"used": b"used"})], ECHO_CONFIG)
    daemon.put("used", {"image": f"{registry.host}/team/used:1", "scale": {"min": 1}})
    daemon.wait_replicas("used", 1, timeout=30)
    digest = registry.push("team/rm", "1", [echo_layer(), tar_of({"rm": b"rm"})], ECHO_CONFIG)
    pull(daemon, f"{registry.host}/team/rm:1")
    assert digest in images(daemon)
    assert daemon.client.request("DELETE", f"/v1/images/{used}").status == 409
    assert daemon.client.request("DELETE", f"/v1/images/{digest}").json()["images"] == 1
    assert digest not in images(daemon)
    assert daemon.client.request("DELETE", f"/v1/images/{digest}").status == 404
    pull(daemon, f"{registry.host}/team/rm:1")
    assert daemon.client.request("POST", "/v1/images/gc").json()["images"] == 0
    unused = {d for d, i in images(daemon).items() if not i["in_use"]}
    assert digest in unused and used not in unused
    assert daemon.client.request("POST", "/v1/images/gc?all=1").json()["images"] >= len(unused)
    left = images(daemon).keys()
    assert used in left and not unused & left
    until(lambda: not list((store(daemon) / "work").iterdir()), "the trash is emptied")


def test_images_outlive_the_daemon(registry):
    daemon = Daemon()
    try:
        daemon.start()
        digest = registry.push("team/stay", "1", [echo_layer()], ECHO_CONFIG)
        daemon.put("stay", {"image": f"{registry.host}/team/stay:1", "pull": "never"})
        pull(daemon, f"{registry.host}/team/stay:1")
        assert daemon.call("stay").status == 200
        daemon.signal(signal.SIGTERM)
        daemon.start()
        assert images(daemon)[digest]["in_use"]
        assert daemon.call("stay").status == 200
    finally:
        daemon.stop()


def test_killed_in_the_middle_of_a_pull(registry):
    """Whatever instant the daemon dies at, the next one pulls the same image and keeps no garbage."""
    layers = [echo_layer()] + [tar_of({f"f{i}": os.urandom(3 << 20)}) for i in range(4)]
    digest = registry.push("team/killed", "1", layers, ECHO_CONFIG, "zstd")
    daemon = Daemon()
    try:
        for _ in range(4):
            daemon.start()
            ask = {"image": f"{registry.host}/team/killed:1"}
            with daemon.client.stream("POST", "/v1/images/pull", ask) as answer:
                answer.readline()
                daemon.kill_everything()
        daemon.start()
        assert pull(daemon, f"{registry.host}/team/killed:1")["image"]["digest"] == digest
        assert not list((store(daemon) / "work").iterdir())
        names = {p.name for p in (store(daemon) / "layers").glob("*.tar")}
        assert {n[:-4] for n in names} == {p.name[:-6] for p in (store(daemon) / "layers").glob("*.erofs")}
    finally:
        daemon.stop()


def test_full_disk(registry, tmp_path):
    """Nothing half done stays; with room again the same pull works."""
    digest = registry.push("team/large", "1", [echo_layer(), tar_of({"large": os.urandom(24 << 20)})], ECHO_CONFIG)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "none", tmp_path], check=True)
    daemon = Daemon(state=tmp_path / "state")
    try:
        daemon.start()
        image = f"{registry.host}/team/large:1"
        assert pull(daemon, image)["error"]["code"] == "storage_full"
        until(lambda: not list((store(daemon) / "work").iterdir()), "unfinished files are removed")
        assert digest not in images(daemon)
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path], check=True)
        assert pull(daemon, image)["image"]["digest"] == digest
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_worker_dies(daemon, registry):
    """It is started again; who waited hears of it."""
    layer = tar_of({"slow": os.urandom(16 << 20)})
    digest = registry.push("team/worker", "1", [echo_layer(), layer], ECHO_CONFIG)
    ask = {"image": f"{registry.host}/team/worker:1"}
    with daemon.client.stream("POST", "/v1/images/pull", ask) as answer:
        answer.readline()
        workers = agent_children(daemon, "gantry-images")
        assert len(workers) == 1
        status = pathlib.Path(f"/proc/{workers[0]}/status").read_text()
        assert "\nUid:\t0" not in status and "NoNewPrivs:\t1" in status
        os.kill(workers[0], signal.SIGKILL)
        end = [json.loads(line) for line in answer.read().splitlines()][-1:]
    assert end and ("error" in end[0] or end[0]["image"]["digest"] == digest)
    assert pull(daemon, ask["image"])["image"]["digest"] == digest


def test_worker_is_bounded(registry):
    """However many layers an image has and pulls are ordered, the worker has a few threads; and of a layer that the
    agent has taken over it can write to no file any more."""
    layers = [tar_of({f"f{i}": b"x" * i}) for i in range(40)]
    held = tar_of({"held": os.urandom(1 << 20)})
    digest = registry.push("team/tall", "1", [*layers, held, echo_layer()], ECHO_CONFIG, compress="")
    gate, daemon = Gate(registry, only=digest_of(held)), Daemon()
    with socket.socket() as silent, contextlib.ExitStack() as clients:
        try:
            silent.bind(("127.0.0.1", 0))
            silent.listen(64)
            daemon.start()
            daemon.put("tall", {"image": f"{gate.host}/team/tall@{digest}", "port": 8000, "scale": {"min": 1}})
            until(lambda: [r.get("pull", {}).get("layers") for r in daemon.replicas("tall")] == [41], "all but one", 30)
            worker, = agent_children(daemon, "gantry-images")

            def files():
                found = []
                for fd in pathlib.Path(f"/proc/{worker}/fd").iterdir():
                    with contextlib.suppress(FileNotFoundError):  # it may close any of them meanwhile
                        found.append(os.readlink(fd))
                return [p for p in found if ".tar" in p or ".erofs" in p]

            def threads():
                return len(os.listdir(f"/proc/{worker}/task"))

            until(lambda: len(files()) == 2, "the files of the one that comes are all that it has")
            for i in range(60):
                conn = daemon.client.open("POST", "/v1/images/pull", {
                    "image": f"127.0.0.1:{silent.getsockname()[1]}/team/silent:{i}"})
                clients.callback(conn.close)
            until(lambda: threads() > 32, "the pulls have begun", 20)
            assert daemon.client.get("/v1/images").status == 200 and threads() < 40
            clients.close()
            gate.opened.set()
            until(lambda: daemon.replicas("tall", "ready"), "what was cancelled makes room", 30)
            assert pull(daemon, f"{registry.host}/team/tall:1")["image"]["digest"] == digest
            until(lambda: len(list((store(daemon) / "layers").glob("*.ok"))) == 42, "all layers are on the disk", 30)
        finally:
            gate.close()
            daemon.stop()


# ---- bundles ----

def upload(daemon, data, piece=1 << 20, start=0):
    at, reply = start, None
    while at < len(data):
        reply = daemon.client.request("PUT", f"/v1/bundles/{digest_of(data)}?offset={at}&total={len(data)}",
                                      data[at:at + piece], headers=BYTES)
        assert reply.status == 200, reply
        at += piece
    return lines(reply)[-1]


@pytest.mark.parametrize("pack", [lambda d: d, gzip.compress, zstd], ids=["tar", "gzip", "zstd"])
def test_bundle_alone(daemon, pack):
    data = pack(echo_layer())
    name = f"bundle-{digest_of(data)[7:15]}"
    assert upload(daemon, data)["image"]["digest"] == digest_of(data)
    daemon.put(name, {"image": f"bundle:{digest_of(data)}", "command": ["/echo"], "port": 8000})
    assert daemon.call(name).status == 200


def test_bundle_over_base(daemon, registry):
    registry.push("team/base", "1", [files_layer(), tar_of({"app/file": b"base", "app/other": b"other"})],
                  FILES_CONFIG)
    data = zstd(tar_of({"app/file": b"bundle", "big": os.urandom(2 << 20)}))
    upload(daemon, data)
    spec = {"image": f"bundle:{digest_of(data)}", "base": f"{registry.host}/team/base:1"}
    assert "@sha256:" in daemon.put("over", spec).json()["spec"]["base"]
    assert daemon.call("over", "/app/file").text == "bundle"
    assert daemon.call("over", "/app/other").text == "other"


def test_bundle_goes_on(daemon):
    data = gzip.compress(tar_of({"echo": b"x" * 100, "rest": os.urandom(3 << 20)}))
    path = f"/v1/bundles/{digest_of(data)}"
    first = daemon.client.request("PUT", f"{path}?offset=0&total={len(data)}", data[:1 << 20],
                                  headers=BYTES)
    assert first.json() == {"digest": digest_of(data), "bytes": 1 << 20, "complete": False}
    gap = daemon.client.request("PUT", f"{path}?offset={2 << 20}&total={len(data)}", data[2 << 20:],
                                headers=BYTES)
    assert gap.status == 409 and str(1 << 20) in gap.json()["detail"]
    assert daemon.client.get(path).json()["bytes"] == 1 << 20
    assert upload(daemon, data, start=1 << 20)["image"]["digest"] == digest_of(data)
    assert daemon.client.get(path).json()["complete"]
    until(lambda: not list((store(daemon) / "work").glob("upload-*")), "the upload is no longer kept")
    again = daemon.client.request("PUT", f"{path}?offset=0&total={len(data)}", data[:10],
                                  headers=BYTES)
    assert again.json()["complete"]


def test_bundle_that_is_another(daemon):
    data, lie = gzip.compress(echo_layer()), digest_of(b"lie")
    reply = daemon.client.request("PUT", f"/v1/bundles/{lie}?offset=0&total={len(data)}", data,
                                  headers=BYTES)
    assert lines(reply)[-1]["error"]["code"] == "image_invalid"
    until(lambda: daemon.client.get(f"/v1/bundles/{lie}").json()["bytes"] == 0, "it can be sent anew")
    reply = daemon.client.request("PUT", "/v1/functions/lie", {"image": f"bundle:{lie}", "command": ["/echo"],
                                                               "port": 8000})
    assert reply.status == 201
    assert daemon.call("lie").json()["cause"] == "image_missing"


# ---- the command line ----

def gantry(daemon, *words):
    return subprocess.run([str(BIN / "gantry"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "GANTRY_URL": daemon.url, "GANTRY_TOKEN": daemon.token}, check=False)


def test_cli(daemon, registry, tmp_path):
    digest = registry.push("team/cli", "1", [echo_layer(), tar_of({"cli": b"cli"})], ECHO_CONFIG)
    done = gantry(daemon, "image", "pull", f"{registry.host}/team/cli:1")
    assert (done.returncode, done.stdout) == (0, digest + "\n"), done.stderr
    assert f"{registry.host}/team/cli:1" in gantry(daemon, "image", "ls").stdout
    assert gantry(daemon, "image", "rm", digest[7:15]).stdout.startswith("1 images removed")
    assert gantry(daemon, "image", "rm", digest).returncode == 1
    failed = gantry(daemon, "image", "pull", f"{registry.host}/team/none:1")
    assert failed.returncode == 1 and "image_missing" in failed.stderr
    data = tmp_path / "app.tar.gz"
    data.write_bytes(gzip.compress(tar_of({"echo": echo_layer(), "pad": os.urandom(9 << 20)})))
    pushed = gantry(daemon, "bundle", "push", str(data))
    assert (pushed.returncode, pushed.stdout) == (0, digest_of(data.read_bytes()) + "\n"), pushed.stderr
    assert gantry(daemon, "bundle", "push", str(data)).stdout == pushed.stdout
    assert gantry(daemon, "bundle", "push", str(tmp_path)).returncode == 1
