"""R4: an image from a registry to a running container, against skopeo, umoci and crun."""
import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import tarfile
import time

from bench import Caller, cpu_ms, quantile, row
from harness import ECHO_ROOT, Daemon, until
from runtime_rig import ARCH_ALL, PEER_ID, STAMP, crun_words, harden

PULLS = int(os.environ.get("PULLS", "5"))
AGAIN = 40  # starts of an image that is there
FILES, FOLDERS = 5000, 100
CONTENT = 300 << 20  # half random, half text: about 200 MB as a gzip layer
LAYER_SEED = 3
MEDIA = {"gzip": "application/vnd.oci.image.layer.v1.tar+gzip", "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def content():
    """Files of very different sizes, always the same: each half noise and half words."""
    rnd = random.Random(LAYER_SEED)
    words = [rnd.randbytes(rnd.randint(2, 10)).hex().encode() for _ in range(512)]
    text = b" ".join(rnd.choices(words, k=1 << 20))
    weights = [rnd.lognormvariate(0, 1.5) for _ in range(FILES)]
    for i, weight in enumerate(weights):
        half = int(weight / sum(weights) * CONTENT / 2)
        at = rnd.randrange(len(text))
        words_half = (text[at:] + text * (half // len(text) + 1))[:half]
        yield f"data/{i % FOLDERS:02}/file{i}", rnd.randbytes(half) + words_half


def make_tar(path):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, data=None, mode=0o644):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = mode, 1700000000
            if data is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(data)
            tar.addfile(entry, data and io.BytesIO(data))

        for name in ("proc", "sys", "dev", "data", *(f"data/{i:02}" for i in range(FOLDERS))):
            add(name, mode=0o755)
        add("stamp", STAMP.read_bytes(), 0o755)
        add("echo", (ECHO_ROOT / "echo").read_bytes(), 0o755)
        for name, data in content():
            add(name, data)


def digest(path):
    with open(path, "rb") as f:
        return "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()


def make_layers(folder):
    """kind -> (file, digest), and the digest of what is in them."""
    tar = folder / "layer.tar"
    make_tar(tar)
    packers = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-3", "-q", "-c"]}
    running = []
    for kind, words in packers.items():
        with open(folder / kind, "wb") as out:
            running.append(subprocess.Popen([*words, tar], stdout=out))
    for proc in running:
        assert proc.wait() == 0
    diff_id = digest(tar)
    tar.unlink()
    return {kind: (folder / kind, digest(folder / kind)) for kind in packers}, diff_id


class Registry:
    """Debian's docker-registry on loopback, holding one image of each kind."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{s.getsockname()[1]}"
        config = {"version": "0.1", "log": {"level": "error"}, "http": {"addr": self.host},
                  "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}}}
        (folder / "registry.json").write_text(json.dumps(config))
        with open(folder / "registry.log", "wb") as log:
            self.proc = subprocess.Popen(["docker-registry", "serve", folder / "registry.json"], stdout=log, stderr=log,
                                         stdin=subprocess.DEVNULL)
        until(self.answers, "the registry answers")

    def answers(self):
        with contextlib.suppress(OSError):
            return self.request("GET", "/v2/").status == 200
        return False

    def request(self, method, path, body=None, **headers):
        conn = http.client.HTTPConnection(self.host, timeout=60)
        try:
            conn.request(method, path, body, headers)
            answer = conn.getresponse()
            answer.read()
            return answer
        finally:
            conn.close()

    def put_blob(self, repo, body, size, of):
        place = self.request("POST", f"/v2/{repo}/blobs/uploads/").headers["Location"].partition(self.host)[2]
        done = self.request("PUT", f"{place}&digest={of}", body, **{"Content-Length": str(size)})
        assert done.status == 201, done.status

    def put_image(self, kind, layer, of, diff_id):
        repo = f"bench/{kind}"
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/echo"]},
                             "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
        config_of = "sha256:" + hashlib.sha256(config).hexdigest()
        with open(layer, "rb") as f:
            self.put_blob(repo, f, layer.stat().st_size, of)
        self.put_blob(repo, config, len(config), config_of)
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_of,
                       "size": len(config)},
            "layers": [{"mediaType": MEDIA[kind], "digest": of, "size": layer.stat().st_size}]})
        done = self.request("PUT", f"/v2/{repo}/manifests/1", manifest, **{"Content-Type": MANIFEST})
        assert done.status == 201, done.status
        return f"{self.host}/{repo}:1"

    def close(self):
        self.proc.terminate()
        self.proc.wait()


# ---- one pull of each side: milliseconds, and milliseconds of CPU time ----

def pull_peer(image, peer, folder):
    """skopeo, umoci and crun one after the other; the bundle's configuration is made between, unmeasured."""
    place = folder / "peer"
    place.mkdir()
    maps = [word for kind in ("--uid-map", "--gid-map") for word in (kind, f"0:{PEER_ID}:65536")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{place}/oci:1"],
                   check=True)
    subprocess.run(["umoci", "unpack", *maps, "--image", f"{place}/oci:1", place / "bundle"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = (time.perf_counter() - begin) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (place / "bundle").chmod(0o755)
    spec = json.loads((place / "bundle/config.json").read_text())
    harden(spec, ["/stamp"], ARCH_ALL)
    (place / "bundle/config.json").write_text(json.dumps(spec))
    start, _, cpu = peer.ask("start", "pulled")
    shutil.rmtree(place)
    return took + start / 1e6, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 + cpu / 1e6


@contextlib.contextmanager
def daemon_with(image):
    """A fresh daemon that has pulled the image for its first call: (daemon, ms, ms of CPU time)."""
    daemon = Daemon()
    daemon.start()
    try:
        before, begin = cpu_ms([daemon.proc.pid, *daemon.descendants()]), time.perf_counter()
        daemon.put("pulled", {"image": image, "command": ["/echo"], "port": 8000})
        reply = daemon.call("pulled", "/hello", timeout=120)
        took = (time.perf_counter() - begin) * 1000
        assert reply.status == 200, reply
        yield daemon, took, cpu_ms([daemon.proc.pid, *daemon.descendants()]) - before
    finally:
        daemon.stop()


def cold_calls(rnd, daemon):
    """Cold calls of the pulled image and of the same program in a directory, in turns: medians."""
    daemon.echo("plain")
    callers = {name: Caller(daemon, f"/f/{name}/hello") for name in ("pulled", "plain")}
    took = {name: [] for name in callers}
    for n in range(AGAIN + 3):
        for name in rnd.sample(list(callers), 2):
            for replica in daemon.running(name):
                daemon.wait_quiet(name)
                daemon.client.request("DELETE", f"/v1/functions/{name}/replicas/{replica['id']}?force=1")
            daemon.wait_zero(name)
            ms = callers[name].call()
            if n >= 3:
                took[name].append(ms)
    for caller in callers.values():
        caller.close()
    return took


def figure(id, what, mine, base, goal):
    (values, cpu), (others, peer_cpu) = zip(*mine, strict=True), zip(*base, strict=True)
    p50, peer = quantile(values, 0.5), quantile(others, 0.5)
    out = row(id, what, p50, "ms", peer=peer, goal=f"<= {goal} of skopeo + umoci + crun", passed=p50 <= goal * peer)
    return out | {"runs": len(values), "min": round(min(values), 3), "median": round(p50, 3),
                  "p99": round(quantile(values, 0.99), 3), "cpu_ms": round(sum(cpu) / len(cpu), 3),
                  "peer_cpu_ms": round(sum(peer_cpu) / len(peer_cpu), 3)}


def rows(rnd, peer, folder, progress):
    place = folder.path / "pull"
    place.mkdir()
    layers, diff_id = make_layers(place)
    sizes = {kind: path.stat().st_size / 1e6 for kind, (path, _) in layers.items()}
    progress(f"R4: layers of {FILES:,} files: " + ", ".join(f"{k} {v:.0f} MB" for k, v in sizes.items()))
    registry = Registry(place)
    took, again = {"peer": [], "gzip": [], "zstd": []}, None
    try:
        images = {kind: registry.put_image(kind, path, of, diff_id) for kind, (path, of) in layers.items()}
        peer.ask("tool", "pulled", "-", *crun_words(folder.path, place / "peer/bundle"))
        for n in range(PULLS):
            for variant in rnd.sample(list(took), len(took)):
                os.sync()  # nobody pays for what another wrote
                if variant == "peer":
                    took[variant].append(pull_peer(images["gzip"], peer, place))
                else:
                    with daemon_with(images[variant]) as (daemon, ms, cpu):
                        took[variant].append((ms, cpu))
                        if variant == "gzip" and n == PULLS - 1:
                            again = cold_calls(rnd, daemon)
                progress(f"R4: {variant}: {took[variant][-1][0]:.0f} ms")
    finally:
        registry.close()
    more = quantile(again["pulled"], 0.5) - quantile(again["plain"], 0.5)
    what = f"registry to first answer, {FILES:,} files in a"
    return [figure("R4a", f"{what} gzip layer of {sizes['gzip']:.0f} MB", took["gzip"], took["peer"], 0.25),
            figure("R4b", f"{what} zstd layer of {sizes['zstd']:.0f} MB (peer: gzip)", took["zstd"], took["peer"], 0.15),
            row("R4.again", "what a later start of that image costs more than one of a directory", more, "ms",
                goal="<= 5 ms", passed=more <= 5) | {"runs": AGAIN}]
