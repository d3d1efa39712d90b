"""A node without a daemon: joins by a token, takes orders, says what it likes, and is its own replicas."""
import contextlib
import json
import pathlib
import socket
import ssl
import subprocess
import threading

SNI = "link.gantry.internal"


def openssl(*words, cwd, data=None):
    done = subprocess.run(["openssl", *map(str, words)], cwd=cwd, check=True, capture_output=True, timeout=30, input=data)
    return done.stdout


class Pipe:
    """One connection that waits at the door. `asked` is the line by which it was taken."""

    def __init__(self, sock):
        self.sock = sock

    def line(self):
        text = b""
        while not text.endswith(b"\n"):
            more = self.sock.recv(1)
            if not more:
                return None
            text += more
        return text.decode()

    def say(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def head(self):
        text = b""
        while b"\r\n\r\n" not in text:
            more = self.sock.recv(1)
            assert more, text
            text += more
        return text.decode()

    def closed(self):
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass
        return True

    def close(self):
        self.sock.close()


class ScriptedNode:
    def __init__(self, daemon, name, where):
        self.daemon, self.name, self.dir = daemon, name, pathlib.Path(where)
        self.epoch, self.orders, self.states = 0, {}, {}
        self.snapshots = self.cuts = 0
        self.stopped = threading.Event()
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem", cwd=self.dir)
        openssl("req", "-new", "-key", "key.pem", "-subj", f"/CN={name}", "-out", "csr.pem", cwd=self.dir)
        token = daemon.client.request("POST", "/v1/nodes/tokens", {}).json()["token"]
        status, body = self.ask("POST", "/link/v1/join", {"token": token, "node": name,
                                                           "csr": (self.dir / "csr.pem").read_text()}, cert=False)
        assert status == 201, body
        (self.dir / "node.pem").write_text(body["certificate"])
        (self.dir / "ca.pem").write_text(body["ca"])

    # ---- connections ----
    def connect(self, cert=True, sni=SNI):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
        ctx.minimum_version = ssl.TLSVersion.TLSv1_3
        if (self.dir / "ca.pem").exists():
            ctx.verify_mode = ssl.CERT_REQUIRED
            ctx.load_verify_locations(self.dir / "ca.pem")
        if cert:
            ctx.load_cert_chain(self.dir / (cert if isinstance(cert, str) else "node.pem"), self.dir / "key.pem")
        plain = socket.create_connection(self.daemon.client.address, timeout=20)
        return ctx.wrap_socket(plain, server_hostname=sni)

    def request(self, sock, method, path, body=None, more=""):
        data = json.dumps(body).encode() if body is not None else b""
        length = f"Content-Length: {len(data)}\r\nContent-Type: application/json\r\n" if body is not None else ""
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{length}{more}\r\n".encode() + data)

    def ask(self, method, path, body=None, cert=True):
        """(status, parsed body); status 0: the connection ended without an answer."""
        with self.connect(cert) as sock:
            self.request(sock, method, path, body, "Connection: close\r\n")
            data = b""
            with contextlib.suppress(OSError):
                while more := sock.recv(65536):
                    data += more
        if not data:
            return 0, None
        head, _, rest = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(rest) if rest else None

    def pipe(self, shard=0):
        sock = self.connect()
        self.request(sock, "GET", f"/link/v1/nodes/{self.name}/pipe?shard={shard}",
                     more="Connection: Upgrade\r\nUpgrade: gantry-pipe\r\n")
        pipe = Pipe(sock)
        head = pipe.head()
        assert head.startswith("HTTP/1.1 101 ") and "Gantry-Shards: 1\r\n" in head, head
        return pipe

    # ---- the agent ----
    def watch(self):
        """Takes orders until it is stopped, and reports each replica ready at once."""
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def lines(self):
        self.sock = self.connect()
        self.request(self.sock, "GET", f"/link/v1/nodes/{self.name}/desired")
        data = b""
        while more := self.sock.recv(65536):
            data += more
            while b"\n" in data:
                line, _, data = data.partition(b"\n")
                if line.startswith(b"{"):
                    yield json.loads(line)

    def take(self, line):
        self.epoch = line.get("epoch", self.epoch)
        if line["type"] == "snapshot":  # what control does not know yet it learns from our reports
            self.snapshots += 1
        for order in line.get("orders", [line["order"]] if "order" in line else []):
            self.orders[order["replica"]] = order
        if line["type"] == "forget":
            self.orders.pop(line["replica"], None)
        if line["type"] != "ping":
            self.report()

    def follow(self):
        while not self.stopped.is_set():
            with contextlib.suppress(OSError, AssertionError):
                for line in self.lines():
                    self.take(line)
            self.cuts += 1
            self.stopped.wait(0.05)

    def report(self):
        replicas = [{"replica": o["replica"], "function": o["function"], "revision": o["revision"],
                     "state": "stopped" if o["want"] == "stop" else "ready", "created_ms": 1}
                    for o in list(self.orders.values())]  # its thread takes more
        return self.ask("POST", f"/link/v1/nodes/{self.name}/report",
                        {"node": self.name, "full": True, "epoch": self.epoch, "cpu_milli": 8000,
                         "memory_bytes": 1 << 34, "labels": {"host": self.name}, "replicas": replicas})

    def stop(self):
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.sock.close()
