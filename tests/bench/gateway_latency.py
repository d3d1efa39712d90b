"""G9, the way of a request that nobody serves yet; G11, clients that leave; G12, requests that must be refused."""
import json
import re
import socket
import statistics
import subprocess
import time

from bench import quantile, row
from gateway_rig import progress, upstream_spec
from harness import ROOT, Raw, proc_status, until


def get(daemon, path, *fields):
    """A whole GET request."""
    head = [f"GET {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {daemon.token}", *fields, "", ""]
    return "\r\n".join(head).encode()


class Asker:
    """A kept connection; `ask` gives the body of a 200."""

    def __init__(self, daemon):
        self.daemon, self.raw = daemon, Raw(daemon.address, 30)

    def ask(self, path):
        self.raw.send(get(self.daemon, path))
        data = self.raw.read_some()
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < content_length(data):
            data += self.raw.read_some()
        if not data.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(data[:300])
        return data.partition(b"\r\n\r\n")[2].decode()

    def numbers(self, path):
        return [int(word) for word in self.ask(path).split()]

    def seen(self):
        """The gateway has read whatever was sent before: it has one thread, and epoll keeps the order."""
        self.ask("/f/bench/bytes-1")

    def close(self):
        self.raw.close()


def content_length(data):
    return int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", data)[1])


def latency(id, what, ms, goal, **more):
    """A row that is judged by its 99th percentile."""
    p99 = quantile(ms, 0.99)
    out = row(id, what, p99, "ms", goal=f"<= {goal} ms" if goal else None, passed=p99 <= goal if goal else None, **more)
    return out | {"runs": len(ms), "min": round(min(ms), 3), "median": round(statistics.median(ms), 3),
                  "p99": round(p99, 3)}


# ---- G9: a cold call ----

class ControlTrace:
    """What control reads, with the time of each read, by strace: it slows control down, never the gateway, so that
    the figures are upper bounds."""

    def __init__(self, daemon):
        self.path = daemon.dir / "control.trace"
        control = daemon.roles()["control"]
        self.proc = subprocess.Popen(["strace", "-f", "-q", "-ttt", "-s", "2000", "-e", "trace=read,recvfrom,recvmsg",
                                      "-o", str(self.path), "-p", str(control)])
        until(lambda: proc_status(control, "TracerPid") != ["0"], "strace is attached")

    def told(self, function):
        """Times at which control had read that exactly one call of the function waits, in s."""
        pattern = re.compile(rf"^\d+ +(\d+\.\d+) .*\\\"function\\\":\\\"{function}\\\"[^}}]*\\\"queued\\\":1\b", re.M)
        return [float(t) for t in pattern.findall(self.path.read_text(errors="replace"))]

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)


def cold_call(daemon, asker, name):
    """Returns when it was sent, and ms from the replica's listening to its first request; then there is none again."""
    sent = time.time()
    listened, first = asker.numbers(f"/f/{name}/stamps")
    daemon.wait_quiet(name)
    for replica in daemon.running(name):
        daemon.client.request("DELETE", f"/v1/functions/{name}/replicas/{replica['id']}")
    daemon.wait_zero(name)
    return sent, (first - listened) / 1e6


def queue(daemon, starts):
    reach, asker = {}, Asker(daemon)
    for name, unix in (("cold", False), ("cold-unix", True)):
        daemon.put(name, upstream_spec(unix=unix, scale={"min": 0, "max": 1}))
        reach[name] = [cold_call(daemon, asker, name)[1] for _ in range(starts)]
    progress(f"G9: {2 * starts} cold calls")
    trace = ControlTrace(daemon)
    sent = [cold_call(daemon, asker, "cold")[0] for _ in range(starts)]
    trace.close()
    asker.close()
    told = trace.told("cold")
    ms = [(min(t for t in told if t >= s) - s) * 1000 for s in sent]
    progress(f"G9: {starts} traced cold calls")
    return [latency("G9", "first request sent -> control has read that it waits, 99 %, control traced", ms, 1),
            latency("G9.reach", "replica listens -> it has read the request, 99 %, TCP", reach["cold"], 3),
            latency("G9.reach.unix", "the same, unix socket", reach["cold-unix"], 1)]


