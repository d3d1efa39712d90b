"""Directories that look like those of a machine with an NVIDIA driver: made-up files, nothing of NVIDIA's in them."""
import pathlib

VERSION = "580.95.05"
LIBRARIES = ("libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so", "libnvidia-nvvm.so", "libnvcuvid.so")


def uuid(n):
    return f"GPU-00000000-0000-0000-0000-{n:012x}"


class DriverRoot:
    """`gpus` GPUs with minor numbers from 0, at the bus ids of this machine's own PCI devices where it has some, so
    that /sys can be looked at."""

    def __init__(self, path, gpus, uuids=None, pci=None):
        self.path = pathlib.Path(path)
        self.driver, self.proc = self.path / "driver", self.path / "proc"
        real = sorted(p.name for p in pathlib.Path("/sys/bus/pci/devices").glob("*"))
        self.pci = pci or [real[n] if n < len(real) else f"0000:ff:{n:02x}.0" for n in range(gpus)]
        self.uuids = uuids or [uuid(n) for n in range(gpus)]
        self.put("proc/devices", "Character devices:\n  1 mem\n195 nvidia-frontend\n239 nvidia-caps\n"
                                 "510 nvidia-uvm\n\nBlock devices:\n  7 loop\n")
        self.put("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {VERSION}  "
                                               "Release Build\n")
        self.put("proc/driver/nvidia/params", "ModifyDeviceFiles: 1\nDeviceFileMode: 438\n")
        for name in LIBRARIES:
            self.put(f"driver/usr/lib64/{name}.{VERSION}", f"{name}\n")
        self.put("driver/usr/bin/nvidia-smi", "#!/bin/sh\necho this is nvidia-smi\n").chmod(0o755)
        for n in range(gpus):
            self.put(f"proc/driver/nvidia/gpus/{self.pci[n]}/information",
                     f"Model: \t\t NVIDIA H100 80GB HBM3\nGPU UUID: \t {self.uuids[n]}\n"
                     f"Bus Location: \t {self.pci[n]}\nDevice Minor: \t {n}\n")

    def part(self, gpu, gi, ci):
        """An instance of a GPU; returns the minor numbers of its two capabilities."""
        minors = self.path / "proc/driver/nvidia-caps/mig-minors"
        known = minors.read_text() if minors.exists() else "config 1\nmonitor 2\n"
        found = []
        for name in (f"gi{gi}", f"gi{gi}/ci{ci}"):
            found.append(gpu * 200 + 3 + len(known.splitlines()))
            known += f"gpu{gpu}/{name}/access {found[-1]}\n"
            self.put(f"proc/driver/nvidia/capabilities/gpu{gpu}/mig/{name}/access",
                     f"DeviceFileMinor: {found[-1]}\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
        self.put("proc/driver/nvidia-caps/mig-minors", known)
        return found

    def config(self):
        """Lines of a section [agent]. What a fake driver plays comes with a root of its own."""
        return f"gpu_driver_root = {self.driver}\ngpu_proc = {self.proc}\n"

    def put(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file
