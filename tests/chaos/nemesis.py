"""What goes wrong, one thing after the other, by a seed."""
import contextlib
import os
import random
import signal
import time

from harness import alive, failing_syncs, install, until
from model import Fault

ROLES = {"run": ("control", "gateway", "agent"), "agent": ("agent", "uplink")}


class Nemesis:
    def __init__(self, hosts, history, seed, database=None):
        self.hosts, self.history, self.database = hosts, history, database
        self.rng = random.Random(seed)
        self.counts = {}
        self.names = list(hosts.all)
        self.faults = ([self.kill] * 6 + [self.cut] * 4 + [self.slow] * 2 + [self.pause] * 2 + [self.full] * 2
                       + [self.clock, self.restart, self.reload, self.upgrade]
                       + ([self.store_dies, self.store_hangs] * 3 if database else [self.failing]))

    def victim(self):
        host = self.hosts[self.rng.choice(self.names)]
        return host, self.rng.choice(ROLES[host.kind])

    @contextlib.contextmanager
    def during(self, what, *roles):
        begin = time.monotonic()
        try:
            yield
        finally:
            self.history.add(Fault(what, begin, time.monotonic(), set(roles)))
            self.counts[what] = self.counts.get(what, 0) + 1

    def kill(self):
        host, role = self.victim()
        with self.during(f"kill {role}", (host.name, role)):
            host.kill_role(role)

    def pause(self):
        host, role = self.victim()
        pid = host.roles().get(role)
        if not pid:
            return
        with self.during(f"pause {role}", (host.name, role)), contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.1, 2.5))
            os.kill(pid, signal.SIGCONT)

    def cut(self):
        """Some of them short, some longer than it takes to be lost."""
        one, other = self.names[0], self.rng.choice(self.names[1:])
        both = self.rng.random() < 0.5
        if not both and self.rng.random() < 0.5:
            one, other = other, one
        long = self.rng.random() < 0.25
        with self.during("cut" if both else "cut of one way", (other, "link"), (one, "link")):
            self.hosts.net.cut(one, other, both)
            time.sleep(self.rng.uniform(4, 6) if long else self.rng.uniform(0.05, 2))
            self.hosts.net.heal()

    def slow(self):
        """A long way, a narrow one, or both."""
        one, other = self.names[0], self.rng.choice(self.names[1:])
        far, thin = self.rng.choice([(True, False), (False, True), (True, True)])
        delay, both, rate = self.rng.uniform(0.02, 0.5), self.rng.random() < 0.7, self.rng.choice(["1mbit", "8mbit"])
        with self.during("slow link", (other, "link"), (one, "link")):
            if far:
                self.hosts.net.slow(one, other, delay, both)
            if thin:
                self.hosts.net.narrow(other, rate)
            time.sleep(self.rng.uniform(0.5, 4))
            self.hosts.net.heal()

    def clock(self):
        """A host's is an hour off for a while. By a day more, and calls would rightly be late."""
        host = self.hosts[self.rng.choice(self.names)]
        with self.during("clock set", (host.name, "clock")):
            host.clock.set(self.rng.choice([-1, 1]) * self.rng.uniform(2, 3600))
            time.sleep(self.rng.uniform(0.2, 2))
            host.clock.set(0)

    def full(self):
        """A host's state disk; a process of it may begin anew meanwhile."""
        host = self.hosts[self.rng.choice(self.names)]
        role = self.rng.choice([None, *ROLES[host.kind]])
        with self.during("disk full", (host.name, "disk"), (host.name, role)):
            host.fill()
            time.sleep(self.rng.uniform(0.1, 1))
            if role:
                host.kill_role(role)
            time.sleep(self.rng.uniform(0.1, 1))
            host.unfill()

    def failing(self):
        """Control's disk can write nothing for good: it ends, and the next one finds a disk that can."""
        host = self.hosts[self.names[0]]
        pid = host.roles().get("control")
        if not pid:
            return
        with self.during("disk fails", (host.name, "control")):
            try:
                with failing_syncs(pid):
                    until(lambda: not alive(pid), "control ends")
            except AssertionError:  # it may have been about to end: a reload
                if alive(pid):
                    raise
            until(lambda: host.roles().get("control") not in (None, pid), "another control")

    def restart(self):
        """An orderly one, of a host that has joined: its replicas go on."""
        host = self.hosts[self.rng.choice(self.names[1:])]
        with self.during("restart", (host.name, "agent"), (host.name, "uplink")):
            host.signal(signal.SIGTERM, timeout=60)
            host.start(timeout=30)

    def reload(self):
        """Each role is replaced."""
        host = self.hosts[self.rng.choice(self.names)]
        host.text = f"{host.text.split('#')[0]}# {self.rng.random()}\n[gateway]\ndrain = {self.rng.randrange(5, 9)}s\n"
        with self.during("reload", *((host.name, r) for r in ROLES[host.kind] if r != "gateway")):
            host.write_config()
            host.proc.send_signal(signal.SIGHUP)
            time.sleep(self.rng.uniform(0.1, 1))

    def upgrade(self):
        """Another release in the place of the one that runs, a newer one or the one before."""
        host = self.hosts[self.rng.choice(self.names)]
        install(host.program, self.rng.choice([b"0.1.0", b"0.1.1", b"0.1.2"]))
        with self.during("upgrade", *((host.name, r) for r in ROLES[host.kind] if r != "gateway")):
            host.replace_roles(signal.SIGUSR2)

    def store_dies(self):
        with self.during("store lost", ("store", "")):
            self.database.crash()
            time.sleep(self.rng.uniform(0, 3))
            self.database.start()

    def store_hangs(self):
        with self.during("store silent", ("store", "")):
            os.killpg(self.database.proc.pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.1, 4))
            os.killpg(self.database.proc.pid, signal.SIGCONT)

    def step(self):
        self.rng.choice(self.faults)()
        time.sleep(self.rng.uniform(0, 0.6))

    def rest(self):
        """All is well from now on."""
        self.hosts.net.heal()
        for host in self.hosts.all.values():
            for pid in [host.proc.pid, *host.descendants()]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for host in self.hosts.all.values():
            until(lambda h=host: set(h.roles()) == set(h.roles_of), f"all roles of {host.name} are there", 30)
