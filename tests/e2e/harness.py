"""A gantryd of its own per test module, and a client that shows every byte it wants to see."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BIN", "build"))
BIN = BIN if BIN.is_absolute() else ROOT / BIN
OUT = BIN.parent if BIN.name == "bin" else BIN
ECHO_ROOT = OUT / "examples/echo/rootfs"
FUNCTIONS = ROOT / "tests/e2e/functions"
SLOW = 5 if OUT.name in ("address-undefined", "thread") else 1  # under a sanitizer
ROLES = ("control", "gateway", "agent")
HELD = 64 << 20  # examples/echo's /bytes?n=HELD is under way until its answer is read: sockets have no room for it


def until(condition, what, timeout=20.0, pause=0.005):
    """Asks again and again; returns what `condition` gave as soon as it is true. The time is for a machine that has
    other things to do: nothing takes that long where all is well."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


def processes():
    """pid -> (parent, state, argv) of everything that runs."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text(errors="replace")
                rest = stat[stat.rindex(")") + 2:].split()
                argv = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")[:-1]
                found[int(entry)] = (int(rest[1]), rest[0], [a.decode("latin-1") for a in argv])
    return found


def children(pid):
    """Those that a process started and has not waited for. While one of them ends, the kernel may leave out another
    one: two looks have to agree."""
    def look():
        found, tasks = [], []
        with contextlib.suppress(OSError):  # it may end between any two looks
            tasks = os.listdir(f"/proc/{pid}/task")
        for task in tasks:
            with contextlib.suppress(OSError):
                found += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found

    before, found = None, look()
    while found != before:
        before, found = found, look()
    return found


def comm(pid):
    """The name of a process; None: it has ended."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return None


def host_root(pid):
    """What the host calls the user 0 of a process in a container."""
    inside, outside, count = map(int, pathlib.Path(f"/proc/{pid}/uid_map").read_text().split())
    assert (inside, count) == (0, 65536)
    assert pathlib.Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", str(outside), "65536"]
    return outside


def proc_state(pid):
    """The letter of proc(5): Z and X for one that has ended, which it also is when nothing is there."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "X"
    return stat[stat.rindex(")") + 2]


def alive(pid):
    return proc_state(pid) not in "ZX"


def proc_status(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1].split()
    raise KeyError(field)


GROUP = r"gantry-[0-9a-z]+"  # the control group of a daemon, in the path of its replicas' groups


def cgroup_dirs(name):
    """The control groups, in all hierarchies, that carry `name`."""
    return [d for d, _, _ in os.walk("/sys/fs/cgroup") if name in d]


def free_port():
    """For a program that begins to listen in a moment: none of those that the kernel gives out by itself meanwhile."""
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("", random.randrange(max(1024, low - 10000), low) if low > 1024 else 0))
            return s.getsockname()[1]


def install(path, version):
    """A program of another version in the place of the one there, as a package manager does it."""
    program = (BIN / "gantryd").read_bytes()
    assert b"0.1.0\0" in program
    new = path.with_suffix(".new")
    new.write_bytes(program.replace(b"0.1.0\0", version + b"\0"))
    new.chmod(0o755)
    new.rename(path)


def failing_syncs(pid):
    """Each sync of a process fails."""
    return changed_syncs(pid, "error=EIO")


def slow_syncs(pid):
    """Each sync of a process takes a twentieth of a second."""
    return changed_syncs(pid, "delay_enter=50000")


@contextlib.contextmanager
def changed_syncs(pid, how):
    """What becomes of each, in the words of strace's inject, until it ends."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), "-e", "trace=fsync,fdatasync",
                               "-e", f"inject=fsync,fdatasync:{how}"], stderr=subprocess.PIPE, text=True)
    try:
        line = tracer.stderr.readline()
        assert "attached" in line, line
        yield
    finally:
        tracer.terminate()
        tracer.stderr.close()
        tracer.wait()


