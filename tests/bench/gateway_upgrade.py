"""G8, what clients lose while the daemon becomes a newer program, again and again."""
import signal

from bench import row
from gateway_rig import Live, progress
from harness import until

STREAMS, EVENTS = 100, 500  # one event every 20 ms: they outlive some upgrades


def upgrade(daemon):
    """All roles are new processes; an old gateway may still serve what it had begun."""
    before = set(daemon.roles().values())
    daemon.proc.send_signal(signal.SIGUSR2)

    def is_new():
        roles = daemon.roles()
        return len(roles) == 3 and not set(roles.values()) & before

    until(is_new, "all roles are new", 30)
    until(lambda: daemon.client.get("/v1/version").status == 200, "control answers")


def rows(daemon, count):
    system = daemon.system()
    system.pids = system.others = lambda: []  # they come and go
    streams = Live(system, "sse", f"sse-{EVENTS}-20", "streaming", conns=STREAMS, events=EVENTS)
    calls = Live(system, "churn", "bytes-1024", "running", conns=64)
    for _ in range(count):
        upgrade(daemon)
    done, streamed = calls.end(), streams.result()
    calls.close()
    streams.close()
    progress(f"G8: {count} upgrades, {done['requests']:,} calls, {STREAMS} streams")
    lost = done["errors"] + streamed["errors"]
    return [row("G8", f"calls on new connections and streams lost in {count} upgrades", lost, "lost", goal="<= 0",
                passed=lost == 0) | {"runs": done["requests"] + STREAMS},
            row("G8.rate", "new connections a second meanwhile", done["requests"] / done["seconds"], "1/s")]
