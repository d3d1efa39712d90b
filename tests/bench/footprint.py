"""What the daemon costs while it does nothing, and how fast it is there."""
import time

from bench import pss_kib, quantile, row, write
from harness import Daemon


def main():
    ready, rows = [], []
    for i in range(20):
        daemon = Daemon()
        daemon.start()
        ready.append(daemon.ready_ms)
        if i == 0:
            time.sleep(2)  # until it has settled: prepared sandboxes included
            roles = daemon.roles()
            parts = {"supervisor": pss_kib(daemon.proc.pid), **{r: pss_kib(p) for r, p in roles.items()}}
            others = [p for p in daemon.descendants() if p not in roles.values()]
            parts["sandboxes"] = sum(map(pss_kib, others))
            total = sum(parts.values()) / 1024
            rows = [row("idle.pss", f"idle daemon, all {3 + 1 + len(others)} processes, no function", total,
                        "MiB", goal="<= 20 MiB", passed=total <= 20),
                    *[row(f"idle.pss.{k}", f"of that: {k}", v / 1024, "MiB") for k, v in parts.items()]]
        daemon.stop()
    p50 = quantile(ready, 0.5)
    rows += [row("ready.p50", "first start to ready line, 20 starts", p50, "ms", goal="<= 150 ms", passed=p50 <= 150),
             row("ready.max", "the slowest of them", max(ready), "ms")]
    write("footprint", rows)


main()
