"""F13: ten times what there is room for. Capacity is measured first, then ten times that is offered, whatever comes of it
(open loop): calls over few connections and over many, calls with bodies, durable calls, lists and deploys; and many functions
at zero are called at once. All the while health is asked over new connections, and memory is looked at.
LOAD_S (10) seconds of each; faults.py adds the rows to its own."""
import contextlib
import json
import os
import socket
import threading
import time

import bench
from gateway_rig import Ours, System, anon_kib, many_descriptors, progress, upstream_spec
from harness import echo_spec, until

SECONDS = float(os.environ.get("LOAD_S", "10"))
TIMES = 10
SERVICE_MS, REPLICAS, SLOTS, QUEUE = 20, 4, 4, 200
FEW, MANY = 300, 5000  # connections
BODY = 48 << 10
COLD = 200  # functions at zero
RATE_MAX = 30000  # what can be offered beside all else on two processors
MEMORY_MIB = 256  # what a gateway may buffer


class Watch(threading.Thread):
    """Asks for health over a new connection each time, and looks at memory, until stopped."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.gantry, self.ended = daemon, threading.Event()
        self.took, self.failed = [], []
        self.roles = {role: daemon.roles()[role] for role in ("gateway", "control")}
        self.before = {role: anon_kib([pid]) for role, pid in self.roles.items()}
        self.most = dict(self.before)

    def run(self):
        n = 0
        while not self.ended.wait(0.005):
            path = ("/livez", "/readyz")[n % 2]
            begin = time.monotonic()
            try:
                status = self.gantry.client.get(path, timeout=10).status
            except OSError as e:
                status = repr(e)
            self.took.append((time.monotonic() - begin) * 1000)
            if status != 200:
                self.failed.append(f"{path}: {status}")
            if n % 20 == 0:
                for role, pid in self.roles.items():
                    self.most[role] = max(self.most[role], anon_kib([pid]))
            n += 1

    def grown_mib(self, role):
        return (self.most[role] - self.before[role]) / 1024


@contextlib.contextmanager
def watched(daemon, watches):
    watch = Watch(daemon)
    watch.start()
    try:
        yield watch
    finally:
        watch.ended.set()
        watch.join()
        watches.append(watch)


class Phase:
    """One kind of request: what there is room for, before and after, and what becomes of ten times that in between."""

    def __init__(self, daemon, watches, name, function, what, slots, conns, **request):
        system = System(name, daemon.address[1], lambda: [], function, daemon.token)
        system.words = without_groups(system.words)
        self.name = name

        def room():
            got = system.load("closed", what, conns=slots, seconds=SECONDS / 2, overload=1, **request)
            return got["requests"] / got["seconds"]

        before = room()
        self.rate = int(min(TIMES * before, RATE_MAX))
        with watched(daemon, watches) as self.watch:
            self.got = system.load("open", what, conns=conns, seconds=SECONDS, overload=1, rate=self.rate, **request)
        until(lambda: daemon.client.get("/readyz").status == 200, "it is ready")
        self.capacity = (before + room()) / 2
        self.goodput = self.got["requests"] / self.got["seconds"] / self.capacity
        self.times = self.rate / self.capacity
        self.late_ms = self.got["refused_p99_us"] / 1000
        self.health_ms = bench.quantile(self.watch.took, 0.99)
        progress(f"{name}: capacity {self.capacity:,.0f}/s, {self.times:.1f} times that offered, goodput {self.goodput:.3f}, "
                 f"refused {self.got['refused']:,} in {self.got['refused_p50_us'] / 1000:.2f}, {self.late_ms:.2f} ms; "
                 f"health {self.health_ms:.1f} ms; grown {self.watch.grown_mib('gateway'):.1f}, "
                 f"{self.watch.grown_mib('control'):.1f} MiB; load {os.getloadavg()[0]:.0f}")


def without_groups(words):
    """Nobody's CPU time is asked for."""
    def run(*args, **settings):
        return [w for w in words(*args, **settings) if not w.startswith("cpu=")]
    return run


def calls(daemon, watches):
    scale = {"min": REPLICAS, "max": REPLICAS, "concurrency": {"target": SLOTS, "max": SLOTS}}
    daemon.put("busy", upstream_spec(scale=scale, limits={"queue": QUEUE, "log": "64KiB"}))
    daemon.wait_replicas("busy", REPLICAS)
    what, slots = f"late-1024-{SERVICE_MS}", REPLICAS * SLOTS
    return [Phase(daemon, watches, name, "/f/busy", what, slots, conns)
            for name, conns in (("few connections", FEW), ("many connections", MANY))]


