"""Nodes of devices that no driver stands behind, and what a container's rules say of them: what is let through opens
with ENXIO, what is not with EPERM."""
import os
import pathlib
import subprocess

GPUS, CAPS = 195, 239  # majors, as driver_root.py has them
CGROUPS = pathlib.Path("/sys/fs/cgroup")

# In the control groups of its arguments up to "--".
OPENS = r"""
import errno, os, sys
end = sys.argv.index("--")
for group in sys.argv[1:end]:
    with open(group + "/cgroup.procs", "w") as f:
        f.write(str(os.getpid()))
def opened(path):
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as e:
        return errno.errorcode[e.errno]
print(*map(opened, sys.argv[end + 1:]))
"""


class Nodes:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()

    def add(self, major, minor):
        path = self.folder / f"{major}-{minor}"
        os.mknod(path, 0o20666, os.makedev(major, minor))
        return path

    def gpus(self, count):
        return [self.add(GPUS, n) for n in range(count)]


def groups_of(pid):
    """Of version 2, and of version 1 that of devices."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = CGROUPS if (CGROUPS / "cgroup.procs").exists() else CGROUPS / "unified"
        elif "devices" in controllers.split(","):
            top = CGROUPS / controllers
        else:
            continue
        found.append(top / path[1:])
    return found


def opened_in(groups, paths):
    """What a process there gets of each of them, the name of an error; it need not be a container's own."""
    return subprocess.run(["/usr/bin/python3", "-c", OPENS, *groups, "--", *paths], check=True, capture_output=True,
                          text=True).stdout.split()


def opened_by(pid, paths):
    return opened_in(groups_of(pid), paths)
