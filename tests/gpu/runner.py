"""Runs steps beside each other where they do not disturb each other, each in a process of its own with a deadline.

A step names what it must have alone and what it shares; those that conflict run in the order in which they are written
down. One that hangs, crashes or runs out of time fails by itself. The report is written after each."""
import collections
import contextlib
import datetime
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time

import driver
from daemon import ROOT, Failed

GRACE_S = 15  # for a step that is out of time to say what it saw
SCRATCH_BYTES = 8 << 30

# alone, shares: names of resources. after: steps that must have ended before, however they ended.
Step = collections.namedtuple("Step", "name limit_s run alone shares after", defaults=((), (), ()))
STEPS = []


class Skip(Exception):
    """The machine lacks what the step needs."""


class OutOfTime(BaseException):
    """Raised in the step's own process; nothing that suppresses exceptions may swallow it."""


def step(name, limit_s, **needs):
    """The function gets a dict for its figures: what is in it is reported however the step ends."""
    def add(run):
        STEPS.append(Step(name, limit_s, run, **needs))
        return run
    return add


def outcome(s):
    """What a step came to, as a row of the report."""
    figures, row = {}, {}
    try:
        s.run(figures)
        row["result"] = "passed"
    except Skip as e:
        row.update(result="skipped", why=str(e))
    except driver.DriverError as e:
        row.update(result="skipped" if e.call == "dlopen" else "failed", why=str(e))
    except Failed as e:
        row.update(result="failed", why=str(e), evidence=e.evidence)
    except (Exception, OutOfTime) as e:  # a step must not take the others along
        row.update(result="failed", why=f"{type(e).__name__}: {e}")
    return {**row, "figures": figures} if figures else row


class Apart:
    """A step in a process of its own, with all that it starts: a call of the driver that hangs can only be killed."""

    def __init__(self, s, limit_s):
        self.step, self.limit_s, self.begin = s, limit_s, time.monotonic()
        self.end, self.asked, self.text = self.begin + limit_s, False, b""
        self.fd, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.fd)
            self.be_the_step(theirs)
            os._exit(0)
        os.close(theirs)

    def be_the_step(self, to):
        def on_term(*_):
            raise OutOfTime(f"not done within {self.limit_s:.0f} s")

        os.setsid()
        signal.signal(signal.SIGTERM, on_term)
        data = json.dumps(outcome(self.step), default=str).encode()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with os.fdopen(to, "wb") as f:
            f.write(data)

    def read(self):
        """Takes what there is. Returns whether that was all."""
        part = os.read(self.fd, 1 << 16)
        self.text += part
        return not part

    def ask_to_end(self):
        self.asked, self.end = True, time.monotonic() + GRACE_S
        os.kill(self.pid, signal.SIGTERM)

    def overdue(self):
        """Asks it to end at its deadline. Returns whether it did not do that in time either."""
        if time.monotonic() < self.end:
            return False
        if self.asked:
            return True
        self.ask_to_end()
        return False

    def row(self):
        """Ends it and all that it started."""
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        try:
            found = json.loads(self.text)
        except ValueError:
            found = {"result": "failed", "why": f"no answer within {self.limit_s:.0f} s, nor when it was asked to end"
                     if self.asked else "its process ended without an answer"}
        return {**found, "s": round(time.monotonic() - self.begin, 1)}


def over(running):
    """Waits for one of them to be over, for a while; returns those that are."""
    ready = select.select([a.fd for a in running], [], [], 0.5)[0]
    return [a for a in running if (a.fd in ready and a.read()) or a.overdue()]


def run_apart(s, limit_s):
    apart = Apart(s, limit_s)
    while not over([apart]):
        pass
    return apart.row()


# ---- which of them may run ----

def conflict(a, b):
    return not (set(a.alone).isdisjoint((*b.alone, *b.shares)) and set(b.alone).isdisjoint(a.shares))


def startable(waiting, running, done):
    """The next one of `waiting`. None overtakes one that it conflicts with, unless that waits for yet another."""
    names, held = {s.name for s in waiting} | {s.name for s in running}, list(running)
    for s in waiting:
        if names.intersection(s.after) - done:
            continue
        if not any(conflict(s, other) for other in held):
            return s
        held.append(s)
    return None


class Run:
    def __init__(self, steps, report, total_s):
        self.waiting, self.running, self.rows = list(steps), [], {}
        self.order, self.report = [s.name for s in steps], report
        self.begin = time.monotonic()
        self.end = self.begin + total_s

    def say(self, text):
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", flush=True)

    def start_what_can(self):
        while True:
            s = startable(self.waiting, [a.step for a in self.running], set(self.rows))
            if not s:
                return
            self.waiting.remove(s)
            left = self.end - time.monotonic()
            if left < 5:
                self.add(s.name, {"result": "skipped", "why": "no time is left", "s": 0})
                continue
            self.say(f"begin   {s.name}")
            self.running.append(Apart(s, min(s.limit_s, left)))

    def add(self, name, row):
        self.rows[name] = row
        self.say(f"{row['result']:7} {name} ({row['s']} s) {row.get('why', '')[:600]}")
        self.write()

    def collect(self, apart):
        self.running.remove(apart)
        row = apart.row()
        self.add(apart.step.name, {**row, "at": round(apart.begin - self.begin, 1)})

    def write(self):
        self.report.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "version": version(),
            "seconds": round(time.monotonic() - self.begin, 1),
            "unfinished": [a.step.name for a in self.running] + [s.name for s in self.waiting],
            "steps": {name: self.rows[name] for name in self.order if name in self.rows}}, indent=1)
        new = self.report.with_name(self.report.name + ".next")
        new.write_text(text + "\n")
        new.replace(self.report)

    def all(self):
        """Whoever ends it early, by a signal, has what there is."""
        try:
            while self.waiting or self.running:
                self.start_what_can()
                for apart in over(self.running):
                    self.collect(apart)
        except OutOfTime:
            self.say("ended early")
            for apart in self.running:
                apart.ask_to_end()
            while self.running:
                for apart in over(self.running):
                    self.collect(apart)
        count = collections.Counter(row["result"] for row in self.rows.values())
        print(f"report: {self.report}")
        print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
        return 1 if count["failed"] or self.waiting else 0


def version():
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return git.stdout.strip()


@contextlib.contextmanager
def scratch():
    """A folder for what steps leave for each other, in memory where there is enough."""
    memory = pathlib.Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > SCRATCH_BYTES
    with tempfile.TemporaryDirectory(prefix="gantry-gpu-check-", dir=memory if in_memory else None) as folder:
        os.chmod(folder, 0o755)
        os.environ["GPU_CHECK_SCRATCH"] = folder
        yield


def scratch_path(name):
    return pathlib.Path(os.environ.get("GPU_CHECK_SCRATCH", tempfile.gettempdir()), name)


def run_all(steps, report, total_s):
    def on_signal(*_):
        raise OutOfTime("ended by a signal")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with scratch():
        return Run(steps, report, total_s).all()
