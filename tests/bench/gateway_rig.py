"""What `make bench-gateway` measures with: a network namespace, the load generator, Gantry's daemon with a replica
that is the upstream program, and the peers in front of the same program."""
import contextlib
import ctypes
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import OUT, Daemon, processes, until

FOLDER = OUT / "tests/bench/gateway"
LOAD = FOLDER / "load"
UPSTREAM_ROOT = FOLDER / "rootfs"
GO_PROXY = FOLDER / "proxy"
# The system under test has one processor, the load generator and the upstream program the other.
SUT_CORE, LOAD_CORE = 0, 1
UPSTREAM_PORT = 9000
SOCKET = "/up.sock"  # of a replica that is reached by a unix socket
BEGIN = time.monotonic()


def progress(text):
    print(f"  [{time.monotonic() - BEGIN:5.0f} s] {text}", flush=True)


def private_network():
    """For this process and all that it starts; the kernel removes it with the last of them."""
    CLONE_NEWNET = 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare the network")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    net = pathlib.Path("/proc/sys/net")
    for key, value in (("ipv4/tcp_congestion_control", "reno"), ("ipv4/ip_local_port_range", "1024 65000"),
                       ("ipv4/ip_local_reserved_ports", "9000-9999"), ("core/somaxconn", "16384"),
                       ("ipv4/tcp_max_syn_backlog", "16384")):
        (net / key).write_text(value)


def many_descriptors(wanted=65536):
    """Raises the limit for all that is started from here; returns what there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # more than the hard limit needs CAP_SYS_RESOURCE
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pinned(core, words):
    return ["taskset", "-c", str(core), *map(str, words)]


def thread_of_core(core):
    """The kernel's thread for network work that did not end in the interrupt: it works for whoever is on the core."""
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text() == f"ksoftirqd/{core}\n":
                return int(comm.parent.name)
    raise AssertionError(f"there is no ksoftirqd/{core}")


