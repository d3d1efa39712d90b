"""F8: the clock of one role after the other is set, by an hour and by ten years, ahead and back, and tells a second twice, while
calls, durable calls, a schedule, webhooks, starts, a scale to zero and heartbeats go on. Two hosts; the true time is this process's.
A timer is early when it fires before its time, and missed when it has not fired SLACK_S after it. What goes by control's clock because
it has to outlive control (docs/calls.md, docs/schedules.md) may come early when that clock is ahead; set back, within a minute."""
import contextlib
import datetime
import http.client
import http.server
import json
import sys
import threading
import time

import bench
from harness import Background, until
from hosts import Hosts, Load

YEARS = 10 * 365 * 86400
JUMPS = {"an hour ahead": 3600, "an hour back": -3600, "ten years ahead": YEARS, "ten years back": -YEARS, "a second twice": -1}
ROLES = {"control": "a", "gateway": "a", "agent": "b", "uplink": "b"}
PERIOD_S = 2     # of the schedule
LIMIT_S = 3      # of a call, a start, an idle replica
AGAIN_S = 5      # the first pause of a webhook
RUN_MS = 1500    # of a durable call
SLACK_S = 15     # the machine has other things to do
LOOK_S = 60      # control looks at its clock at least that often
QUIET = {"a": "[control]\nnode_suspect = 10s\nnode_lost = 20s\nwebhook_allow = 10.91.0.0/16\n"}  # no load of the machine's


