"""Cold calls of examples/echo against `crun run` of the same program and its first answer, interleaved."""
import concurrent.futures
import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from bench import Caller, cpu_ms, quantile, row, write
from harness import ECHO_ROOT, ROOT, Daemon

ROUNDS = int(os.environ.get("ROUNDS", "120"))
libc = ctypes.CDLL(None, use_errno=True)


def hide_unified_cgroups():
    """crun refuses a host with both cgroup versions. In a mount namespace of this thread alone, take
    the second one away; what the thread starts inherits the view, and Gantry's daemon does not."""
    CLONE_FS, CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x200, 0x20000, 0x4000, 0x40000, 2
    if libc.unshare(CLONE_FS | CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    if os.path.isdir("/sys/fs/cgroup/unified"):
        libc.umount2(b"/sys/fs/cgroup/unified", MNT_DETACH)


def harden(spec):
    """What Gantry's containers have and `crun spec` leaves out: a user namespace and a system call
    allow-list (Gantry's own list)."""
    names = re.findall(r"GT_SYSCALL\((\w+)\)", (ROOT / "src/runtime/syscalls.tbl").read_text())
    ids = [{"containerID": 0, "hostID": 0x70000000, "size": 65536}]
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"].update(uidMappings=ids, gidMappings=ids, seccomp={
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": [*names, "clone", "socket", "prctl"], "action": "SCMP_ACT_ALLOW"}]})


class Crun:
    """Debian's crun on a bundle of the same root: its own network namespace, as replicas have. No
    control groups: on a cgroup v1 host they would cost it several milliseconds more."""

    def __init__(self, hardened=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench-"))
        os.chmod(self.dir, 0o755)
        shutil.copytree(ECHO_ROOT, self.dir / "rootfs")
        subprocess.run(["crun", "spec"], cwd=self.dir, check=True)
        spec = json.loads((self.dir / "config.json").read_text())
        spec["process"].update(args=["/echo"], terminal=False, env=["PORT=8000", "PATH=/"])
        spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "cgroup"]
        spec["linux"].pop("resources", None)
        # What crun mounts for control groups fails on a mixed v1 and v2 host.
        spec["mounts"] = [m for m in spec["mounts"] if m["type"] != "cgroup"]
        if hardened:
            harden(spec)
            os.chown(self.dir / "rootfs", 0x70000000, 0x70000000)
        (self.dir / "config.json").write_text(json.dumps(spec))
        self.base = ["crun", "--root", str(self.dir / "state"), "--cgroup-manager=disabled"]
        self.count = 0
        self.thread = concurrent.futures.ThreadPoolExecutor(1, initializer=hide_unified_cgroups)

    def first_answer(self):
        return self.thread.submit(self.measure).result()

    def measure(self):
        """Milliseconds from starting crun to the first byte of the program's first answer."""
        self.count += 1
        name, pid_file = f"bench{self.count}", self.dir / f"pid{self.count}"
        result = []

        def ask(pid):
            with open(f"/proc/{pid}/ns/net") as ns:
                if libc.setns(ns.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            while time.perf_counter() - begin < 10:
                with socket.socket() as s:
                    try:
                        s.connect(("127.0.0.1", 8000))
                        s.sendall(b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n")
                        if s.recv(65536).startswith(b"HTTP/1.1 200"):
                            result.append(time.perf_counter())
                            return
                    except (ConnectionRefusedError, ConnectionResetError):
                        time.sleep(0.0002)

        begin = time.perf_counter()
        # Not /dev/null: crun gives its standard streams to the container's root, the host's device too.
        with open(self.dir / "stdio", "w+b") as stdio:
            proc = subprocess.Popen([*self.base, "run", "--pid-file", str(pid_file), "-b", str(self.dir), name],
                                    stdin=stdio, stdout=stdio, stderr=subprocess.PIPE)
        while not (pid_file.exists() and (text := pid_file.read_text())):
            if proc.poll() is not None:
                raise AssertionError(f"crun: {proc.stderr.read().decode()}")
            time.sleep(0.0001)
        # A namespace is a thread's own: this thread must not keep the container's.
        asker = threading.Thread(target=ask, args=(int(text),))
        asker.start()
        asker.join(10)
        if not result:
            raise AssertionError("crun's container never answered")
        subprocess.run([*self.base, "kill", name, "KILL"], check=True, stdout=subprocess.DEVNULL)
        proc.wait(10)
        proc.stderr.close()
        subprocess.run([*self.base, "delete", "-f", name], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        pid_file.unlink()
        return (result[0] - begin) * 1000

    def close(self):
        self.thread.shutdown()
        shutil.rmtree(self.dir, ignore_errors=True)


def to_zero(daemon, name, replica):
    daemon.wait_quiet(name)
    reply = daemon.client.request("DELETE", f"/v1/functions/{name}/replicas/{replica}")
    assert reply.status < 300, reply
    daemon.wait_zero(name)


def main():
    daemon, crun, hard = Daemon(), Crun(), Crun(hardened=True)
    try:
        daemon.start()
        daemon.echo("echo")
        caller = Caller(daemon, "/f/echo/hello")
        phases = {k: [] for k in ("sandbox_ms", "root_ms", "exec_ms", "ready_ms")}
        cold, peer, hardened, warm, cpu = [], [], [], [], 0.0
        for i in range(ROUNDS + 5):
            before = cpu_ms([daemon.proc.pid, *daemon.roles().values()])
            took = caller.call()
            after = cpu_ms([daemon.proc.pid, *daemon.roles().values()])
            warm_took = caller.call()
            replica = caller.replica()
            timings = daemon.client.get(f"/v1/functions/echo/replicas/{replica}").json()["timings"]
            to_zero(daemon, "echo", replica)
            crun_took, hard_took = crun.first_answer(), hard.first_answer()
            if i >= 5:  # the first ones warm caches on both sides
                cold.append(took)
                warm.append(warm_took)
                peer.append(crun_took)
                hardened.append(hard_took)
                cpu += after - before
                for k in phases:
                    phases[k].append(timings[k])
        caller.close()
        p50, crun50, hard50 = quantile(cold, 0.5), quantile(peer, 0.5), quantile(hardened, 0.5)
        rows = [
            row("cold.p50", "cold call of echo, request to first byte, from zero", p50, "ms",
                goal="<= 15 ms", passed=p50 <= 15),
            row("cold.crun", "the same against crun run + first answer (p50, cgroups off)", p50, "ms",
                peer=crun50, goal="<= 0.6 of crun", passed=p50 <= 0.6 * crun50),
            row("cold.crun_equal", "against crun with the same user namespace and call filter", p50, "ms",
                peer=hard50),
            row("cold.p90", "cold call, 90 %", quantile(cold, 0.9), "ms", peer=quantile(peer, 0.9)),
            row("cold.p99", "cold call, 99 %", quantile(cold, 0.99), "ms", peer=quantile(peer, 0.99)),
            row("cold.cpu", "CPU time of all roles a cold call", cpu / ROUNDS, "ms"),
            *[row(f"cold.{k[:-3]}", f"of that: {what} (p50)", quantile(phases[k], 0.5), "ms")
              for k, what in (("sandbox_ms", "a sandbox is at hand"), ("root_ms", "root file system and mounts"),
                              ("exec_ms", "the program runs"), ("ready_ms", "it answers"))],
            row("warm.p50", "warm call of echo, request to first byte", quantile(warm, 0.5), "ms"),
        ]
        write("cold", rows)
    finally:
        crun.close()
        hard.close()
        daemon.stop()


main()
