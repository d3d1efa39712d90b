"""Several hosts on this machine: network namespaces joined by a bridge in one more, each with a gantryd and a state
directory of its own. The first one has control and the door, the others have joined it.

Nothing leaves them: no namespace has a link to the machine's own network. What is done to a link (cut, one way only, slow)
is done at the bridge's end of it, so that no host can know of it but by what does not arrive, or late.
"""
import contextlib
import ctypes
import http.client
import itertools
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

from harness import BIN, OUT, ROLES, Background, Client, Daemon, until

NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
PORT = 8080
RANGES = 4000 * 65536  # ids of a node's containers
BASE = 1879048192
_libc = ctypes.CDLL(None, use_errno=True)
_worlds = itertools.count()


def run(*words, check=True, stdin=None):
    return subprocess.run(words, check=check, input=stdin, text=True, capture_output=True)


@contextlib.contextmanager
def inside(path):
    """This thread in another network namespace: sockets that are made now belong there, and stay there."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(path, "rb") as there:
        if _libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if _libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                os.abort()


@contextlib.contextmanager
def undone(undo, *args):
    """What is begun here is undone when it fails half-way."""
    try:
        yield
    except BaseException:
        undo(*args)
        raise


class HostClient(Client):
    """From where the host is."""

    def __init__(self, netns, *args):
        super().__init__(*args)
        self.netns = netns

    def open(self, *args, **more):
        with inside(self.netns):
            return super().open(*args, **more)


class Clock:
    """A host's, which can be set: tests/fake/clock has what its processes are told."""

    roles = ("control", "gateway", "agent", "uplink")

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(8 * (1 + len(self.roles))))

    def set(self, seconds, role=None):
        """That many seconds off the machine's, at once and for all processes of the host, or for those of a role more."""
        with open(self.path, "r+b") as f:
            f.seek(8 * (1 + self.roles.index(role)) if role else 0)
            f.write(struct.pack("q", int(seconds * 1e9)))

    def env(self):
        return {"LD_PRELOAD": str(OUT / "tests/fake/libclock.so"), "GT_FAKE_CLOCK": str(self.path),
                "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}


class Host(Daemon):
    """A gantryd in a namespace. `role` is `run` or `agent`."""
    numbers = itertools.count()

    def __init__(self, net, name, kind, config="", gpus="none", disk=None):
        super().__init__()
        with undone(shutil.rmtree, self.dir):
            self.make(net, name, kind, config, gpus, disk)

    def make(self, net, name, kind, config, gpus, disk):
        self.program = self.dir / "gantryd"  # which a test may replace
        for program in ("gantryd", "gantry-preflight"):
            shutil.copy(BIN / program, self.dir / program)
        self.net, self.name, self.kind, self.gpus = net, name, kind, gpus
        self.roles_of = ROLES if kind == "run" else ("agent", "uplink")
        self.netns_path = net.add(name)
        self.ip = net.address(name)
        self.config = self.dir / "gantryd.conf"
        self.text = config
        self.base = BASE - (2 + next(Host.numbers) % 6) * RANGES
        self.clock = Clock(self.dir / "clock")
        self.join = []
        self.write_config()
        self.disk = disk
        if disk:
            self.state.mkdir()
            run("mount", "-t", "tmpfs", "-o", f"size={disk},mode=0755", "none", str(self.state))

    def write_config(self):
        self.config.write_text(f"[agent]\nsubid_base = {self.base}\nnode = {self.name}\ngpus = {self.gpus}\n"
                               f"labels = host={self.name}\npool = 1\n{self.text}")

    def command(self):
        words = ["nsenter", f"--net={self.netns_path}", str(self.program), self.kind, "--state", str(self.state),
                 "--config", str(self.config)]
        return words + (["--listen", f"{self.ip}:{PORT}"] if self.kind == "run" else self.join)

    def spawn(self):
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log,
                                         stdin=subprocess.DEVNULL, cwd=self.dir,
                                         env={**os.environ, **self.clock.env()})

    def wait_ready(self, timeout=20):
        line = Background(self.proc.stdout.readline).result(timeout).decode()
        expected = "listening on " if self.kind == "run" else f"running as node {self.name}"
        assert line.startswith(expected), f"first line {line!r}; {self.log()[-2000:]}"
        if self.kind == "run":
            self.address = (self.ip, PORT)
            self.url = f"http://{self.ip}:{PORT}"
            self.token = (self.state / "admin.token").read_text().strip()
            self.client = HostClient(self.netns_path, self.address, self.token)
        return self

    def start(self, timeout=20):
        self.spawn()
        return self.wait_ready(timeout)

    def remember_traces(self):
        """Control groups alone: the number of a namespace is soon that of another host's."""
        super().remember_traces()
        self.netns.clear()

    def kill_role(self, role, number=signal.SIGKILL):
        """Ends a process of it, and waits for the next one. False: there was none just then."""
        pid = self.roles().get(role)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if number == signal.SIGKILL:
            until(lambda: self.roles().get(role) not in (None, pid), f"{role} of {self.name} is back", 30)
        return True

    @contextlib.contextmanager
    def standing_still(self):
        """None of its processes runs, replicas neither; what the kernel does for them goes on."""
        pids = [self.proc.pid, *self.descendants()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def replace_roles(self, number):
        """By a reload (SIGHUP) or another program (SIGUSR2), until each is another process. Returns those before."""
        before = self.roles()
        self.proc.send_signal(number)

        def replaced():
            now = self.roles()
            return all(now.get(r) not in (None, before.get(r)) for r in self.roles_of)

        until(replaced, f"all roles of {self.name} are new", 30, 0.02)
        return before

    def inside(self):
        return inside(self.netns_path)

    def fill(self):
        """Not a byte is left: a file may have room in its last page otherwise."""
        with contextlib.suppress(OSError), open(self.state / "filler", "wb", buffering=0) as f:
            disk = os.statvfs(self.state)
            with contextlib.suppress(OSError):  # others write, too
                os.posix_fallocate(f.fileno(), 0, disk.f_bavail * disk.f_frsize * 9 // 10)
            f.seek(0, os.SEEK_END)
            for size in (1 << 20, 65536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while f.write(b"x" * size):
                        pass

    def unfill(self):
        (self.state / "filler").unlink(missing_ok=True)

    def abandon(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.cleanup()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cleanup(self):
        """After the end of all: of what was there no mount is left."""
        super().cleanup()
        if self.disk and self.state.is_mount():
            run("umount", "-l", str(self.state))


class Net:
    """The bridge, and a link to each namespace."""

    def __init__(self):
        self.tag = f"gt{os.getpid() % 100000}x{next(_worlds)}"
        self.hub = f"{self.tag}-hub"
        self.names = []
        self.slow_ways = []
        with undone(self.remove):
            run("ip", "netns", "add", self.hub)
            self.on_hub("ip", "link", "add", "br0", "type", "bridge")
            self.on_hub("ip", "link", "set", "br0", "up")
            # A link that is down answers no more; these rules lose what should go on over one that is up.
            self.nft("add table bridge cut", "add set bridge cut pairs { type ifname . ifname; }",
                     "add chain bridge cut f { type filter hook forward priority 0; }",
                     "add rule bridge cut f iifname . oifname @pairs drop")

    def on_hub(self, *words, **more):
        return run("ip", "netns", "exec", self.hub, *words, **more)

    def nft(self, *lines):
        run("nsenter", f"--net={NETNS / self.hub}", "nft", "-f", "-", stdin="\n".join(lines) + "\n")

    def path(self, name):
        return NETNS / f"{self.tag}-{name}"

    def address(self, name):
        return f"10.91.0.{self.names.index(name) + 1}"

    def add(self, name):
        self.names.append(name)
        ns = self.path(name).name
        run("ip", "netns", "add", ns)
        run("ip", "-n", self.hub, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", ns)
        run("ip", "-n", self.hub, "link", "set", f"to-{name}", "master", "br0", "up")
        run("ip", "-n", ns, "link", "set", "lo", "up")
        run("ip", "-n", ns, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
        run("ip", "-n", ns, "link", "set", "eth0", "up")
        run("ip", "-n", ns, "route", "add", "default", "dev", "eth0")
        return self.path(name)

    def cut(self, one, other, both=True):
        """What `one` sends to `other` is lost, and the other way where that is so too."""
        pairs = [(one, other), (other, one)] if both else [(one, other)]
        self.nft(*(f'add element bridge cut pairs {{ "to-{a}" . "to-{b}" }}' for a, b in pairs))

    def mac(self, name):
        return run("ip", "netns", "exec", self.path(name).name, "cat", "/sys/class/net/eth0/address").stdout.strip()

    def slow(self, one, other, delay, both=True):
        """What `one` sends to `other` arrives `delay` seconds later, and the other way where that is so too."""
        pairs = [(one, other), (other, one)] if both else [(one, other)]
        words = [w for a, b in pairs for w in (f"to-{a}", f"to-{b}", self.mac(b))]
        self.slow_ways.append(subprocess.Popen(
            ["nsenter", f"--net={NETNS / self.hub}", sys.executable, str(pathlib.Path(__file__).with_name("slow_link.py")),
             str(delay), *words], stdout=subprocess.PIPE))
        assert self.slow_ways[-1].stdout.readline() == b"ready\n"
        self.cut(one, other, both)

    def narrow(self, name, rate):
        """What goes to a host has this room only, such as 1mbit, and waits at most half a second for it."""
        self.on_hub("tc", "qdisc", "replace", "dev", f"to-{name}", "root", "tbf", "rate", rate, "burst", "16kb",
                    "latency", "500ms")

    def heal(self):
        self.nft("flush set bridge cut pairs")
        for name in self.names:
            self.on_hub("tc", "qdisc", "del", "dev", f"to-{name}", "root", check=False)
        for way in self.slow_ways:
            way.kill()
            way.wait()
            way.stdout.close()
        self.slow_ways.clear()

    def remove(self):
        for name in [*self.names, "hub"]:
            run("ip", "netns", "del", self.path(name).name, check=False)


class Hosts:
    """hosts["a"] has control; the others have joined it. disk: the size of each one's own, such as 64m."""

    def __init__(self, names="ab", config=None, gpus=None, joined=True, disk=None):
        self.net = Net()
        self.all = {}
        with undone(self.abandon):
            self.config, self.gpus, self.disk = config or {}, gpus or {}, disk
            self.prepare(names)
            self.first.start(60)
            if joined:
                for name in names[1:]:
                    self.join(name)
                self.wait_nodes("ready")

    def prepare(self, names):
        for name in names:
            kind = "run" if not self.all else "agent"
            self.all[name] = Host(self.net, name, kind, self.config.get(name, ""), self.gpus.get(name, "none"), self.disk)

    @property
    def first(self):
        return next(iter(self.all.values()))

    def __getitem__(self, name):
        return self.all[name]

    def new_token(self, **more):
        reply = self.first.client.request("POST", "/v1/nodes/tokens", more)
        assert reply.status == 201, reply
        return reply.json()["token"]

    def join(self, name):
        host = self.all[name]
        host.join = ["--join", f"https://{self.first.ip}:{PORT}", "--token", self.new_token()]
        host.start()
        host.join = []
        return host

    def nodes(self, ask=None):
        """name -> state, by what the first host says, or another one"""
        return {n["name"]: n["state"] for n in (ask or self.first).client.get("/v1/nodes").json()["items"]}

    def wait_nodes(self, state, *names, timeout=30, ask=None):
        names = names or self.all

        def all_are():
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError):  # control or the door may be away
                states = self.nodes(ask)
                return all(states.get(n) == state for n in names)
            return False

        until(all_are, f"{names} {state}", timeout)

    def log(self):
        return "\n".join(f"== {n}\n{h.log()[-4000:]}" for n, h in self.all.items())

    def stop(self):
        """Ends all and proves that nothing is left."""
        failed = []
        self.net.heal()
        for host in reversed(self.all.values()):
            try:
                host.stop()
            except Exception as e:
                failed.append(f"{host.name}: {e}")
        self.net.remove()
        assert not failed, "\n".join(failed)

    def abandon(self):
        """After a failure to begin."""
        with contextlib.ExitStack() as last:  # the last host first; none keeps what is left of another
            last.callback(self.net.remove)
            for host in self.all.values():
                last.callback(host.abandon)


class Load:
    """Calls one after the other in threads until stopped; what was not answered with 200 is kept."""

    def __init__(self, client, path, threads=2, pause=0.0, method="GET"):
        self.client, self.path, self.pause, self.method = client, path, pause, method
        self.stopping = threading.Event()
        self.served, self.failed, self.slowest = [0] * threads, [], 0.0
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, i):
        while not self.stopping.wait(self.pause):
            begin = time.monotonic()
            try:
                reply = self.client.request(self.method, self.path, None if self.method == "GET" else b"x" * 3000, timeout=30)
                if reply.status != 200:
                    self.failed.append((reply.status, reply.text[:500]))
            except Exception as e:
                self.failed.append((0, repr(e)))
            self.served[i] += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        return sum(self.served)