def anon_kib(pids):
    """User-space memory of their own."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total


class System:
    """Something that answers requests at a port. `pids` is asked for each time: workers come and go. Requests are
    equally long for all."""

    def __init__(self, name, port, pids, path="/f/bench", token="gty_" + 64 * "0", others=None):
        self.name, self.port, self.pids, self.path, self.token = name, port, pids, path, token
        self.others = others or (lambda: [])

    def words(self, mode, what, **settings):
        groups = {"sut": [*self.pids(), thread_of_core(SUT_CORE)], "others": self.others()}
        words = [LOAD, mode, f"port={self.port}", f"path={self.path}/{what}", f"token={self.token}",
                 f"core={LOAD_CORE}"]
        words += [f"cpu={k}:{','.join(map(str, v))}" for k, v in groups.items() if v]
        return [str(w) for w in words] + [f"{k}={v}" for k, v in settings.items()]

    def load(self, mode, what, **settings):
        """Runs the generator to its end; its numbers. An error of any request ends the benchmark."""
        done = subprocess.run(self.words(mode, what, **settings), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=180, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{self.name}: {done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        if result["errors"]:
            raise AssertionError(f"{self.name}: {mode} {what} had errors: {result} {done.stderr}")
        return result


class Live:
    """A generator that is looked at while it runs, from the moment it has said `word`."""

    def __init__(self, system, mode, what, word, **settings):
        self.proc = subprocess.Popen(system.words(mode, what, **settings), text=True, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        line = self.proc.stdout.readline()
        if line != f"{word}\n":
            raise AssertionError(f"{system.name}: the generator says {line!r}")

    def result(self):
        """Waits until every request has its answer."""
        return json.loads(self.proc.stdout.readline())

    def end(self):
        """The same of one that goes on until it is told."""
        self.proc.stdin.close()
        return self.result()

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(60)
        self.proc.stdout.close()


def once(system, what, conns, window):
    """Connections that each send one request, at most `window` at a time, and then stay until closed."""
    return Live(system, "once", what, "sent", conns=conns, window=window)


# ---- ours ----

def upstream_spec(*words, unix=False, **more):
    where = {"socket": SOCKET} if unix else {"port": 8000}
    listen = f"unix={SOCKET}" if unix else "port=8000"
    return {"image": f"dir:{UPSTREAM_ROOT}", "command": ["/upstream", f"core={LOAD_CORE}", *words, listen],
            "limits": {"queue": 20000, "log": "64KiB"}, **where, **more}


class Ours(Daemon):
    """The product, with one replica of the upstream program behind each of `bench` and `bench-unix`. On all
    processors, or on the one of the system under test."""

    def __init__(self, core=None):
        super().__init__()
        self.core = core
        self.config = self.dir / "gantryd.conf"
        self.config.write_text("[gateway]\nmax_connections = 20000\n[daemon]\nlog_level = error\n")

    def __enter__(self):
        before = os.sched_getaffinity(0)
        try:
            if self.core is not None:
                os.sched_setaffinity(0, {self.core})
            self.start()
            self.deploy("bench")
            self.deploy("bench-unix", unix=True)
        except BaseException:
            self.stop()
            raise
        finally:
            os.sched_setaffinity(0, before)
        return self

    def deploy(self, name, unix=False):
        self.put(name, upstream_spec(unix=unix, scale={"min": 1, "max": 1, "concurrency": 10000}))
        self.wait_replicas(name, 1)

    def __exit__(self, *_):
        self.stop()

    def system(self, name="ours", function="bench"):
        return System(name, self.address[1], lambda: [self.roles()["gateway"]], f"/f/{function}", self.token,
                      lambda: [self.proc.pid, self.roles()["control"], self.roles()["agent"]])


# ---- peers ----

NGINX = """daemon off; user root; pid {dir}/nginx.pid; error_log {dir}/nginx.log; worker_processes 1;
worker_rlimit_nofile {files};
events {{ worker_connections {most}; }}
http {{
	access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
	client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
	uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
	proxy_http_version 1.1; proxy_set_header Connection "";
	upstream tcp {{ server 127.0.0.1:{up}; keepalive 256; keepalive_requests 1000000000; }}
	upstream unix {{ server unix:{dir}/up.sock; keepalive 256; keepalive_requests 1000000000; }}
	server {{ listen 127.0.0.1:9101 backlog=16384; location / {{ proxy_pass http://tcp; }} }}
	server {{ listen 127.0.0.1:9102 backlog=16384; location / {{ proxy_pass http://unix; }} }}
	server {{ listen 127.0.0.1:9103 backlog=16384;
		location / {{ proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_pass http://tcp; }} }}
}}
"""
HAPROXY = """global
	maxconn {third}
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 600s
	http-reuse always
frontend tcp
	bind 127.0.0.1:9201
	default_backend tcp
backend tcp
	server up 127.0.0.1:{up}
frontend unix
	bind 127.0.0.1:9202
	default_backend unix
backend unix
	server up unix@{dir}/up.sock
frontend sse
	bind 127.0.0.1:9203
	option http-no-delay
	default_backend sse
backend sse
	option http-no-delay
	server up 127.0.0.1:{up}
"""
# Names of systems and their ports; `.unix`: by a unix socket, `.big`, `.sse`: tuned for it.
PORTS = {"nginx": 9101, "nginx.unix": 9102, "nginx.big": 9103, "haproxy": 9201, "haproxy.unix": 9202,
         "haproxy.sse": 9203, "go": 9301, "direct": UPSTREAM_PORT}


class Peers:
    """nginx, HAProxy and Go's reverse proxy, before one upstream program."""

    def __init__(self, files):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench-"))
        self.procs = {}
        values = {"dir": self.dir, "up": UPSTREAM_PORT, "files": files, "most": files - 100, "third": files // 3}
        (self.dir / "nginx.conf").write_text(NGINX.format(**values))
        (self.dir / "haproxy.cfg").write_text(HAPROXY.format(**values))

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.run("direct", LOAD_CORE, [UPSTREAM_ROOT / "upstream", f"port={UPSTREAM_PORT}", f"unix={self.dir}/up.sock"])
        self.run_nginx()
        self.run("haproxy", SUT_CORE, ["haproxy", "-db", "-f", self.dir / "haproxy.cfg"])
        self.run("go", SUT_CORE, [GO_PROXY, PORTS["go"], UPSTREAM_PORT])

    def run_nginx(self):
        self.run("nginx", SUT_CORE, ["nginx", "-c", self.dir / "nginx.conf", "-e", self.dir / "nginx.log"])

    def run(self, name, core, words):
        with open(self.dir / f"{name}.out", "ab") as log:
            self.procs[name] = subprocess.Popen(pinned(core, words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                env={**os.environ, "GOMAXPROCS": "1"})
        for system, port in PORTS.items():
            if system.split(".")[0] == name:
                until(lambda p=port: self.listens(p), f"{system} listens: {self.log()}")

    def end(self, name):
        proc = self.procs.pop(name)
        proc.send_signal(signal.SIGTERM)
        try:
            proc.wait(10)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()

    def fresh_nginx(self):
        """The same, started again: no memory that it has left over."""
        self.end("nginx")
        self.run_nginx()
        return self.system("nginx")

    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def log(self):
        return " ".join(p.read_text(errors="replace")[-500:] for p in self.dir.glob("*.out"))

    def pids(self, name):
        tree, found = processes(), [self.procs[name].pid]
        for parent in found:
            found += [p for p, (of, _, _) in tree.items() if of == parent]
        return found

    def system(self, name):
        return System(name, PORTS[name], lambda: self.pids(name.split(".")[0]))

    def __exit__(self, *_):
        for name in list(self.procs):
            self.end(name)
        shutil.rmtree(self.dir, ignore_errors=True)
