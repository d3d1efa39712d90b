"""A function that tells what the world looks like from inside, and misbehaves when asked."""
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

libc = ctypes.CDLL(None, use_errno=True)
aborted = []
seen = {}


def tried(result):
    """What a libc call gave: "ok" or the name of its error."""
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def attempt(op, arg):
    """Does what a contained process must not be able to do; says how it ended."""
    try:
        if op == "mount":
            return tried(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
        if op == "umount":
            return tried(libc.umount2(arg.encode(), 2))
        if op == "unshare":
            return tried(libc.unshare(int(arg)))
        if op == "setns":
            return tried(libc.setns(os.open("/proc/1/ns/net", os.O_RDONLY), 0))
        if op == "chroot":
            os.chroot("/tmp")
        elif op == "mknod":
            os.mknod("/tmp/kmem", 0o20600, os.makedev(1, 2))
        elif op == "write":
            with open(arg, "w") as f:
                f.write("x")
        elif op == "append":
            with open(arg, "a") as f:
                f.write("x")
        elif op == "read":
            with open(arg, "rb") as f:
                f.read(1)
        elif op == "list":
            return os.listdir(arg)
        elif op == "kill":
            os.kill(int(arg), signal.SIGKILL)
        elif op == "ptrace":
            return tried(libc.ptrace(16, int(arg), None, None))
        elif op == "keyctl":
            return tried(libc.syscall(250, 0, -3, 0))
        elif op == "bpf":
            return tried(libc.syscall(321, 0, None, 0))
        elif op == "io_uring":
            return tried(libc.syscall(425, 8, None))
        elif op == "userfaultfd":
            return tried(libc.syscall(323, 0))
        elif op == "sethostname":
            return tried(libc.sethostname(b"evil", 4))
        elif op == "setuid0":
            os.setuid(0)
        elif op == "vsock":
            socket.socket(40, socket.SOCK_STREAM)
        elif op == "raw":
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        elif op == "connect":
            host, port = arg.rsplit(":", 1)
            socket.create_connection((host, int(port)), 2).close()
        elif op == "fetch":
            return urllib.request.urlopen(arg, timeout=5).read().decode()
        elif op == "cat":
            with open(arg) as f:
                return f.read()
        elif op == "core":
            return resource.getrlimit(resource.RLIMIT_CORE)[1]
        else:
            return "unknown"
        return "ok"
    except urllib.error.URLError as e:
        return "could not resolve" if isinstance(e.reason, socket.gaierror) else str(e.reason)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def fork_bomb():
    """Forks until it is refused; the children live only as long as this call."""
    children = []
    try:
        while len(children) < 4000:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    except OSError as e:
        stopped = errno.errorcode[e.errno]
    else:
        stopped = "never"
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    return {"forks": len(children), "stopped": stopped}


def fill(path, mib):
    """Writes until there is no room; removes the file."""
    wrote = 0
    try:
        with open(path, "wb", buffering=0) as f:
            while wrote < mib:
                f.write(b"x" * (1 << 20))
                wrote += 1
        stopped = "never"
    except OSError as e:
        stopped = errno.errorcode[e.errno]
    finally:
        try:
            os.unlink(path)
        except OSError:
            pass
    return {"mib": wrote, "stopped": stopped}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        q = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path == "/facts":
            self.answer({
                "status": open("/proc/self/status").read(),
                "uid_map": open("/proc/self/uid_map").read(),
                "mountinfo": open("/proc/self/mountinfo").read(),
                "namespaces": {n: os.readlink(f"/proc/self/ns/{n}") for n in os.listdir("/proc/self/ns")},
                "pids": [int(p) for p in os.listdir("/proc") if p.isdigit()],
                "init": open("/proc/1/cmdline").read(),
                "hostname": socket.gethostname(),
                "env": dict(os.environ),
                "cwd": os.getcwd(),
                "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
                "fds": {f: link(f) for f in os.listdir("/proc/self/fd")},
                "interfaces": [n for _, n in socket.if_nameindex()],
                "cgroup": open("/proc/self/cgroup").read(),
                "dev": sorted(os.listdir("/dev")),
                "argv": sys.argv,
            })
        elif url.path == "/try":
            self.answer(attempt(q["op"], q.get("arg", "")))
        elif url.path == "/forks":
            self.answer(fork_bomb())
        elif url.path == "/fill":
            self.answer(fill(q["path"], int(q["mib"])))
        elif url.path == "/alloc":
            hoard = bytearray(int(q["mib"]) << 20)
            for i in range(0, len(hoard), 4096):
                hoard[i] = 1
            self.answer(len(hoard))
        elif url.path == "/print":
            for i in range(int(q["lines"])):
                print(f"{q['text']} {i}", file=sys.stderr if q.get("err") else sys.stdout)
            sys.stdout.flush()
            sys.stderr.flush()
            self.answer("printed")
        elif url.path == "/exit":
            os._exit(int(q["code"]))
        elif url.path == "/hang":
            self.hang(float(q.get("s", "30")))
        elif url.path == "/status":
            self.answer("so be it", int(q["code"]))
        elif url.path == "/flaky":  # the first `n` callers of `key` in vain
            seen[q["key"]] = seen.get(q["key"], 0) + 1
            fails = seen[q["key"]] <= int(q["n"])
            self.answer({"call": self.headers["Gantry-Call-Id"], "attempt": self.headers["Gantry-Attempt"]},
                        int(q["code"]) if fails else 200)
        elif url.path == "/aborted":
            self.answer(aborted)
        elif url.path == "/headers":
            self.answer(self.headers.items())
        elif url.path == "/spew":
            self.spew(int(q["mib"]))
        else:
            self.answer({"path": self.path})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(len(body))

    def hang(self, seconds):
        """Answers after a while, unless the peer goes away: that is noted."""
        self.connection.settimeout(seconds)
        try:
            if self.connection.recv(1) == b"":
                aborted.append(self.path)
                self.close_connection = True
                return
        except TimeoutError:
            self.connection.settimeout(None)
        except OSError:
            aborted.append(self.path)
            self.close_connection = True
            return
        self.answer("hung")

    def spew(self, mib):
        """A large body, as fast as the reader takes it."""
        self.send_response(200)
        self.send_header("Content-Length", str(mib << 20))
        self.end_headers()
        for i in range(mib):
            self.wfile.write(b"s" * (1 << 20))

    def answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
