"""CYCLES (10,000) cold starts and ends: nothing may be left of any of them. Control hears of a call's end a tenth of a
second later, so WIDTH functions go through a cycle together, and one question asks for all of them."""
import contextlib
import http.client
import json
import os
import pathlib
import time

from bench import Caller, row, write
from harness import Daemon, cgroup_dirs, proc_status, until

CYCLES = int(os.environ.get("CYCLES", "10000"))
FILL = 1800
WIDTH = 40
CALM_S = 20  # the demand of a burst has faded after it, and what was kept for it is gone


def namespaces(pids):
    """Of networks: those that processes are in, or hold open."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it may end meanwhile
            for link in [f"/proc/{pid}/ns/net", *(e.path for e in os.scandir(f"/proc/{pid}/fd"))]:
                with contextlib.suppress(OSError):
                    found.add(os.readlink(link))
    return sum(target.startswith("net:") for target in found)


def counts(daemon):
    roles = daemon.roles()
    daemon.remember_traces()
    descendants = daemon.descendants()
    found = {f"{role} descriptors": len(os.listdir(f"/proc/{pid}/fd")) for role, pid in roles.items()}
    found["processes"] = len(descendants)
    found["threads"] = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in [daemon.proc.pid, *roles.values()])
    found["mounts"] = sum(len(pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
                          for pid in roles.values())
    found["cgroups"] = sum(len(cgroup_dirs(g)) for g in daemon.groups)
    found["network namespaces"] = namespaces([daemon.proc.pid, *descendants])
    found["network links"] = len(os.listdir("/sys/class/net"))
    found["loop devices"] = len(list(pathlib.Path("/sys/block").glob("loop*/loop/backing_file")))
    found["files"] = sum(len(files) for _, _, files in os.walk(daemon.state))
    memory = {role: int(proc_status(pid, "VmRSS")[0]) for role, pid in roles.items()}
    return found, memory


class Cycles:
    def __init__(self, daemon):
        self.daemon = daemon
        self.callers = {}
        for i in range(WIDTH):
            daemon.echo(f"echo-{i}", scale={"max": 1})
            self.callers[f"echo-{i}"] = Caller(daemon, f"/f/echo-{i}/")
        self.api = http.client.HTTPConnection(*daemon.address, timeout=30)

    def ask(self, method, path):
        self.api.request(method, path, headers={"Authorization": f"Bearer {self.daemon.token}"})
        reply = self.api.getresponse()
        body = reply.read()
        assert reply.status < 300, (path, reply.status, body[:300])
        return body

    def all_are(self, good, what):
        def asked():
            text = self.ask("GET", "/v1/functions?limit=1000")
            return all(good(f) for f in json.loads(text)["items"])

        until(asked, what, 60, 0.01)

    def run(self, cycles):
        for _ in range(-(-cycles // WIDTH)):
            for caller in self.callers.values():
                caller.send()
            for caller in self.callers.values():
                caller.receive()
            # One that is removed before control knows that its call has ended is replaced.
            self.all_are(lambda f: f["queued"] + f["in_flight"] == 0, "no call is known")
            for name, caller in self.callers.items():
                self.ask("DELETE", f"/v1/functions/{name}/replicas/{caller.replica()}?force=1")
            self.all_are(lambda f: not sum(f["replicas"].values()), "all are at zero")

    def close(self):
        self.api.close()
        for caller in self.callers.values():
            caller.close()


def main():
    rows = []
    daemon = Daemon()
    daemon.start()
    try:
        cycles = Cycles(daemon)
        # Tables, pools, kept logs and control's ring of the last 10,000 events (6 a cycle) have
        # their size after this.
        cycles.run(FILL)
        time.sleep(CALM_S)
        before, memory_before = counts(daemon)
        begin = time.monotonic()
        cycles.run(CYCLES)
        took = time.monotonic() - begin
        # Recent starts keep more sandboxes waiting, and what the dead left for the next of their plan.
        end = time.monotonic() + 2 * CALM_S
        while time.monotonic() < end:
            after, memory_after = counts(daemon)
            if all(after[k] <= before[k] for k in after):
                break
            time.sleep(0.2)
        cycles.close()
    finally:
        daemon.stop()
    grown = {k: after[k] - before[k] for k in after}
    rows.append(row("F10", f"of {CYCLES:,} cold starts and ends: " + ", ".join(grown) + " that are left",
                    sum(max(0, n) for n in grown.values()), "", goal="0", passed=all(n <= 0 for n in grown.values())))
    share = (sum(memory_after.values()) / sum(memory_before.values()) - 1) * 100
    rows.append(row("F10.memory", f"memory of all roles, grown over {CYCLES:,} cycles", share, "%", goal="<= 1 %",
                    passed=share <= 1))
    rows.append(row("F10.rate", "cycles a second, of the daemon and of who asks for them", CYCLES / took, "1/s"))
    rows += [row(f"leak.{k.replace(' ', '_')}", f"{k} after {CYCLES:,} cycles, against before them", n, "more",
                 goal="<= 0", passed=n <= 0) for k, n in grown.items()]
    for role in memory_after:
        kib = memory_after[role] - memory_before[role]
        rows.append(row(f"leak.memory.{role}", f"memory of {role}, grown over {CYCLES:,} cycles, of {memory_before[role]:,} KiB",
                        kib, "KiB", goal="<= 512 KiB", passed=kib <= 512))
    write("leak", rows)


main()
