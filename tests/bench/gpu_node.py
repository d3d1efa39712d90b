"""Of the GPU side: a node's start, its answer to errors, and its metrics. The driver is a test double
(tests/fake/gpu): what is measured is this program, never a GPU."""
import os
import pathlib
import re
import subprocess
import tempfile
import time

import bench
from fake_gpu import FakeDriver
from harness import BIN, ROOT, Daemon, probe_spec, until

ROUNDS = int(os.environ.get("ROUNDS", "5"))


class Node:
    """A daemon with GPUs of the test double."""

    def __init__(self, gpus):
        self.folder = tempfile.TemporaryDirectory(prefix="gantry-bench-gpu-")
        self.driver = FakeDriver(self.folder.name, gpus)
        config = pathlib.Path(self.folder.name) / "gantryd.conf"
        config.write_text("[agent]\nnode = n1\n" + self.driver.config())
        self.daemon = Daemon(config=config)

    def __enter__(self):
        self.daemon.start()
        until(lambda: self.view().get("gpu_driver", {}).get("state") == "ready", "the driver answers")
        return self

    def __exit__(self, *_):
        self.daemon.stop()
        self.folder.cleanup()

    def view(self):
        return self.daemon.client.get("/v1/nodes/n1").json()


def waited_ms(condition, since, most=20):
    """Until it holds, looked at without a pause."""
    while not condition():
        if time.perf_counter() - since > most:
            raise AssertionError("it did not come")
    return (time.perf_counter() - since) * 1000


def health():
    """N2: from the line in the kernel's log, or the driver's event, to what it must lead to."""
    killed, drained = [], []
    with Node(2) as node:
        d = node.daemon
        for n in range(2 * ROUNDS):
            # Anew each time: one that fails again and again waits for longer and longer. By one name: three functions that
            # fail on a GPU drain it.
            d.put("web", probe_spec(resources={"memory": "64MiB", "gpu": {"count": 1}}, scale={"min": 1, "max": 1}))
            replica = d.wait_replicas("web", 1)[0]
            number = next(i for i, g in enumerate(node.view()["gpus"]) if g["uuid"] == replica["gpus"][0]["uuid"])
            begin = time.perf_counter()
            if n % 2:
                node.driver.xid(number, 13)
            else:
                node.driver.event(number, 13)
            killed.append(waited_ms(lambda r=replica: r["id"] not in [x["id"] for x in d.replicas("web", "ready")], begin))
            until(lambda r=replica: [x for x in d.replicas("web", "ready") if x["id"] != r["id"]], "another replica", 20)
            d.delete("web")
            time.sleep(1.1)  # the same error of the same second is one
        for number in range(2):
            begin = time.perf_counter()
            node.driver.xid(number, 62)
            drained.append(waited_ms(lambda n=number: not node.view()["gpus"][n]["healthy"], begin))
    return [
        bench.row("N2", f"from an Xid to the end of the replica, the slowest of {len(killed)}", max(killed), "ms",
                  goal="<= 1000", passed=max(killed) <= 1000),
        bench.row("N2.drain", "from an Xid to a GPU that takes no new replica, the slower of 2", max(drained), "ms",
                  goal="<= 1000", passed=max(drained) <= 1000),
        bench.row("N2.codes", "Xid codes of the catalogue that have a class", classified(), "codes", goal="172",
                  passed=classified() == 172),
    ]


def classified():
    rows = re.findall(r"^XID\((\d+), (\d+), [A-Z]+,", (ROOT / "src/gpu/xid.tbl").read_text(), re.M)
    return len({xid for first, last in rows for xid in range(int(first), int(last) + 1)} & set(range(1, 173)))


def scrape():
    """N3: /metrics of a node with 8 GPUs."""
    with Node(8) as node:
        until(lambda: "DCGM_FI_DEV_GPU_TEMP" in node.daemon.client.get("/metrics").text, "GPUs are measured", 20)
        caller = bench.Caller(node.daemon, "/metrics")
        times = [caller.call() for _ in range(50 * ROUNDS)]
        caller.close()
        names = {k.split("{")[0] for k in node.daemon.metrics() if k.startswith("DCGM_FI_")}
    p99 = bench.quantile(times, 0.99)
    return [
        bench.row("N3", "a scrape of /metrics with 8 GPUs, p99", p99, "ms", goal="<= 20", passed=p99 <= 20),
        bench.row("N3.names", "DCGM_FI_* names in it", len(names), "names", goal=">= 20", passed=len(names) >= 20),
    ]


def absent():
    """N12: how much later a node serves whose driver is missing, or hangs."""
    def start_ms(setting, before=None):
        times = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory(prefix="gantry-bench-gpu-") as folder:
                driver = FakeDriver(folder)
                if before:
                    before(driver)
                config = pathlib.Path(folder) / "gantryd.conf"
                config.write_text("[agent]\nnode = n1\n" + (setting or driver.config()))
                daemon = Daemon(config=config)
                begin = time.perf_counter()
                daemon.start()
                until(lambda d=daemon: d.client.get("/v1/nodes/n1").status == 200, "the node has joined")
                times.append((time.perf_counter() - begin) * 1000)
                daemon.stop()
        return bench.quantile(times, 0.5)

    none = start_ms("gpus = none\n")
    missing = start_ms("gpus = nvidia\ngpu_driver_root = /nonexistent\n")
    hangs = start_ms(None, lambda d: d.call("nvmlInit_v2", "hang"))
    linked = sum(bool(re.search("nvidia|libcuda|libnccl", subprocess.run(["ldd", BIN / p], capture_output=True, text=True,
                                                                          check=True).stdout))
                 for p in ("gantryd", "gantry"))
    return [
        bench.row("N12", "start of a node without a driver, until it serves", missing, "ms", peer=none, goal="<= 1000",
                  passed=missing <= 1000),
        bench.row("N12.hang", "the same with a driver that hangs at its start", hangs, "ms", peer=none, goal="<= 1000",
                  passed=hangs <= 1000),
        bench.row("N12.linked", "programs that are linked to NVML, CUDA or NCCL", linked, "", goal="0", passed=linked == 0),
    ]
