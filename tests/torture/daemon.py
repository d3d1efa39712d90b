#!/usr/bin/env python3
"""Torture of the whole daemon: while it does what users ask of it, one call or allocation of one role fails, again and again at
another place. Afterwards it serves by itself within seconds, nothing that was acknowledged is lost, the others did not die of it,
and nothing is left.

usage: daemon.py [--seed N] [--points N (of each scene, role and kind)] [--jobs N (scenes at once)] [--json FILE] [SCENE...]"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from harness import OUT, Client, Daemon, until  # noqa: E402

SERVES_S = 20  # within so long, on a busy machine; a role that ended is back in a second or two
ROLES = ("control", "gateway", "agent", "run", "gantry-init")


class Tortured(Daemon):
    def command(self):
        return [str(OUT / "tests/torture/guard"), str(self.dir / "guard"), str(OUT / "tests/torture/libmemory.so"),
                *super().command()]

    def say(self, words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.dir / "guard"))
            s.sendall(words.encode())
            return s.makefile().readline().split(" ", 6)

    def patient(self):
        """A client that does not wait for ever where a call was hurt."""
        return Client(self.address, self.token)


@contextlib.contextmanager
def may_fail():
    """What meets a role just then may be refused or cut off: the caller hears of it, and tries again."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError):
        yield


class Scene:
    """What is asked for, in small steps that may each fail, and what was acknowledged."""

    def __init__(self, daemon, name):
        self.d, self.name = daemon, name
        self.there = False  # the function, as it was last acknowledged; None: not known
        self.calls = []     # durable ones that were accepted

    def ask(self, method, path, body=None, headers=None, timeout=5):
        return self.d.client.request(method, path, body, headers, timeout=timeout)

    def deploy(self):
        was, self.there = self.there, None
        reply = self.ask("PUT", f"/v1/functions/{self.name}", {
            "image": f"dir:{OUT / 'examples/echo/rootfs'}", "command": ["/echo"], "port": 8000,
            "resources": {"memory": "32MiB"}, "scale": {"idle": "60s"}})
        if reply.status in (200, 201):
            self.there = True
        elif 400 <= reply.status < 500:
            self.there = was
        return reply

    def delete(self):
        self.there = None
        reply = self.ask("DELETE", f"/v1/functions/{self.name}")
        if reply.status in (200, 202, 204, 404):
            self.there = False

    def call(self):
        reply = self.ask("GET", f"/f/{self.name}/x?hello")
        assert reply.status != 200 or "/x?hello" in reply.text, f"a wrong answer: {reply}"
        return reply

    def durable(self):
        reply = self.ask("POST", f"/v1/functions/{self.name}/calls", b"hello")
        if reply.status == 202:
            self.calls.append(reply.json()["id"])


def deploy_call_delete(s):
    for step in (s.deploy, s.call, s.delete):
        with may_fail():
            step()


def cold_and_warm(s):
    for step in (s.deploy, s.call, s.call, s.call):
        with may_fail():
            step()


def durable(s):
    for step in (s.deploy, s.durable, s.durable):
        with may_fail():
            step()
    for call in s.calls:
        with may_fail():
            s.ask("GET", f"/v1/calls/{call}/result?wait=2s")


def restart(s):
    """The agent is killed and adopts what runs."""
    for step in (s.deploy, s.call):
        with may_fail():
            step()
    pid = s.d.roles().get("agent")
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: s.d.roles().get("agent") not in (None, pid) or s.d.proc.poll() is not None, "another agent", SERVES_S)
    with may_fail():
        s.call()


def drain(s):
    """Replicas have to go from the node, and may come back."""
    with may_fail():
        node = s.ask("GET", "/v1/nodes").json()["items"][0]["name"]
        for step in (s.deploy, s.call):
            with may_fail():
                step()
        for verb in ("drain", "uncordon"):
            with may_fail():
                s.ask("POST", f"/v1/nodes/{node}/{verb}", {})
    with may_fail():
        s.call()


SCENES = {"deploy": deploy_call_delete, "cold": cold_and_warm, "durable": durable, "restart": restart, "drain": drain}


