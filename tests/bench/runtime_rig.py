"""What `make bench-runtime` measures with: the measuring program, and the other runtimes' set-ups."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from harness import OUT, ROOT

FOLDER = (OUT if (OUT / "tests").exists() else OUT / "plain") / "tests/bench/runtime"
STAMP = FOLDER / "stamp"
PEER_ID = 0x70000000  # host id of the root of crun's containers: the daemon's own default
CAPS = ["CAP_" + c for c in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
                             "NET_BIND_SERVICE")]
# CLONE_NEW* and clone's other namespace flag, as in the runtime's own filter.
NEW_NAMESPACES = 0x7e020080


class Bench:
    """One running measuring program. A command is a line of words; so is its answer."""

    def __init__(self, side, folder):
        # A group of its own: on Ctrl-C it ends as always, by the end of its input, and cleans up.
        self.proc = subprocess.Popen([FOLDER / "bench", side, folder], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True, bufsize=1, process_group=0)
        self.side, self.folder = side, folder

    def ask(self, *words):
        self.proc.stdin.write(" ".join(map(str, words)) + "\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline().split()
        if not answer or answer[0] == "error":
            stderr = self.folder / "stderr"
            more = stderr.read_text()[-2000:] if stderr.exists() else ""
            raise AssertionError(f"bench {self.side}, {words}: {' '.join(answer[1:]) or 'it ended'} {more}")
        return [int(w) if w.isdigit() else w for w in answer]

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(60)
        self.proc.stdout.close()


def call_filter(architectures):
    """Gantry's own list of system calls as podman and docker hand one to crun. What Gantry answers with
    EPERM instead of ENOSYS is left out: it would only make crun's filter longer."""
    names = re.findall(r"GT_SYSCALL\((\w+)\)", (ROOT / "src/runtime/syscalls.tbl").read_text())

    def when(name, *conditions):
        args = [{"index": i, "value": value, "valueTwo": 0, "op": f"SCMP_CMP_{op}"} for i, op, value in conditions]
        return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": args}

    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": architectures,
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"},
                         when("clone", (0, "MASKED_EQ", NEW_NAMESPACES)),
                         *[when("socket", (0, "EQ", family)) for family in (1, 2, 10)],
                         when("socket", (0, "EQ", 16), (2, "EQ", 0)),
                         when("prlimit64", (0, "EQ", 0)), when("socketpair", (0, "EQ", 1)),
                         *[when("personality", (0, "EQ", value)) for value in (0, 0xffffffff)]]}


ARCH_NATIVE = ["SCMP_ARCH_X86_64"]
ARCH_ALL = [*ARCH_NATIVE, "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def harden(spec, args, architectures):
    """Turns what `crun spec` or umoci writes into what a container of Gantry has. No control groups:
    on a host with version 1 they cost crun several milliseconds a start."""
    caps = {k: CAPS for k in ("bounding", "effective", "permitted")}
    spec["process"].update(args=args, terminal=False, env=["PATH=/", "PORT=8000"], cwd="/", capabilities=caps,
                           noNewPrivileges=True, rlimits=[{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
                           user={"uid": 0, "gid": 0})
    spec["root"]["readonly"] = False
    ids = [{"containerID": 0, "hostID": PEER_ID, "size": 65536}]
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
    spec["linux"].update(uidMappings=ids, gidMappings=ids, namespaces=[{"type": k} for k in kinds],
                         seccomp=call_filter(architectures))
    spec["linux"].pop("resources", None)
    # What crun mounts for control groups fails on a mixed v1 and v2 host.
    spec["mounts"] = [m for m in spec["mounts"] if m["type"] != "cgroup"]


class Folder:
    """A temporary folder whose root file system holds the stamp program alone."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="gantry-bench-"))
        os.chmod(self.path, 0o755)
        self.root("rootfs")

    def root(self, name):
        root = self.path / name
        for entry in ("proc", "sys", "dev"):
            (root / entry).mkdir(parents=True)
        shutil.copy(STAMP, root / "stamp")
        return root

    def crun(self, name, architectures):
        """The words that start a container of Debian's crun with this filter."""
        bundle = self.path / name
        root = self.root(f"{name}/rootfs")
        for path in (root, *root.iterdir()):
            os.chown(path, PEER_ID, PEER_ID)
        subprocess.run(["crun", "spec"], cwd=bundle, check=True)
        spec = json.loads((bundle / "config.json").read_text())
        harden(spec, ["/stamp"], architectures)
        (bundle / "config.json").write_text(json.dumps(spec))
        return crun_words(self.path, bundle)

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


def crun_words(folder, bundle):
    return ["crun", "--root", folder / "state", "--cgroup-manager=disabled", "run", "-b", bundle, "bench{}"]


def bwrap_words(root):
    """bubblewrap with the same namespaces; its filter comes as descriptor 9."""
    return ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--unshare-cgroup", "--uid", 0, "--gid", 0, "--cap-drop", "ALL", "--new-session", "--bind", root, "/",
            "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/sys", "/sys", "--seccomp", 9, "/stamp"]