def core_limit_can_be_one():
    """sudo hands on a hard limit of 0, which root without CAP_SYS_RESOURCE (a container's, say) can not raise."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (1, 1))"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def slug(self):
        """Which problem of docs/problems.md it is."""
        return self.json()["code"]

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.text[:2000]}>"


class Client:
    """One call, one connection: no test depends on what an earlier one left behind."""

    def __init__(self, address, token, tls=None):
        self.address, self.token, self.tls = address, token, tls

    def open(self, method, path, body=None, headers=None, timeout=30, token=True):
        """Sends a request; returns the connection, whose .getresponse() has not been called."""
        conn = (http.client.HTTPSConnection(*self.address, timeout=timeout * SLOW, context=self.tls) if self.tls
                else http.client.HTTPConnection(*self.address, timeout=timeout * SLOW))
        head = dict(headers or {})
        if token is True:
            token = self.token
        if token:
            head.setdefault("Authorization", f"Bearer {token}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if body is not None and path.startswith("/v1/"):
            head.setdefault("Content-Type", "application/json")
        conn.request(method, path, body, head)
        return conn

    def request(self, method, path, body=None, headers=None, **more):
        conn = self.open(method, path, body, headers, **more)
        try:
            answer = conn.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            conn.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    @contextlib.contextmanager
    def stream(self, method, path, body=None, headers=None, **more):
        """The answer with its body still to be read."""
        conn = self.open(method, path, body, headers, **more)
        answer = None
        try:
            answer = conn.getresponse()
            yield answer
        finally:
            # http.client leaves a half-read answer's socket to the garbage collector.
            if answer is not None:
                answer.close()
            conn.close()

    def background(self, method, path, body=None, headers=None, **more):
        """The same as request(), in a thread; .result() waits for it."""
        return Background(lambda: self.request(method, path, body, headers, **more))


class Background:
    def __init__(self, work):
        self.value = self.error = None

        def run():
            try:
                self.value = work()
            except Exception as e:  # shown by result()
                self.error = e

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self, timeout=30):
        self.thread.join(timeout * SLOW)
        assert not self.thread.is_alive(), f"no answer within {timeout} s"
        if self.error:
            raise self.error
        return self.value


class Raw:
    """A TCP connection that sends exactly what it is told."""

    def __init__(self, address, timeout=10):
        self.sock = socket.create_connection(address, timeout * SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.sendall(data)

    def read_all(self):
        """Everything until the peer closes, resets, or says nothing for the time-out."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while chunk := self.sock.recv(65536):
                data += chunk
        return bytes(data)

    def read_some(self):
        return self.sock.recv(65536)

    def read_until(self, end):
        """Everything up to where `end` has come."""
        data = bytearray()
        while end not in data:
            chunk = self.sock.recv(65536)
            assert chunk, f"closed before {end!r}: {bytes(data)!r}"
            data += chunk
        return bytes(data)

    def closed(self):
        """True when the peer has closed (after what is still unread)."""
        try:
            while self.sock.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes so that the peer sees a reset, as when a client machine dies."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Daemon:
    """`gantryd run` on a free port with a state directory of its own."""
    roles_of = ROLES

    def __init__(self, state=None, config=None, program=None, tls=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-e2e-", dir="/tmp"))
        self.state = pathlib.Path(state) if state else self.dir / "state"
        self.config = config
        self.tls = tls  # the context to speak with, when its listener has TLS
        self.program = program or BIN / "gantryd"
        self.proc = None
        self.log_path = self.dir / "gantryd.log"
        self.groups = set()
        self.netns = set()

    # ---- life -----------------------------------------------------------------------------
    def command(self):
        words = [str(self.program), "run", "--state", str(self.state), "--listen", "127.0.0.1:0"]
        return words + (["--config", str(self.config)] if self.config else [])

    def start(self, timeout=20):
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log,
                                         stdin=subprocess.DEVNULL, cwd=self.dir)
        begin = time.monotonic()
        line = Background(self.proc.stdout.readline).result(timeout).decode()
        self.ready_ms = (time.monotonic() - begin) * 1000
        assert line.startswith("listening on "), f"first line {line!r}; {self.log()[-2000:]}"
        self.url = line.split()[2]
        host, port = self.url.split("://")[1].split(":")
        self.address = (host, int(port))
        self.token = (self.state / "admin.token").read_text().strip()
        self.client = Client(self.address, self.token, self.tls)
        return self

    def remember_traces(self):
        """Notes what this daemon's processes own, so that the end can be held against it."""
        for pid in [self.proc.pid, *self.descendants()]:
            with contextlib.suppress(OSError):
                self.groups |= set(re.findall(GROUP, pathlib.Path(f"/proc/{pid}/cgroup").read_text()))
                ns = os.readlink(f"/proc/{pid}/ns/net")
                if ns != os.readlink("/proc/self/ns/net"):
                    self.netns.add(ns)

    def signal(self, number, timeout=30):
        """Sends a signal that ends the daemon; returns its exit status."""
        self.remember_traces()
        self.proc.send_signal(number)
        try:
            return self.proc.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {timeout} s of signal {number}; there are still {self.roles()}\n"
                                 + self.log()[-8000:]) from None
        finally:
            if self.proc.poll() is None:
                self.proc.kill()
                self.proc.wait()

    def kill_everything(self):
        """What a crash of the whole machine's user space would do to the roles, and only to them."""
        self.remember_traces()
        self.proc.send_signal(signal.SIGSTOP)  # so that it restarts nothing in between
        until(lambda: proc_state(self.proc.pid) in "TZX", "the supervisor is stopped")
        victims = [self.proc.pid, *children(self.proc.pid)]  # one that it has just forked has no role's name yet
        for pid in reversed(victims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc.wait()
        until(lambda: not any(alive(p) for p in victims), "the roles are dead")

    def stop(self):
        """Ends the daemon with its replicas, and proves that nothing of it is left."""
        try:
            if self.proc and self.proc.poll() is None:
                status = self.signal(signal.SIGINT)
                assert status == 0, f"exit status {status}"
            else:  # a test ended it in a way that leaves replicas running
                self.cleanup()
            self.assert_nothing_left()
            log = self.log()
            for word in ("Sanitizer", "runtime error", "(Segmentation fault)", "(Aborted)"):
                assert word not in log, log[-8000:]
        finally:
            self.cleanup()
            shutil.rmtree(self.dir, ignore_errors=True)

    def cleanup(self):
        subprocess.run([str(BIN / "gantryd"), "cleanup", "--state", str(self.state)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def own_processes(self):
        """All that are anywhere in what this daemon has made, whoever their parent is."""
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError):
                cwd = os.readlink(f"/proc/{pid}/cwd")
                groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
                ns = os.readlink(f"/proc/{pid}/ns/net")
                # The number of a namespace that is gone may be that of another daemon's by now.
                in_ns = ns in self.netns and not set(re.findall(GROUP, groups)) - self.groups
                if cwd.startswith(str(self.state)) or in_ns or any(g in groups for g in self.groups):
                    found.append(pid)
        return found

    def without_owner(self, replicas):
        """Those of its processes that are neither its own nor of these replicas, by the first process of each."""
        self.remember_traces()
        owners, everything = {self.proc.pid, *replicas}, processes()

        def owned(pid):
            while pid in everything and pid not in owners:
                pid = everything[pid][0]
            return pid in owners
        return [pid for pid in self.own_processes() if pid in everything and not owned(pid)]

    def leftovers(self):
        left = [f"process {pid}: {processes().get(pid)}" for pid in self.own_processes()]
        for name in self.groups:
            left += [f"cgroup {d}" for d in cgroup_dirs(name)]
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.dir) in line and f" {self.state} " not in line:
                left.append(f"mount {line}")
        return left

    def assert_nothing_left(self):
        left = self.leftovers()
        end = time.monotonic() + 20 * SLOW  # the kernel takes namespaces down when it comes to it
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = self.leftovers()
        assert not left, "\n".join(left)

    def log(self):
        with contextlib.suppress(OSError):
            return self.log_path.read_text(errors="replace")
        return ""

    # ---- its processes --------------------------------------------------------------------
    def roles(self):
        """role -> pid, of the supervisor's direct children."""
        found = {}
        for pid in children(self.proc.pid):
            with contextlib.suppress(OSError):
                argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
                found.update({role: pid for role in self.roles_of if argv[1:] == [role.encode()]})
        return found

    def descendants(self):
        todo, found = [self.proc.pid], []
        while todo:
            more = children(todo.pop())
            found += more
            todo += more
        return found

    # ---- what most tests say --------------------------------------------------------------
    def put(self, name, spec, **more):
        reply = self.client.request("PUT", f"/v1/functions/{name}", spec, **more)
        assert reply.status in (200, 201), reply
        return reply

    def echo(self, name, **more):
        """Deploys examples/echo with some members of the spec changed."""
        return self.put(name, echo_spec(**more))

    def probe(self, name, **more):
        """Deploys the prober (Python on the host's root)."""
        return self.put(name, probe_spec(**more))

    def shell(self, name, script, **more):
        """Deploys a shell script."""
        return self.put(name, {"image": "host:", "command": ["/bin/sh", "-c", script], "port": 8000, **more})

    def call(self, name, path="/", method="GET", body=None, **more):
        return self.client.request(method, f"/f/{name}{path}", body, **more)

    def ask(self, name, path="/"):
        """Calls the prober; returns its JSON answer."""
        reply = self.call(name, path)
        assert reply.status == 200, reply
        return reply.json()

    def attempt(self, name, op, arg=""):
        return self.ask(name, f"/try?op={op}&arg={arg}")

    def replicas(self, name, *states):
        reply = self.client.get(f"/v1/functions/{name}/replicas")
        assert reply.status == 200, reply
        return [r for r in reply.json()["items"] if not states or r["state"] in states]

    def running(self, name):
        return self.replicas(name, "pending", "pulling", "starting", "ready", "draining")

    def wait_replicas(self, name, count, state="ready", timeout=20):
        """Waits until exactly `count` replicas are in `state`; returns them."""
        got = []

        def reached():
            got[:] = self.replicas(name, state)
            return len(got) == count

        until(reached, f"{count} replicas of {name} {state}, not {got}", timeout)
        return got

    def wait_zero(self, name, timeout=20):
        until(lambda: not self.running(name), f"{name} is at zero", timeout)

    def wait_quiet(self, name, timeout=20):
        """Waits until control has heard that no call waits or runs: a replica that is removed
        before that is replaced, for the calls that it seems to have."""
        def quiet():
            view = self.client.get(f"/v1/functions/{name}").json()
            return view["queued"] + view["in_flight"] == 0

        until(quiet, f"{name} has no call", timeout)

    def delete(self, name):
        reply = self.client.request("DELETE", f"/v1/functions/{name}")
        assert reply.status in (200, 202, 404), reply
        until(lambda: self.client.get(f"/v1/functions/{name}").status == 404, f"{name} is gone", 40)

    def events(self, **query):
        text = "&".join(f"{k}={v}" for k, v in {"limit": 1000, **query}.items())
        return self.client.get(f"/v1/events?{text}").json()["items"]

    def metrics(self):
        """name{labels} -> value"""
        found = {}
        for line in self.client.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                key, value = line.rsplit(" ", 1)
                found[key] = float(value)
        return found


def merged(spec, more):
    """One level deep, so that scale={"max": 1} keeps the other members of scale."""
    out = dict(spec)
    for key, value in more.items():
        out[key] = {**out[key], **value} if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


# A program that takes a websocket and says each thing backwards.
REVERSER = (
    "import os,socket\n"
    "s=socket.socket();s.setsockopt(1,2,1);s.bind(('127.0.0.1',int(os.environ['PORT'])));s.listen(16)\n"
    "while True:\n"
    " c,_=s.accept();h=b''\n"
    " while b'\\r\\n\\r\\n' not in h:\n"
    "  d=c.recv(4096)\n"
    "  if not d: break\n"
    "  h+=d\n"
    " if b'pgrade: websocket' not in h: c.close(); continue\n"
    " c.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n')\n"
    " while True:\n"
    "  d=c.recv(4096)\n"
    "  if not d: break\n"
    "  c.sendall(d[::-1])\n"
    " c.close()\n")


def echo_spec(**more):
    return merged({"image": f"dir:{ECHO_ROOT}", "command": ["/echo"], "port": 8000,
                   "resources": {"memory": "32MiB"}, "scale": {"idle": "60s"}}, more)


def probe_spec(**more):
    spec = merged({"image": "host:", "command": ["/usr/bin/python3", "/app/probe.py"], "port": 8000,
                   "volumes": [], "resources": {"memory": "128MiB"}, "scale": {"idle": "60s"}}, more)
    spec["volumes"] = [{"host": str(FUNCTIONS), "path": "/app"}, *spec["volumes"]]
    return spec


def crash(daemon, role):
    """Kills a role; returns when the next process of it is there, and control answers."""
    pid = until(lambda: daemon.roles().get(role), f"there is a {role}")
    os.kill(pid, signal.SIGKILL)
    until(lambda: daemon.roles().get(role) not in (None, pid), f"{role} is back")
    until(lambda: daemon.client.get("/v1/nodes").status == 200, "control answers", 30)


class Held:
    """A call of the echo that ends when it is told to: the last byte of its body comes only then."""
    SIZE = 100_000  # a call gets a slot when 64 KiB of its body are there

    def __init__(self, client, name, headers=None, timeout=30):
        self.conn = client.open("POST", f"/f/{name}/", headers={"Content-Length": str(self.SIZE), **(headers or {})},
                                timeout=timeout)
        self.conn.send(b"x" * (self.SIZE - 1))
        self.answer = None

    def begun(self):
        """Waits until a replica has it: the echo answers at once."""
        # Not by the connection, which would close: "Connection: close" says that this call is its last.
        self.answer = http.client.HTTPResponse(self.conn.sock, method="POST")
        self.answer.begin()
        assert self.answer.status == 200, self.answer.read()
        return self

    def end(self):
        self.conn.send(b"x")
        assert self.answer.read().endswith(b"x" * self.SIZE)
        self.answer.close()
        self.conn.close()
