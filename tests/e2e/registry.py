"""Debian's docker-registry on a free loopback port, and images made by hand: no tool in between."""
import gzip
import hashlib
import http.client
import http.server
import io
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import threading

from harness import ECHO_ROOT, free_port, until

OCI = "application/vnd.oci.image."


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(files):
    """files: path -> bytes (a file), None (a directory), "text" (a symbolic link), or a TarInfo with data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, what in files.items():
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            if what is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(what, str):
                info.type = tarfile.SYMTYPE
                info.linkname = what
                tar.addfile(info)
            else:
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def echo_layer():
    return tar_of({"echo": pathlib.Path(ECHO_ROOT, "echo").read_bytes()})


def files_layer():
    """Serves the files of its root: config FILES_CONFIG."""
    return tar_of({"bin/busybox": pathlib.Path("/bin/busybox").read_bytes()})


ECHO_CONFIG = {"Entrypoint": ["/echo"], "ExposedPorts": {"8000/tcp": {}}, "Env": ["FROM_IMAGE=yes"]}
FILES_CONFIG = {"Entrypoint": ["/bin/busybox", "httpd"], "Cmd": ["-f", "-p", "8000", "-h", "/"],
                "ExposedPorts": {"8000/tcp": {}}}


class Registry:
    def __init__(self, htpasswd=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-registry-"))
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        auth = ""
        if htpasswd:
            (self.dir / "htpasswd").write_text(htpasswd)
            auth = f"auth: {{htpasswd: {{realm: test, path: {self.dir}/htpasswd}}}}\n"
        (self.dir / "config.yml").write_text(
            "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.dir}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.host}'}}\n" + auth)
        self.log = open(self.dir / "log", "wb")
        self.proc = None
        self.headers = {}
        self.start()

    def start(self):
        self.proc = subprocess.Popen(["docker-registry", "serve", str(self.dir / "config.yml")],
                                     stdout=self.log, stderr=self.log)
        until(self.answers, "the registry answers", 30)

    def answers(self):
        try:
            return self.request("GET", "/v2/")[0] in (200, 401)
        except OSError:
            return False

    def stop(self):
        self.proc.kill()
        self.proc.wait()

    def close(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def request(self, method, path, body=None, **headers):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        conn.request(method, path, body, {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})
        reply = conn.getresponse()
        data = reply.read()
        conn.close()
        return reply.status, dict(reply.getheaders()), data

    def blob(self, repo, data):
        status, headers, text = self.request("POST", f"/v2/{repo}/blobs/uploads/")
        assert status == 202, text
        where = headers["Location"].split(self.host)[-1]
        status, _, text = self.request("PUT", f"{where}&digest={digest_of(data)}", data,
                                       Content_Type="application/octet-stream")
        assert status == 201, text
        return {"digest": digest_of(data), "size": len(data)}

    def push(self, repo, tag, layers, config=None, compress="gzip"):
        """layers: uncompressed archives, lowest first. Returns the manifest's digest."""
        pack = {"gzip": lambda d: gzip.compress(d, 6, mtime=0), "zstd": zstd, "": lambda d: d}[compress]
        media = OCI + "layer.v1.tar" + (f"+{compress}" if compress else "")
        document = {"architecture": "amd64", "os": "linux", "config": config or {},
                    "rootfs": {"type": "layers", "diff_ids": [digest_of(d) for d in layers]}}
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", **self.blob(repo, json.dumps(document).encode())},
            "layers": [{"mediaType": media, **self.blob(repo, pack(d))} for d in layers]}
        return self.manifest(repo, tag, manifest)

    def manifest(self, repo, tag, manifest):
        text = json.dumps(manifest).encode()
        status, _, answer = self.request("PUT", f"/v2/{repo}/manifests/{tag}", text,
                                         Content_Type=manifest["mediaType"])
        assert status == 201, answer
        return digest_of(text)


class Gate(http.server.ThreadingHTTPServer):
    """Stands before a registry and lets nothing through until it is opened; or all but the second half of the
    blob `only`."""

    def __init__(self, registry, only=None):
        self.seen, self.opened, self.registry, self.only = threading.Event(), threading.Event(), registry, only
        super().__init__(("127.0.0.1", 0), Gate.Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.opened.set()
        self.shutdown()
        self.server_close()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            gate = self.server
            gate.seen.set()
            if not gate.only:
                gate.opened.wait(80)
            status, headers, data = gate.registry.request("GET", self.path, Accept=self.headers["Accept"] or "*/*")
            self.send_response(status)
            for name in ("Content-Type", "Docker-Content-Digest", "Content-Length"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.end_headers()
            half = len(data) // 2
            self.wfile.write(data[:half])
            if gate.only and self.path.endswith(gate.only):
                gate.opened.wait(80)
            self.wfile.write(data[half:])

        def log_message(self, *_):
            pass
