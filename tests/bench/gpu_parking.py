"""N6 to N8: what parking costs beside the driver's copies, whether anything is ever stuck, and how soon one that is
parked answers. GPUs are simulated: their copies are time that passes, and everything else is the daemon's own."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import bench
import gpu_reports
from harness import OUT, Daemon, echo_spec, processes, until

ROUNDS = int(os.environ.get("ROUNDS", "3"))
GIB = 1 << 30
STEPS = OUT / "plain/tests/unit/agent/test_park_steps"
SAID = re.compile(r"(\d+) parked, (\d+) back, (\d+) stayed ready, (\d+) killed")


class Node:
    """A daemon with one simulated GPU of 8 GiB that copies so many bytes a second."""

    def __init__(self, bandwidth):
        self.folder = tempfile.TemporaryDirectory(prefix="gantry-bench-park-")
        script = pathlib.Path(self.folder.name) / "script.json"
        script.write_text(json.dumps({"bandwidth_bytes": bandwidth}))
        config = pathlib.Path(self.folder.name) / "gantryd.conf"
        config.write_text(f"[agent]\nnode = n1\nparking_memory = 64GiB\ngpus = sim:1x8GiB:H100,script={script}\n")
        self.daemon = Daemon(config=config)

    def __enter__(self):
        return self.daemon.start()

    def __exit__(self, *_):
        self.daemon.stop()
        self.folder.cleanup()


def helpers(daemon):
    """The process that loads the driver, by pid: one that was started anew has another."""
    mine = set(daemon.descendants())
    return {pid for pid, (_, _, argv) in processes().items() if pid in mine and any("gpud" in word for word in argv[:2])}


def parked(daemon, name):
    return until(lambda: daemon.replicas(name, "parked"), f"{name} is parked", 20)[0]["park"]


def own_cost():
    """N6: one function, parked after each call; copies take no time."""
    took = []
    with Node(1 << 50) as daemon:
        daemon.put("a", echo_spec(resources={"memory": "64MiB", "gpu": {"share": 0.6}}, park={"method": "cuda", "after": "0s"}))
        assert daemon.call("a").status == 200
        park = parked(daemon, "a")
        before = helpers(daemon)
        for _ in range(10 * ROUNDS):
            assert daemon.call("a").status == 200
            park = parked(daemon, "a")
            took += [park["park_ms"], park["unpark_ms"]]
        restarts = len(helpers(daemon) ^ before)
        assert daemon.replicas("a", "parked")[0]["park"]["refused"] == 0
    return [
        bench.row("N6", f"parking and coming back, all but the copies, p90 of {len(took)}, the slowest {max(took):.0f} ms",
                  bench.quantile(took, 0.9), "ms", goal="<= 100", passed=bench.quantile(took, 0.9) <= 100),
        bench.row("N6.helper", f"times that the driver was loaded again for {len(took)} operations", restarts, "", goal="0",
                  passed=restarts == 0 and len(before) == 1),
        *gpu_reports.parking(),
    ]


def never_stuck():
    """N7: the steps of parking under random faults; the test fails at the first one that ends nowhere."""
    run = subprocess.run([STEPS], capture_output=True, text=True, check=False, env={**os.environ, "SEED": "42"})
    said = SAID.search(run.stdout)
    ways = sum(map(int, said.groups())) if said else 0
    stuck = 0 if run.returncode == 0 else None
    return [
        bench.row("N7", "of 10,000 random steps those that left a replica stuck, or memory given twice", stuck, "", goal="0",
                  passed=stuck == 0),
        bench.row("N7.ways", "ways that were walked to their end in them", ways, ""),
    ]


def first_byte():
    """N8: four functions of 0.6 each call in turn; each call finds its function parked and another one's there."""
    bandwidth, extra = 25 * GIB, []
    copy_ms = 2 * 0.6 * 8 * GIB / bandwidth * 1000  # the one goes, the other comes
    with Node(bandwidth) as daemon:
        for name in "abcd":
            daemon.put(name, echo_spec(resources={"memory": "64MiB", "gpu": {"share": 0.6}}, park={"method": "cuda", "after": "60s"}))
        ids = {}
        for name in "abcd":
            reply = daemon.call(name)
            assert reply.status == 200, reply
            ids[name] = reply.headers["Gantry-Replica"]
        for _ in range(ROUNDS):
            for name in "abcd":
                time.sleep(1)  # one that was just brought in stays for as long as a swap takes: no part of the goal
                caller = bench.Caller(daemon, f"/f/{name}/")
                extra.append(caller.call() - copy_ms)
                head = caller.head
                caller.close()
                assert ids[name].encode() in head, f"{name} was started anew"
        starts = sum(daemon.client.get(f"/v1/functions/{name}").json()["starts_total"] for name in "abcd")
    return [
        bench.row("N8", f"first byte of one that is parked, beyond the copies ({copy_ms:.0f} ms), p90 of {len(extra)}",
                  bench.quantile(extra, 0.9), "ms", goal="<= 300", passed=bench.quantile(extra, 0.9) <= 300),
        bench.row("N8.starts", "starts of four functions that share a GPU, for all calls", starts, "", goal="4", passed=starts == 4),
        *gpu_reports.turns(),
    ]