class Torture:
    """Of one scene, with a daemon of its own."""

    def __init__(self, seed, points, scene):
        self.seed, self.points, self.scene = seed, points, scene
        self.random = random.Random(f"{seed} {scene}")
        self.n = self.hits = self.ends = 0
        self.faults = []
        self.counts = {}

    def start(self):
        self.d = Tortured().start()
        self.read = 0
        self.supervisor = self.d.proc.pid

    def fault(self, what):
        print(f"FAULT {self.where}: {what}", flush=True)
        self.faults.append(f"{self.where}: {what}")

    # ---- afterwards -------------------------------------------------------------------------
    def start_again(self, role, kind):
        """The supervisor's own memory is the daemon's: its service manager starts that again."""
        if self.d.proc.poll() is None:
            return
        if (role, kind) != ("run", "alloc") or "out of memory" not in self.d.log()[self.read:]:
            self.fault(f"the daemon ended: {self.d.proc.returncode}: {self.d.log()[-1500:]}")
        self.ends += 1
        self.d.start()

    def serves(self, name, role, kind):
        """From nothing to an answer, at once. What ends may take its time to do so."""
        s = Scene(self.d, name)

        def works():
            self.start_again(role, kind)
            with may_fail():
                node = s.ask("GET", "/v1/nodes").json()["items"][0]
                if node["schedulable"] is False:
                    s.ask("POST", f"/v1/nodes/{node['name']}/uncordon", {})
            with may_fail():
                return s.deploy().status in (200, 201) and s.call().status == 200
            return False

        until(works, "it serves again", SERVES_S, pause=0.05)

    def acknowledged(self, s):
        if s.there is not None:
            status = self.d.client.get(f"/v1/functions/{s.name}").status
            if s.there and status != 200:
                self.fault(f"a deploy was acknowledged, and the function is not there ({status})")
            if not s.there and status == 200 and self.d.client.get(f"/v1/functions/{s.name}").json().get("state") != "deleting":
                self.fault("a deletion was acknowledged, and the function is there")
        for call in s.calls:
            def ended():
                with may_fail():
                    return self.d.client.get(f"/v1/calls/{call}").json()["state"] in ("succeeded", "failed")
                return False

            try:
                until(ended, "it ended", SERVES_S, pause=0.05)
            except AssertionError:
                self.fault(f"an accepted call never ended: {self.d.client.get(f'/v1/calls/{call}')}")
                continue
            view = self.d.client.get(f"/v1/calls/{call}").json()
            if view["state"] != "succeeded":
                self.fault(f"an accepted call failed: {view}")

    def log(self, role):
        """What was said since: who ended, and that it said why."""
        text = self.d.log()
        new, self.read = text[self.read:], len(text)
        for word in ("Segmentation fault", "Sanitizer", "runtime error", "Bus error", "Floating point"):
            if word in new:
                self.fault(f"{word}: {new[-1500:]}")
        for line in new.splitlines():
            ended = re.search(r"the (control|gateway|agent|uplink) .*; starting it again", line)
            if ended:
                self.ends += 1
                who = ended.group(1)
                if role not in (who, "run", "gantry-init") and not (self.scene == "restart" and who == "agent"):
                    self.fault(f"the {who} ended, too: {new[-1500:]}")
                said = "out of memory" in new or f'"level":"error","role":"{who}"' in new
                if ("(Aborted)" in line or "SIGABRT" in line) and not said:
                    self.fault(f"it ended and did not say why: {new[-1500:]}")

    # ---- one point --------------------------------------------------------------------------
    def one(self, role, kind, n):
        self.where = f"{self.scene} {role} {kind} {n}"
        self.n += 1
        s = Scene(self.d, f"t{self.n}")
        self.d.say(f"arm {role} {kind} {n} {self.seed}")
        try:
            SCENES[self.scene](s)
        finally:
            told = self.d.say("off")
        if told[2] == "1":
            self.hits += 1
            self.where += f" [{' '.join(told[3:]).strip()}]"
        try:
            self.serves(f"probe{self.n}", role, kind)
            self.acknowledged(s)
        except (AssertionError, OSError, http.client.HTTPException, ValueError, LookupError) as e:
            self.fault(f"{type(e).__name__}: {str(e)[-600:]}; {self.d.log()[self.read:][-1500:]}")
        self.log(role)
        for name in (s.name, f"probe{self.n}"):
            with may_fail():
                self.d.client.request("DELETE", f"/v1/functions/{name}")
        return int(told[0] if kind == "call" else told[1])

    def run(self):
        self.start()
        try:
            for role in ROLES:
                for kind in ("call", "alloc"):
                    if role == "gantry-init" and kind == "alloc":
                        continue  # static: it has an allocation or two, and the library does not reach it
                    many = self.one(role, kind, 0)
                    self.counts[f"{self.scene} {role} {kind}"] = many
                    chosen = self.random.sample(range(1, many + 1), min(self.points, many))
                    for n in sorted(chosen):
                        self.one(role, kind, n)
                    print(f"{self.scene:8} {role:12} {kind:5} {many:6} points, {len(chosen)} tried, "
                          f"{len(self.faults)} faults so far", flush=True)
        finally:
            self.where = f"the end of {self.scene}"
            try:
                self.end()
            except AssertionError as e:
                self.fault(str(e)[-2000:])

    def end(self):
        """Nothing is left of it. (Its log holds ends that were asked for.)"""
        self.d.log = lambda: ""
        self.d.stop()


def whole(seed, points, scene):
    t = Torture(seed, points, scene)
    t.run()
    return {"runs": t.n, "failures": t.hits, "role_ends": t.ends, "faults": len(t.faults), "points": t.counts}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--points", type=int, default=5)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--json")
    p.add_argument("scenes", nargs="*")
    a = p.parse_args()
    began = time.monotonic()
    total = {"seed": a.seed, "runs": 0, "failures": 0, "role_ends": 0, "faults": 0, "points": {}}
    with concurrent.futures.ProcessPoolExecutor(a.jobs) as pool:
        for told in [pool.submit(whole, a.seed, a.points, scene) for scene in a.scenes or SCENES]:
            for what, n in told.result().items():
                total[what] = {**total[what], **n} if what == "points" else total[what] + n
    print(f"seed {a.seed}: {total['runs']} runs, {total['failures']} with a failure, {total['role_ends']} ends of roles, "
          f"{time.monotonic() - began:.0f} s")
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(total) + "\n")
    print(f"torture of the daemon: {total['runs'] - total['faults']} passed, {total['faults']} failed")
    return 1 if total["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
