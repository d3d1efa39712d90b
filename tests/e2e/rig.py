"""The gateway's real process between peers that the test plays itself, over real sockets: control
(the link with its routes), the node's broker, and the replica, which listens at an address
of loopback that nobody else uses. A replica in a container speaks HTTP by some library; this one
says what the test wants it to say, byte by byte, when the test wants it."""
import contextlib
import errno
import hashlib
import http.server
import json
import os
import pathlib
import queue
import resource
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading

from harness import BIN, SLOW, Raw, until

TOKEN = "rig-secret"
TOKEN_HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
REPLICA = "01ARZ3NDEKTSV4RRFFQ69G5FAA"
GATEWAY_IDS = "65534:65534"  # it gives up root like the daemon's does
ASK, ANSWER = struct.Struct("=27sxI"), struct.Struct("=Ii")  # include/gantry/model/dial.h
CERT_AND_KEY = 0b110  # include/gantry/gateway/gateway.h
BROKER_BACKLOG = 16


class Peer(Raw):
    """A connection that exists already."""

    def __init__(self, sock, timeout=10):
        self.sock = sock
        self.sock.settimeout(timeout * SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class _Link(http.server.BaseHTTPRequestHandler):
    """Control's link: the routes as a stream that does not end, and what the gateway posts."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        rig = self.server.rig
        lines = rig.watch()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        while (line := lines.get()) is not None:
            data = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def do_POST(self):
        self.server.rig.heard(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


GET = b"GET /f/echo/x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def route(name, **more):
    """A public function with one replica that takes one call at a time."""
    return {"function": name, "revision": 1, "access": "public", "concurrency": 1, "queue": 100,
            "wait_ms": 30000, "first_byte_ms": 30000, "idle_ms": 30000, "body_bytes": 1 << 30,
            "max_replicas": 1, "start_ms": 1000, "replicas": [{"id": REPLICA}], **more}


class Rig:
    def __init__(self, config="", descriptors=None, tls=False):
        self.config, self.descriptors, self.tls = config, descriptors, tls
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-rig-", dir="/tmp"))
        self.dir.chmod(0o755)
        run = self.dir / "run"
        run.mkdir()
        pid = os.getpid()
        self.replica_address = (f"127.{1 + (pid >> 16) % 250}.{(pid >> 8) & 255}.{pid & 255}", 8000)
        self.listener = None
        self.peers = []
        self.dial_error = 0
        self.dials = threading.Event()  # clear() = the broker does not answer
        self.dials.set()
        self.dialing = threading.Event()  # it was asked
        self.routes = {"echo": route("echo")}
        self.demand, self.lock = {}, threading.Lock()  # the lock is for both, and for the watchers
        self.watchers, self.seq = [], 0
        self.link = _UnixServer(str(run / "link.sock"), _Link)
        self.link.rig = self
        self.broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.broker.bind(str(run / "dial.sock"))
        self.broker.listen(BROKER_BACKLOG)
        for path in run.iterdir():
            path.chmod(0o666)
        self.threads = [threading.Thread(target=self.link.serve_forever, args=(0.05,), daemon=True),
                        threading.Thread(target=self._broke, daemon=True)]
        for thread in self.threads:
            thread.start()
        self.log_path = self.dir / "gateway.log"
        self.proc = None
        try:
            self._start()
        except BaseException:
            self._clean()
            raise

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def _certify(self, files):
        """What the supervisor sends: which files, and their descriptors (src/gateway/files.c)."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=rig", "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=self.dir, check=True, capture_output=True)
        self.config += f"[gateway]\ntls_cert = {self.dir}/cert.pem\ntls_key = {self.dir}/key.pem\n"
        with open(self.dir / "cert.pem", "rb") as cert, open(self.dir / "key.pem", "rb") as key:
            socket.send_fds(files, [struct.pack("=I", CERT_AND_KEY)], [cert.fileno(), key.fileno()])

    def _start(self):
        ready, told = os.pipe()
        self.files, files = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (socket.create_server(("127.0.0.1", 0), backlog=4096) as entry, files,
              open(self.log_path, "wb") as log):
            entry.setblocking(False)
            self.address = entry.getsockname()
            fds = {"listen": entry.fileno(), "ready": told}
            if self.tls:
                self._certify(self.files)
                fds["files"] = files.fileno()
            env = {"GANTRY_FDS": ",".join(f"{k}={v}" for k, v in fds.items()), "GANTRY_CONFIG": self.config,
                   "GANTRY_IDS": GATEWAY_IDS, "GANTRY_SUPERVISOR": str(os.getpid()),
                   "GANTRY_TOKEN_SHA256": TOKEN_HASH, "GANTRY_INSTANCE": "1"}
            self.proc = subprocess.Popen([BIN / "gantryd", "gateway"], cwd=self.dir, env={**os.environ, **env},
                                         stdin=subprocess.DEVNULL, stderr=log, pass_fds=fds.values(),
                                         preexec_fn=self._limit if self.descriptors else None)
        os.close(told)
        with open(ready, "rb") as pipe:
            assert pipe.readline() == b"READY\n", self.log()

    # ---- control --------------------------------------------------------------------------
    def watch(self):
        """A connected gateway's queue of lines."""
        lines = queue.Queue()
        with self.lock:
            self.seq += 1
            lines.put({"type": "snapshot", "epoch": 1, "seq": self.seq, "tokens": [TOKEN_HASH],
                       "routes": list(self.routes.values())})
            self.watchers.append(lines)
        return lines

    def _send(self, **line):
        with self.lock:
            self.seq += 1
            for lines in self.watchers:
                lines.put({"seq": self.seq, **line})

    def tell(self, *routes):
        """New or changed functions; returns when the gateway knows them."""
        for r in routes:
            self.routes[r["function"]] = r
            self._send(type="route", route=r)
        mark = f"mark{self.seq}"
        self._send(type="route", route=route(mark))

        def known():
            with self.connect() as raw:
                raw.send(f"GET /f/{mark}/ HTTP/1.1\r\nHost: a\r\nGantry-Priority: none\r\n\r\n".encode())
                return raw.read_some().startswith(b"HTTP/1.1 400 ")

        until(known, "the gateway has heard of the routes")
        self._send(type="gone", function=mark)

    def heard(self, demand):
        with self.lock:
            if demand.get("full"):
                self.demand = {}
            self.demand.update({f["function"]: f for f in demand.get("functions", [])})

    def calls(self, name="echo"):
        """(waiting, running) as control knows it."""
        with self.lock:
            f = self.demand.get(name, {})
        return f.get("queued", 0), f.get("in_flight", 0)

    def wait_calls(self, waiting, running, name="echo"):
        until(lambda: self.calls(name) == (waiting, running), f"{waiting} calls of {name} wait and {running} run")

    # ---- the broker -----------------------------------------------------------------------
    def _broke(self):
        while True:
            try:
                conn, _ = self.broker.accept()
            except OSError:
                return
            with conn:
                while len(ask := conn.recv(64)) == ASK.size:
                    self._dial(conn, ASK.unpack(ask)[1])

    def _dial(self, conn, tag):
        """Like the agent: the connection is on its way when the gateway gets it."""
        self.dialing.set()
        self.dials.wait()
        if self.dial_error:
            conn.send(ANSWER.pack(tag, self.dial_error))
            return
        with socket.socket() as sock:
            sock.setblocking(False)
            error = sock.connect_ex(self.replica_address)
            if error not in (0, errno.EINPROGRESS):
                conn.send(ANSWER.pack(tag, error))
            else:
                socket.send_fds(conn, [ANSWER.pack(tag, 0)], [sock.fileno()])

    # ---- the replica and its clients ------------------------------------------------------
    def listen(self):
        self.listener = socket.create_server(self.replica_address, backlog=128)
        self.listener.settimeout(10 * SLOW)

    def hang_up(self):
        if self.listener:
            self.listener.close()
        self.listener = None

    def replica(self):
        """The gateway's next connection to the replica."""
        self.peers.append(Peer(self.listener.accept()[0]))
        return self.peers[-1]

    def connect(self):
        raw = Raw(self.address)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            raw.sock = context.wrap_socket(raw.sock)
        return raw

    def client(self, first=b""):
        raw = self.connect()
        self.peers.append(raw)
        raw.send(first)
        return raw

    def close_peers(self):
        for peer in self.peers:
            peer.close()
        self.peers = []
        self.hang_up()

    def reset(self):
        """As at the start: the same function, a replica that nobody suspects, nothing open but what
        the gateway keeps open to control and the broker."""
        self.dial_error = 0
        self.dials.set()
        self.dialing.clear()
        self.tell(route("echo", replicas=[]))
        self.tell(route("echo"))
        self.listen()
        with self.connect() as client:
            client.send(GET)
            with self.replica() as replica:
                replica.read_until(b"\r\n\r\n")
                replica.send(OK)
            assert b"200 OK" in client.read_some()
        self.close_peers()
        self.wait_calls(0, 0)
        self.listen()

    # ---- its process ----------------------------------------------------------------------
    def sockets(self):
        """How many it has. (Pipes of long bodies are kept for the next ones, 64 at most.)"""
        found = 0
        for fd in pathlib.Path(f"/proc/{self.proc.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found += os.readlink(fd).startswith("socket:")
        return found

    def rss(self):
        return int(pathlib.Path(f"/proc/{self.proc.pid}/statm").read_text().split()[1]) * 4096

    def log(self):
        with contextlib.suppress(OSError):
            return self.log_path.read_text(errors="replace")
        return ""

    def stop(self):
        try:
            self.proc.terminate()
            assert self.proc.wait(20 * SLOW) == 0, self.log()
            for word in ("Sanitizer", "runtime error"):
                assert word not in self.log(), self.log()[-8000:]
        finally:
            self._clean()

    def _clean(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.dials.set()
        for lines in self.watchers:
            lines.put(None)
        self.hang_up()
        self.link.shutdown()
        self.link.server_close()
        self.broker.shutdown(socket.SHUT_RDWR)
        self.broker.close()
        self.files.close()
        for thread in self.threads:
            thread.join()
        shutil.rmtree(self.dir)
