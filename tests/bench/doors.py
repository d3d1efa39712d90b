"""G10.three: how long calls wait that come through the doors of three daemons which share a store, against one ideal
queue for all slots, on the same trace. The function is at home on the gateway that leads; the other two pass its calls on.
CALLS (3000) arrive as a Poisson process, each at a door by chance, with exponential service times; SEED is printed and
can be given back. What a call waited is all that its client saw, from when it was due, but the time that it had its slot.
The ideal queue has the same arrivals, and slots that are taken for as long as they were: a busy machine makes both longer."""
import collections
import contextlib
import heapq
import http.client
import os
import random
import re
import threading
import time

import bench
import postgres
from gateway_rig import progress
from harness import echo_spec
from hosts import inside
from lent import started
from several import Several

CALLS = int(os.environ.get("CALLS", "3000"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(1 << 32))))
REPLICAS, SLOTS = 8, 2  # slots of each; at this many one more way to travel does not fill them
SERVICE_S, LOAD = 0.25, 0.85
WORKERS = 400  # so many calls are out at once at most
GOAL = 1.3
Call = collections.namedtuple("Call", "due_s service_ms door")


def trace(rnd):
    """Of calls in the order of their coming."""
    calls, at = [], 0.0
    for _ in range(CALLS):
        at += rnd.expovariate(REPLICAS * SLOTS * LOAD / SERVICE_S)
        calls.append(Call(at, max(1, round(rnd.expovariate(1 / SERVICE_S) * 1000)), rnd.choice("abc")))
    return calls


def ideal(calls, taken):
    """Seconds that each waits in one queue, first come, first served, by slots that lose no time between two calls."""
    free, waits = [0.0] * REPLICAS * SLOTS, []
    for c, s in zip(calls, taken, strict=True):
        begins = max(c.due_s, heapq.heappop(free))
        heapq.heappush(free, begins + s)
        waits.append(begins - c.due_s)
    return waits


class Client:
    """Sends each call when it is due, whatever has become of the others, on an idle connection to its door or a new one."""

    def __init__(self, hosts, netns, calls):
        self.hosts, self.netns, self.calls = hosts, netns, calls
        self.idle = collections.defaultdict(list)
        self.turns = iter(range(len(calls)))
        self.lock = threading.Lock()
        self.waits, self.taken, self.failed = [None] * len(calls), [None] * len(calls), []

    def connect(self, door):
        with inside(self.netns):
            conn = http.client.HTTPConnection(*self.hosts[door].address, timeout=60)
            conn.connect()
        return conn

    def call(self, i, begun):
        c = self.calls[i]
        time.sleep(max(0.0, begun + c.due_s - time.monotonic()))
        with contextlib.suppress(IndexError):
            conn = None
            conn = self.idle[c.door].pop()
        conn = conn or self.connect(c.door)
        conn.request("GET", f"/f/doors/sleep?ms={c.service_ms}",
                     headers={"Authorization": f"Bearer {self.hosts[c.door].token}"})
        answer = conn.getresponse()
        answer.read()
        took = time.monotonic() - begun - c.due_s
        if answer.status != 200:
            raise AssertionError(answer.status)
        self.taken[i] = float(re.search(r"run;dur=([0-9.]+)", answer.headers["Server-Timing"])[1]) / 1000
        self.waits[i] = took - self.taken[i]
        self.idle[c.door].append(conn)

    def work(self, begun):
        try:
            while True:
                with self.lock:
                    i = next(self.turns)
                self.call(i, begun)
        except StopIteration:
            pass
        except Exception as e:  # told below
            self.failed.append(repr(e))

    def run(self):
        begun = time.monotonic() + 1
        workers = [threading.Thread(target=self.work, args=(begun,)) for _ in range(WORKERS)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        for conns in self.idle.values():
            for conn in conns:
                conn.close()
        if self.failed:
            raise AssertionError(f"{len(self.failed)} calls failed: {self.failed[:3]}")
        return self

    def against_ideal(self):
        """The 99th percentile of both, ms."""
        return [bench.quantile(w, 0.99) * 1000 for w in (self.waits, ideal(self.calls, self.taken))]


def figure(id, what, here_ms, ideal_ms, goal=None):
    ratio = here_ms / ideal_ms
    out = bench.row(id, what, here_ms, "ms", peer=ideal_ms, goal=f"<= {goal} of it" if goal else None,
                    passed=ratio <= goal if goal else None)
    return out | {"runs": 1, "seed": SEED}


def rows():
    what = "wait of the 99th percentile through three daemons' doors, against one ideal queue"
    if not postgres.programs():
        print("  G10.three needs Debian's package postgresql", flush=True)
        return [bench.row("G10.three", what, None, "ms", goal=f"<= {GOAL} of it")]
    calls = trace(random.Random(SEED))
    with started(Several("abc", daemons=3)) as hosts:
        leader = hosts[hosts.leader()]
        leader.put("doors", echo_spec(scale={"min": REPLICAS, "max": REPLICAS,
                                             "concurrency": {"target": SLOTS, "max": SLOTS}},
                                      limits={"queue": 10000, "wait": "60s"}))
        leader.wait_replicas("doors", REPLICAS, timeout=60)
        client = hosts.net.add("client")
        progress(f"G10.three: {CALLS} calls in {calls[-1].due_s:.0f} s, twice")
        three = Client(hosts, client, calls).run().against_ideal()
        one = Client(hosts, client, [c._replace(door=leader.name) for c in calls]).run().against_ideal()
    return [figure("G10.three", what, *three, GOAL),
            figure("G10.three.one", "the same with all calls through the door of the one that leads", *one)]


if __name__ == "__main__":
    print(f"  SEED={SEED} CALLS={CALLS}", flush=True)
    bench.write("doors", rows())
