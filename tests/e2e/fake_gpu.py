"""A driver of GPUs that a test plays: the script of the test doubles in tests/fake/gpu, and the kernel's log."""
import json
import os
import pathlib

from driver_root import DriverRoot
from harness import OUT

FAKES = next((d for d in (OUT / "plain/tests/fake/gpu", OUT / "tests/fake/gpu") if d.exists()), OUT / "tests/fake/gpu")
GIB = 1 << 30


def device(number, **more):
    return {"uuid": f"GPU-{number:08x}-0000-0000-0000-000000000000", "name": "NVIDIA H100 80GB HBM3",
            "minor": number, "bus": 0xc0 + number, **more}


class FakeDriver:
    def __init__(self, folder, count=2):
        self.path = pathlib.Path(folder) / "gpus.json"
        self.kmsg_path = pathlib.Path(folder) / "kmsg"
        os.mkfifo(self.kmsg_path)
        self.kmsg_fd = os.open(self.kmsg_path, os.O_RDWR)
        self.events, self.caps = 0, {}
        pci = [f"0000:{0xc0 + n:02x}:00.0" for n in range(count)]
        self.root = DriverRoot(pathlib.Path(folder) / "root", count, [device(n)["uuid"] for n in range(count)], pci)
        self.script = {"devices": [device(i) for i in range(count)], "events": [], "calls": {}}
        self.write()

    def write(self):
        new = self.path.with_suffix(".next")
        new.write_text(json.dumps(self.script))
        new.rename(self.path)

    def set(self, number, **more):
        self.script["devices"][number].update(more)
        self.write()

    def part(self, number, instances):
        """Instances as (name, gi, ci, bytes); self.caps: the minor numbers of what each one's container may open."""
        self.set(number, mig=[{"uuid": f"MIG-{number}-{gi}-{ci}", "name": name, "gi": gi, "ci": ci, "memory": size}
                              for name, gi, ci, size in instances])
        for _, gi, ci, _ in instances:
            self.caps[f"MIG-{number}-{gi}-{ci}"] = self.root.part(number, gi, ci)

    def call(self, name, what):
        """what: a code, "hang", "crash"; None: it works."""
        self.script["calls"].pop(name, None)
        if what is not None:
            self.script["calls"][name] = what
        self.write()

    def event(self, number, xid):
        self.events += 1
        self.script["events"].append({"id": self.events, "device": number, "type": 8, "data": xid})
        self.write()

    def kmsg(self, text):
        os.write(self.kmsg_fd, text.encode())

    def xid(self, number, xid, pid=""):
        self.kmsg(f"4,{number},1,-;NVRM: Xid (PCI:0000:{0xc0 + number:02x}:00): {xid}, pid={pid}, name=x, text\n")

    def config(self):
        return f"gpus = fake:{FAKES},{self.path}\ngpu_kmsg = {self.kmsg_path}\n" + self.root.config()
