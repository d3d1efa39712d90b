"""Shared by the benchmarks: quantiles, clocks, and the rows of build/bench/NAME.json."""
import json
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import OUT  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def quantile(values, q):
    values = sorted(values)
    at = q * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def row(id, what, value, unit, *, peer=None, goal=None, passed=None):
    """One figure. `peer`: the same of what it is measured against. A value of None: not measured, an open goal."""
    ratio = round(value / peer, 4) if peer else None
    value = round(value, 3) if isinstance(value, float) else value
    peer = round(peer, 3) if isinstance(peer, float) else peer
    return {"id": id, "what": what, "value": value, "unit": unit, "peer": peer, "ratio": ratio,
            "goal": goal, "pass": passed}


def number(value):
    if isinstance(value, float):
        value = round(value, 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,}"


def line(r):
    """A row as one of docs/BENCHMARKS.md."""
    here = "open" if r["value"] is None else f"{number(r['value'])} {r['unit']}".rstrip()
    return [r["id"], r["what"], here + (", **missed**" if r["pass"] is False else ""),
            "" if r["peer"] is None else number(r["peer"]), "" if r["ratio"] is None else number(r["ratio"]), r["goal"] or ""]


def write(name, rows):
    folder = OUT / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    for cells in (["id", "what", "here", "peer", "ratio", "goal"], ["---"] * 6, *map(line, rows)):
        print(f"| {' | '.join(cells)} |", flush=True)


def pss_kib(pid):
    """Memory of a process, with its share of what it has in common with others."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no Pss line")


def cpu_ms(pids):
    """User and system time of processes and of their children that were waited for."""
    total = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        total += sum(map(int, stat[stat.rindex(")") + 2:].split()[11:15]))
    return total * 1000 / TICKS


class Caller:
    """A kept connection that sends one prepared request and says when the first byte came."""

    def __init__(self, daemon, path):
        self.request = (f"GET {path} HTTP/1.1\r\nHost: bench\r\n"
                        f"Authorization: Bearer {daemon.token}\r\n\r\n").encode()
        self.sock = socket.create_connection(daemon.address, 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self):
        """Milliseconds from the request to the first byte of a 200."""
        self.send()
        return self.receive()

    def send(self):
        self.begun = time.perf_counter()
        self.sock.sendall(self.request)

    def receive(self):
        data = self.sock.recv(65536)
        took = (time.perf_counter() - self.begun) * 1000
        if not data.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(data[:300])
        self.head, _, body = data.partition(b"\r\n\r\n")
        for line in self.head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += self.sock.recv(65536)
        return took

    def replica(self):
        for line in self.head.decode().split("\r\n"):
            if line.lower().startswith("gantry-replica:"):
                return line.split(":")[1].strip()
        raise AssertionError(self.head)

    def close(self):
        self.sock.close()
