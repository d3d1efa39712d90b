"""What the escape tests stand on: an image of the escape suite, and proof that the host is as it was."""
import ctypes
import hashlib
import os
import pathlib
import shutil
import stat
import struct

from harness import OUT

ESCAPE = OUT / "tests/e2e/escape"
KEPT_OPEN = 0o755


def capability_xattr():
    """cap_sys_admin,cap_setuid=ep as vfs_cap_data of revision 2."""
    bits = 1 << 21 | 1 << 7
    return struct.pack("<IIIII", 0x02000001, bits & 0xffffffff, 0, bits >> 32, 0)


def gifted_programs(root):
    """Copies of the suite that would give rights to who runs them."""
    for name in ("set-uid", "file-caps"):
        shutil.copy(ESCAPE, root / name)
        os.chown(root / name, 0, 0)
    os.chmod(root / "set-uid", 0o6755)
    os.chmod(root / "file-caps", 0o755)
    os.setxattr(root / "file-caps", "security.capability", capability_xattr())


def bare_root(path):
    """A root file system with the suite in it and nothing else."""
    path.mkdir(mode=KEPT_OPEN)
    os.chmod(path, KEPT_OPEN)
    shutil.copy(ESCAPE, path / "escape")
    return path


def full_root(path):
    """With all that only root can put into an image: device nodes, set-uid files, capabilities."""
    bare_root(path)
    gifted_programs(path)
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("mem", stat.S_IFCHR, (1, 1)),
                               ("disk", stat.S_IFBLK, (8, 0))):
        os.mknod(path / f"node-{name}", kind | 0o666, os.makedev(*number))
        os.chmod(path / f"node-{name}", 0o666)
    return path


def spec(root, **more):
    return {"image": f"dir:{root}", "command": ["/escape"], "port": 8000,
            "resources": {"memory": "128MiB", "pids": 64, "disk": "16MiB"}, "scale": {"max": 1}, **more}


def fingerprint(path):
    """Content and everything that a write would change."""
    found = {}
    for at in [path, *sorted(path.rglob("*"))]:
        st = at.lstat()
        content = ""
        if at.is_symlink():
            content = os.readlink(at)
        elif at.is_file():
            content = hashlib.sha256(at.read_bytes()).hexdigest()
        found[str(at)] = (content, st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_size,
                          st.st_mtime_ns, st.st_ctime_ns)
    return found


def host():
    """What of the machine an escape is likely to touch."""
    found = {}
    for path in ("/dev/null", "/dev/zero", "/dev/ptmx", "/dev/pts", "/dev", "/proc", "/sys", "/etc/passwd", "/etc"):
        st = os.lstat(path)
        found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_rdev)
    for path in ("/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
                 "/proc/sys/kernel/modprobe"):
        if os.path.exists(path):
            found[path + " text"] = pathlib.Path(path).read_bytes()
    found["/"] = sorted(os.listdir("/"))
    found["mounts"] = sorted(line.split()[4] for line in open("/proc/self/mountinfo"))
    return found


class Ipc:
    """System V objects, a message queue and a file in /dev/shm of the host's, for nobody else to find."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.key = 0x6a000000 + os.getpid()
        self.ids = [self.libc.shmget(self.key, 4096, 0o1666), self.libc.msgget(self.key, 0o1666),
                    self.libc.semget(self.key, 1, 0o1666)]
        assert all(i >= 0 for i in self.ids), self.ids
        self.mq = f"/gantry-escape-{os.getpid()}"
        queue = self.libc.mq_open(self.mq.encode(), os.O_CREAT | os.O_RDONLY, 0o666, None)
        self.has_mq = queue >= 0
        if self.has_mq:
            os.close(queue)
        self.file = pathlib.Path(f"/dev/shm/gantry-escape-{os.getpid()}")
        self.file.write_text("the host's")

    def close(self):
        self.libc.shmctl(self.ids[0], 0, None)
        self.libc.msgctl(self.ids[1], 0, None)
        self.libc.semctl(self.ids[2], 0, 0)
        if self.has_mq:
            self.libc.mq_unlink(self.mq.encode())
        self.file.unlink()