# ---- G11: the client leaves ----

def in_flight(daemon, asker, n):
    """ms from the client's close until the replica sees its connection end."""
    client = Raw(daemon.address)
    client.send(get(daemon, f"/f/bench/hold-{n}"))
    until(lambda: asker.numbers(f"/f/bench/held-{n}")[0], "the replica has the request")
    left_ns = time.monotonic_ns()
    client.close()
    while not (closed_ns := asker.numbers(f"/f/bench/held-{n}")[1]):
        pass
    return (closed_ns - left_ns) / 1e6


def queued(daemon, asker):
    """ms from the client's half-close until the gateway has dropped the call and with it the connection."""
    with Raw(daemon.address) as client:
        client.send(get(daemon, "/f/narrow/bytes-1"))
        asker.seen()
        left_ns = time.monotonic_ns()
        client.sock.shutdown(socket.SHUT_WR)
        data = client.read_all()
        if data:
            raise AssertionError(f"a queued call was answered: {data[:300]}")
        return (time.monotonic_ns() - left_ns) / 1e6


def leaving(daemon, leavers):
    asker = Asker(daemon)
    flying = [in_flight(daemon, asker, n) for n in range(leavers)]
    daemon.put("narrow", upstream_spec(scale={"min": 1, "max": 1, "concurrency": 1}))
    daemon.wait_replicas("narrow", 1)
    with Raw(daemon.address) as holder:  # has the only slot
        holder.send(get(daemon, "/f/narrow/hold-0"))
        asker.seen()
        waiting = [queued(daemon, asker) for _ in range(leavers)]
    asker.close()
    progress(f"G11: {leavers} clients left in flight, {leavers} in the queue")
    return [latency("G11", "client gone -> the replica's connection closed, in flight, 99 %", flying, 5),
            latency("G11.queued", "client gone -> its call has left the queue, 99 %", waiting, 5)]


# ---- G12: requests that must be refused ----

ANSWER_S = 20  # an incomplete head is refused after 10 s


def splits(request):
    return [(request[:i], request[i:]) for i in range(1, len(request))]


def verdicts(daemon, asker, request, after):
    """Bytes that came back for each way to cut the request in two; `after` follows the second part."""
    conns = [(Raw(daemon.address, ANSWER_S), *parts) for parts in splits(request)]
    for raw, first, _ in conns:
        raw.send(first)
    asker.seen()  # so that the parts arrive apart
    for raw, _, second in conns:
        try:
            raw.send(second + after)
        except OSError:
            pass  # refused after the first part: the answer is there
    answers = []
    for raw, _, _ in conns:
        answers.append(raw.read_all())
        raw.close()
    return answers


def is_refused(data):
    """One answer, of the gateway itself, and no second request found in what followed."""
    heads = re.findall(rb"HTTP/1\.1 (\d{3}) ", data)
    return len(heads) == 1 and heads[0][:1] in b"45" and b"Gantry-Replica" not in data


def vectors(daemon):
    daemon.echo("target", access="public", scale={"min": 1, "max": 1})
    daemon.wait_replicas("target", 1)
    asker, cuts, accepted = Asker(daemon), 0, {}
    wanted = json.loads((ROOT / "tests/data/http-vectors.json").read_text())["vectors"]
    # A greeting of TLS is no HTTP: hosts of the cluster speak it on any port.
    wanted = [v for v in wanted if v["verdict"] == "reject" and not v["request"].startswith("\x16")]
    for vector in wanted:
        raw = re.sub(rb"^((?:\r\n)*\w+[ \t]+)/", rb"\1/f/target/", vector["request"].encode("latin-1"), count=1)
        answers = verdicts(daemon, asker, raw, b"GET /f/target/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        cuts += len(answers)
        bad = sum(not is_refused(data) for data in answers)
        if bad:
            accepted[vector["name"]] = bad
    asker.close()
    progress(f"G12: {len(wanted)} requests, {cuts} cuts, accepted: {accepted or 'none'}")
    what = f"of {len(wanted)} requests that must be refused, cut in two at all {cuts} points: accepted or left waiting"
    return [row("G12", what, sum(accepted.values()), "cuts", goal="<= 0", passed=not accepted) | {"runs": cuts}]
