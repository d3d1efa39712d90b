"""A thousand cold starts and ends: nothing may be left of any of them."""
import os
import pathlib
import time

from bench import Caller, pss_kib, row, write
from harness import Background, Daemon, cgroup_dirs

CYCLES = int(os.environ.get("CYCLES", "1000"))
WIDTH = 8
CALM_S = 20  # the demand of a burst has faded after it, and what was kept for it is gone


def counts(daemon):
    roles = daemon.roles()
    daemon.remember_traces()
    found = {f"{role} descriptors": len(os.listdir(f"/proc/{pid}/fd")) for role, pid in roles.items()}
    found["processes"] = len(daemon.descendants())
    found["mounts"] = sum(len(pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
                          for pid in roles.values())
    found["cgroups"] = sum(len(cgroup_dirs(g)) for g in daemon.groups)
    found["files"] = sum(len(files) for _, _, files in os.walk(daemon.state))
    memory = {role: pss_kib(pid) for role, pid in roles.items()}
    return found, memory


def cycle(daemon, callers, times):
    """Cold starts and ends of several functions at once: control hears of a call's end with a delay."""
    def rounds(name, caller):
        for _ in range(times // len(callers)):
            caller.call()
            daemon.wait_quiet(name)
            reply = daemon.client.request("DELETE", f"/v1/functions/{name}/replicas/{caller.replica()}?force=1")
            assert reply.status < 300, reply
            daemon.wait_zero(name)

    for work in [Background(lambda n=n, c=c: rounds(n, c)) for n, c in callers.items()]:
        work.result(1200)


def main():
    daemon = Daemon()
    daemon.start()
    try:
        callers = {}
        for i in range(WIDTH):
            daemon.echo(f"echo-{i}")
            callers[f"echo-{i}"] = Caller(daemon, f"/f/echo-{i}/")
        # Tables, pools, kept logs and control's ring of the last 10,000 events (6 a cycle) have
        # their size after this.
        cycle(daemon, callers, 1800)
        time.sleep(CALM_S)
        before, memory_before = counts(daemon)
        cycle(daemon, callers, CYCLES)
        # Recent starts keep more sandboxes waiting, and what the dead left for the next of their plan.
        end = time.monotonic() + 2 * CALM_S
        while time.monotonic() < end:
            after, memory_after = counts(daemon)
            if all(after[k] <= before[k] for k in after):
                break
            time.sleep(0.2)
        for caller in callers.values():
            caller.close()
        rows = [row(f"leak.{k.replace(' ', '_')}", f"{k} after {CYCLES:,} cold-start cycles, against before them",
                    after[k] - before[k], "more", goal="<= 0", passed=after[k] <= before[k]) for k in after]
        for role in memory_after:
            grown = memory_after[role] - memory_before[role]
            rows.append(row(f"leak.memory.{role}", f"memory of {role}, grown over {CYCLES:,} cycles",
                            grown, "KiB", goal="<= 512 KiB", passed=grown <= 512))
        write("leak", rows)
    finally:
        daemon.stop()


main()