def bodies(daemon, watches):
    """The queue has room for more calls than the gateway has for their bodies."""
    daemon.put("large", upstream_spec(scale={"min": 1, "max": 1, "concurrency": {"target": 4, "max": 4}},
                                      limits={"queue": 20000, "log": "64KiB"}))
    daemon.wait_replicas("large", 1)
    return Phase(daemon, watches, "bodies", "/f/large", "late-1024-100", 4, MANY // 2, method="POST", body=BODY)


def durable(daemon, watches):
    daemon.put("kept", upstream_spec(scale={"min": 1, "max": 1, "concurrency": {"target": 4, "max": 4}}))
    daemon.wait_replicas("kept", 1)
    return Phase(daemon, watches, "durable calls", "/v1/functions/kept", "calls?path=/late-16-20", 64, MANY // 2,
                 method="POST", field="Prefer: respond-async", text="x")


def management(daemon, watches):
    """A list of a thousand functions, and deploys of one."""
    spec = json.dumps(echo_spec())
    for i in range(1000):
        daemon.put(f"listed{i}", spec)
    text = json.dumps(echo_spec(env={"A": "1"}), separators=(",", ":"))
    return [Phase(daemon, watches, "lists", "/v1", "functions?limit=1000", 16, MANY // 2),
            Phase(daemon, watches, "deploys", "/v1/functions", "deployed", 16, MANY // 2, method="PUT",
                  field="Content-Type: application/json", text=text)]


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        if not more:
            break
        data += more
    return data.split(b" ", 2)[1]


def herd(daemon, watches):
    """All at once; returns seconds until the last one was answered, and answers that are not 200."""
    names = [f"cold{i}" for i in range(COLD)]
    for name in names:
        daemon.echo(name)
    socks = [socket.create_connection(daemon.address, 60) for _ in names]
    with watched(daemon, watches) as watch:
        begin = time.monotonic()
        for sock, name in zip(socks, names, strict=True):
            sock.sendall(f"GET /f/{name}/ HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {daemon.token}\r\n\r\n".encode())
        statuses = [answer(sock) for sock in socks]
        took = time.monotonic() - begin
    for sock in socks:
        sock.close()
    bad = [s for s in statuses if s != b"200"]
    progress(f"{COLD} functions at zero: {took:.2f} s, {len(bad)} bad; health {bench.quantile(watch.took, 0.99):.1f} ms")
    return took, len(bad)


def rows():
    many_descriptors()
    watches = []
    with Ours() as daemon:
        busy = [*calls(daemon, watches), bodies(daemon, watches)]
        api = [durable(daemon, watches), *management(daemon, watches)]
        took, bad = herd(daemon, watches)
    least = min(busy, key=lambda p: p.goodput)
    late = max(busy, key=lambda p: p.late_ms)
    sick = max(busy, key=lambda p: p.health_ms)
    wrong = sum(p.got["errors"] for p in busy + api)
    failed = sum(len(w.failed) for w in watches)
    grown, control = (max(w.grown_mib(role) for w in watches) for role in ("gateway", "control"))
    made = [bench.row("F13.goodput", f"calls at {TIMES} times of what there is room for: served, of that ({least.name}, "
                      f"{least.capacity:,.0f} a second)", least.goodput, "", goal=">= 0.9", passed=least.goodput >= 0.9),
            bench.row("F13.rejected", f"{sum(p.got['refused'] for p in busy):,} of them refused with Retry-After: from when each "
                      f"was due, p99 ({late.name})", late.late_ms, "ms", goal="<= 5", passed=late.late_ms <= 5),
            bench.row("F13.health", f"/livez and /readyz meanwhile, over new connections: p99 ({sick.name})", sick.health_ms, "ms",
                      goal="<= 50", passed=sick.health_ms <= 50),
            bench.row("F13.memory", "the gateway has grown by, at most", grown, "MiB", goal=f"<= {MEMORY_MIB}",
                      passed=grown <= MEMORY_MIB),
            bench.row("F13.memory.control", "control has grown by, at most", control, "MiB"),
            bench.row("F13.errors", "answers of any kind that were neither service nor such a refusal, and failed questions for "
                      "health", wrong + failed, "", goal="0", passed=wrong + failed == 0)]
    for p in api:
        name = p.name.split()[0]
        made += [bench.row(f"F13.{name}", f"{p.name} at {p.times:.1f} times of {p.capacity:,.0f} a second: served, of that",
                           p.goodput, ""),
                 bench.row(f"F13.{name}.rejected", f"{p.got['refused']:,} of them refused, p99", p.late_ms, "ms"),
                 bench.row(f"F13.{name}.health", "health meanwhile, p99", p.health_ms, "ms")]
    return [*made, bench.row("F13.herd", f"{COLD} functions at zero called at once, {bad} not answered with 200: until the last "
                             "answer", took, "s", goal="all", passed=bad == 0)]


if __name__ == "__main__":
    bench.write("overload", rows())