class Receiver:
    """Of webhooks, in the first host's network; the first one of each call to /again it does not take."""

    def __init__(self, host):
        self.told, self.refused = {}, {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                handler.rfile.read(int(handler.headers["Content-Length"]))
                call = handler.headers["ce-subject"]
                no = handler.path == "/again" and call not in self.refused
                (self.refused if no else self.told).setdefault(call, time.monotonic())
                handler.send_response(500 if no else 204)
                handler.end_headers()

            def log_message(handler, *_):
                pass

        with host.inside():
            self.server = http.server.ThreadingHTTPServer((host.ip, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{host.ip}:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Repeated:
    """Something that is done again and again until stopped."""

    def __init__(self, work, pause):
        self.work, self.pause, self.stopping = work, pause, threading.Event()
        self.thread = Background(self.run)

    def run(self):
        while not self.stopping.wait(self.pause):
            self.work()

    def stop(self):
        self.stopping.set()
        self.thread.result(120)


class World:
    def __init__(self):
        self.hosts = Hosts("ab", config=QUIET)
        self.first = self.hosts.first
        self.receiver = Receiver(self.first)
        self.offsets = [0, 0]                    # of control's clock: before, and now
        self.last = 0                            # of the role whose turn it is
        self.near = "here"                       # of whom durable calls are made
        self.durable, self.wrong = [], []        # ids of calls that have ended well; what others were answered
        self.seen = {}                           # scheduled calls: id -> when it was seen first
        self.timers, self.early, self.missed = 0, [], []
        self.numbers = iter(range(10000))
        warm = {"min": 1, "max": 1, "concurrency": 16}
        for name, host in (("here", "a"), ("there", "b")):
            self.deploy(name, host, scale=warm)
            self.first.wait_replicas(name, 1)
        for host in "ab":
            self.deploy(f"idle-{host}", host, scale={"idle": f"{LIMIT_S}s"})
        self.deploy("late", "b", scale=warm, limits={"first_byte": f"{LIMIT_S}s"})
        self.first.wait_replicas("late", 1)
        self.kept = {r["id"] for name in ("here", "there", "late") for r in self.first.replicas(name, "ready")}
        plan = {"function": "here", "every": f"{PERIOD_S}s", "callback": self.receiver.url + "/done"}
        reply = self.first.client.request("PUT", "/v1/schedules/tick", json.dumps(plan), {"Content-Type": "application/json"})
        assert reply.status == 201, reply
        self.last_event = self.first.events()[-1]["id"]
        self.loads = [Load(self.first.client, f"/f/{name}/x", threads=1, pause=0.01) for name in ("here", "there")]
        self.others = [Repeated(self.call_durably, 0.1), Repeated(self.look, 0.1)]

    def deploy(self, name, host, **more):
        self.first.echo(name, placement={"labels": {"host": host}}, **more)

    def call_durably(self):
        reply = self.accept("/done", wait=60)
        if reply.status == 200:
            self.durable.append(reply.headers["Gantry-Call-Id"] or "")
        else:
            self.wrong.append((reply.status, reply.text[:300]))

    def accept(self, path, wait=0):
        headers = {"Prefer": f"wait={wait}" if wait else "respond-async", "Gantry-Callback": self.receiver.url + path}
        return self.first.client.request("POST", f"/v1/functions/{self.near}/calls?path=/sleep%3Fms={RUN_MS}", b"x", headers, timeout=wait + 30)

    def look(self):
        """Scheduled calls: none may be there before its time by control's clock."""
        items = self.first.client.get("/v1/calls?schedule=tick&limit=50").json()["items"]
        now, wall = time.monotonic(), time.time() + max(self.offsets)
        for call in items:
            if call["id"] not in self.seen:
                self.seen[call["id"]] = now
                due = datetime.datetime.fromisoformat(call["scheduled"].replace("Z", "+00:00")).timestamp()
                if due > wall + 0.05:
                    self.early.append(("schedule", call["id"], due - wall))

    def fired(self, what, took, least, most):
        self.timers += 1
        if took is None or took > most:
            self.missed.append((what, took))
        elif took < least:
            self.early.append((what, took))

    def within(self, begin, condition, most):
        """Seconds from `begin` until it is so; None: it never was."""
        with contextlib.suppress(AssertionError):
            until(condition, "", max(begin + most - time.monotonic(), 0.1), 0.02)
            return time.monotonic() - begin
        return None

    def jump(self, role, seconds, what):
        """Timers are begun, the clock is set, and each is held against the true time."""
        control = role == "control"
        back = control and seconds < self.offsets[1]
        # Between hosts whose clocks are years apart no connection is made, as none of their certificates is good.
        host = "a" if role in ("gateway", "uplink") and YEARS <= max(abs(seconds), abs(self.last)) else "b"
        self.near = "here" if host == "a" else "there"
        first, name, sleeper = self.first, f"never{next(self.numbers)}", f"idle-{host}"
        self.first.shell(name, "sleep 600", ready={"timeout": f"{LIMIT_S}s"}, placement={"labels": {"host": host}})
        again = self.accept("/again").json()["id"]
        assert self.within(time.monotonic(), lambda: again in self.receiver.refused, LOOK_S) is not None, "no webhook"
        assert first.call(sleeper, timeout=60).status == 200
        idle = time.monotonic()
        unready, late = (Timed(first, *of) for of in ((name, "/"), ("late", "/sleep?ms=60000")))
        time.sleep(0.3)
        if control:
            self.offsets = [self.offsets[1], seconds]
        self.hosts[ROLES[role]].clock.set(seconds, role)
        begin, known, self.last = time.monotonic(), len(self.seen), seconds
        where = f"{role}, {what}"
        slack = LOOK_S + SLACK_S if back else SLACK_S
        self.fired(f"{where}: a call's limit", late.until(504), LIMIT_S, LIMIT_S + SLACK_S)
        self.fired(f"{where}: a start's limit", unready.until(None), LIMIT_S, LIMIT_S + SLACK_S)
        self.fired(f"{where}: scale to zero", self.within(idle, lambda: not first.replicas(sleeper, "ready"), LIMIT_S + SLACK_S),
                   LIMIT_S, LIMIT_S + SLACK_S)
        told = self.within(begin, lambda: again in self.receiver.told, AGAIN_S + slack)
        if told is not None:
            told = self.receiver.told[again] - self.receiver.refused[again]
        self.fired(f"{where}: a webhook's second try", told, 0 if control else AGAIN_S - 0.05, AGAIN_S + slack)
        self.fired(f"{where}: the schedule", self.within(begin, lambda: len(self.seen) > known + 1, 2 * PERIOD_S + slack), 0,
                   2 * PERIOD_S + slack)
        ended = list(self.durable)
        self.fired(f"{where}: webhooks", self.within(begin, lambda: not set(ended) - set(self.receiver.told), slack + SLACK_S), 0,
                   slack + SLACK_S)
        if control:
            self.offsets = [seconds, seconds]
        first.client.request("DELETE", f"/v1/functions/{name}")
        print(f"{where}: {len(self.early)} early, {len(self.missed)} missed of {self.timers}; "
              f"{sum(len(x.failed) for x in self.loads)} calls and {len(self.wrong)} durable ones failed", file=sys.stderr, flush=True)

    def stop(self):
        calls = sum(x.stop() for x in self.loads)
        for other in self.others:
            other.stop()
        self.receiver.close()
        return calls

    def lost(self):
        now = {r["id"] for name in ("here", "there", "late") for r in self.first.replicas(name, "ready")}
        return self.kept - now

    def node_changes(self):
        return [e for e in self.first.events(after=self.last_event) if e["type"].startswith("node.")]


class Timed:
    """A call that ends by a timer."""

    def __init__(self, host, name, path):
        self.begin = time.monotonic()
        self.answer = Background(lambda: (host.call(name, path, timeout=60).status, time.monotonic()))

    def until(self, status):
        """Seconds until it had this status, or any that is none of success."""
        with contextlib.suppress(AssertionError, OSError, http.client.HTTPException):
            got, end = self.answer.result(60)
            if got == status or (status is None and got >= 500):
                return end - self.begin
        return None


def rows(roles=tuple(ROLES)):
    world = World()
    try:
        for role in roles:
            for what, seconds in JUMPS.items():
                world.jump(role, seconds, what)
                world.jump(role, 0, "and set right")
        lost, changes = world.lost(), world.node_changes()
    finally:
        for role, host in ROLES.items():
            world.hosts[host].clock.set(0, role)
        calls = world.stop()
        world.hosts.stop()
    failed = [f for load in world.loads for f in load.failed]
    for found in (failed, world.wrong, world.early, world.missed, changes, sorted(lost)):
        for one in found[:20]:
            print(one, file=sys.stderr)

    def zero(id, what, found):
        return bench.row(id, what, len(found), "", goal="0", passed=not found)

    jumps = "clocks of control, gateway, agent and uplink set by an hour and ten years, ahead and back, and a second told twice, and right again"
    return [zero("F8", f"{jumps}: of {world.timers} timers and {len(world.seen)} scheduled calls, those early or never", world.early + world.missed),
            zero("F8.calls", f"of {calls:,} calls meanwhile, failed", failed),
            zero("F8.durable", f"of {len(world.durable) + len(world.wrong):,} durable calls, without their result", world.wrong),
            zero("F8.nodes", "changes of a node's state", changes),
            zero("F8.replicas", "of three replicas, lost", lost)]
