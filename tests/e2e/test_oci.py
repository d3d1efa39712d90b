"""`gantry oci`: the life of a container out of a bundle, and that nothing of it is left."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

from harness import BIN, alive, processes, until

BUSYBOX = shutil.which("busybox")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
              pytest.mark.skipif(not BUSYBOX, reason="needs a static busybox")]

CAPS = ["CAP_CHOWN", "CAP_KILL"]


class Bundle:
    def __init__(self, path):
        self.path = path
        self.root = path / "containers"
        self.rootfs = path / "rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, self.rootfs / "bin/busybox")
        for applet in ("sh", "cat", "sleep", "id", "grep", "touch", "hostname", "env", "ls"):
            (self.rootfs / "bin" / applet).symlink_to("busybox")

    def write(self, script="true", **more):
        """Members of `process` and of the configuration; a member of `linux` too."""
        config = {
            "ociVersion": "1.0.2",
            "process": {"args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/",
                        "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "network", "ipc", "uts")]},
        }
        for key, value in more.items():
            if key in ("process", "linux"):
                config[key].update(value)
            elif value is None:
                config.pop(key)
            else:
                config[key] = value
        (self.path / "config.json").write_text(json.dumps(config))
        return self

    def command(self, *words):
        return [str(BIN / "gantry"), "oci", "--root", str(self.root), "--log", str(self.path / "log"), *words]

    def oci(self, *words, **more):
        # Files, not pipes: a container that goes on keeps its output open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(self.command(*words), stdout=out, stderr=err, timeout=30, check=False,
                                  cwd=self.path, stdin=subprocess.DEVNULL, **more)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())

    def ok(self, *words):
        done = self.oci(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words):
        done = self.oci(*words)
        assert done.returncode == 1 and done.stderr.startswith("gantry oci: "), done
        return done.stderr

    def state(self, name="c"):
        return json.loads(self.ok("state", name))

    def until(self, status, name="c"):
        until(lambda: self.state(name)["status"] == status, f"{name} is {status}")

    def leftovers(self):
        found = [str(p) for p in self.root.glob("*")] if self.root.exists() else []
        return found + [f"process {pid}" for pid, (_, _, argv) in processes().items() if str(self.root) in " ".join(argv)]


@pytest.fixture
def bundle(tmp_path):
    made = Bundle(tmp_path)
    yield made
    for left in made.root.glob("*") if made.root.exists() else []:
        made.oci("delete", "--force", left.name)
    until(lambda: not made.leftovers(), "nothing is left")
    assert str(tmp_path) not in pathlib.Path("/proc/self/mountinfo").read_text()


# ---- the life of a container -----------------------------------------------------------------

def test_create_start_stop_delete(bundle):
    bundle.write("echo began > /began; exec sleep 60", annotations={"k": "v"})
    bundle.ok("create", "--pid-file", str(bundle.path / "pid"), "c")
    state = bundle.state()
    pid = int((bundle.path / "pid").read_text())
    assert state == {"ociVersion": "1.0.2", "id": "c", "status": "created", "pid": pid,
                     "bundle": str(bundle.path), "annotations": {"k": "v"}}
    assert alive(pid) and not (bundle.rootfs / "began").exists()

    bundle.ok("start", "c")
    until((bundle.rootfs / "began").exists, "the program runs")
    assert bundle.state()["status"] == "running" and bundle.state()["pid"] == pid
    assert "is running, not created" in bundle.refused("start", "c")
    assert "is running, not stopped" in bundle.refused("delete", "c")
    assert bundle.state()["status"] == "running"

    bundle.ok("kill", "c", "KILL")
    bundle.until("stopped")
    assert bundle.state()["pid"] == 0 and not alive(pid)
    assert "is stopped, not running" in bundle.refused("kill", "c", "TERM")
    assert "is stopped, not created" in bundle.refused("start", "c")
    bundle.ok("delete", "c")
    assert "does not exist" in bundle.refused("state", "c")


def test_the_configuration_is_read_once(bundle):
    bundle.write("echo first > /said")
    bundle.ok("create", "c")
    bundle.write("echo second > /said")
    bundle.ok("start", "c")
    bundle.until("stopped")
    assert (bundle.rootfs / "said").read_text() == "first\n"


@pytest.mark.parametrize("name", ["TERM", "SIGUSR1", str(int(signal.SIGUSR2))])
def test_signals_reach_the_program(bundle, name):
    number = name if name.isdigit() else name.removeprefix("SIG")
    bundle.write(f"trap 'touch /caught; exit 0' {number}; touch /ready; while :; do sleep 0.05; done")
    bundle.ok("run", "-d", "c")
    until((bundle.rootfs / "ready").exists, "the trap is set")
    bundle.ok("kill", "c", name)
    bundle.until("stopped")
    assert (bundle.rootfs / "caught").exists()


def test_a_created_container_is_killed(bundle):
    bundle.write("touch /ran")
    bundle.ok("create", "c")
    bundle.ok("kill", "c", "CHLD")
    assert bundle.state()["status"] == "created"
    bundle.ok("kill", "c")
    bundle.until("stopped")
    bundle.ok("delete", "c")
    assert not (bundle.rootfs / "ran").exists()


@pytest.mark.parametrize("started", [False, True])
def test_delete_by_force(bundle, started):
    bundle.write("exec sleep 60")
    bundle.ok("create", "c")
    pid = bundle.state()["pid"]
    if started:
        bundle.ok("start", "c")
    bundle.ok("delete", "--force", "c")
    assert not alive(pid) and not (bundle.root / "c").exists()
    until(lambda: not bundle.leftovers(), "its monitor, which has nothing to do any more, has ended")
    bundle.ok("delete", "--force", "c")


def monitor_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def in_background(bundle, script):
    """Container c: its process 1, and its monitor."""
    bundle.write(script)
    bundle.ok("run", "-d", "c")
    pid = bundle.state()["pid"]
    return pid, monitor_of(pid)


@pytest.mark.parametrize("words", [["kill", "c", "KILL"], ["delete", "--force", "c"]])
def test_a_monitor_that_is_killed_while_it_is_asked_to_kill(bundle, words):
    """It holds the request, and comes to nothing: its container ends all the same."""
    pid, monitor = in_background(bundle, "exec sleep 60")
    os.kill(monitor, signal.SIGSTOP)
    with subprocess.Popen(bundle.command(*words), cwd=bundle.path) as asked:
        until(lambda: not alive(pid), "the container has ended")
        os.kill(monitor, signal.SIGKILL)
        assert asked.wait(30) == 0
    if words[0] == "kill":
        bundle.until("stopped")


def test_a_monitor_that_stands_still_does_not_hold_up_who_asks(bundle):
    _, monitor = in_background(bundle, "trap 'touch /caught; exit 0' TERM; touch /ready; while :; do sleep 0.05; done")
    until((bundle.rootfs / "ready").exists, "the trap is set")
    os.kill(monitor, signal.SIGSTOP)
    assert f"process {monitor}, has not answered" in bundle.refused("kill", "c", "TERM")
    assert bundle.state()["status"] == "running"
    os.kill(monitor, signal.SIGCONT)
    bundle.until("stopped")
    assert (bundle.rootfs / "caught").exists()


def test_a_process_1_that_nobody_has_reaped_has_stopped(bundle):
    pid, monitor = in_background(bundle, "exec sleep 60")
    os.kill(monitor, signal.SIGSTOP)
    bundle.ok("kill", "c", "KILL")
    bundle.until("stopped")
    assert bundle.state()["pid"] == 0 and pathlib.Path(f"/proc/{pid}").exists()
    assert "is stopped, not running" in bundle.refused("kill", "c", "TERM")
    os.kill(monitor, signal.SIGCONT)
    until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "its monitor has reaped it")
    assert bundle.state()["status"] == "stopped"


def test_a_killed_monitor_leaves_a_container_that_can_be_deleted(bundle):
    pid, monitor = in_background(bundle, "exec sleep 60")
    os.kill(monitor, signal.SIGKILL)
    until(lambda: not alive(monitor), "its monitor is dead")
    assert bundle.state()["status"] == "running"
    bundle.ok("delete", "--force", "c")
    until(lambda: not alive(pid), "it is gone")


def test_two_containers_of_one_id(bundle):
    bundle.write("exec sleep 60")
    bundle.ok("create", "c")
    assert "exists already" in bundle.refused("create", "c")
    assert "exists already" in bundle.refused("run", "c")
    assert bundle.state()["status"] == "created"
    bundle.ok("create", "d")
    assert sorted(bundle.ok("list", "-q").split()) == ["c", "d"]


# ---- run -------------------------------------------------------------------------------------

@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_run_ends_like_the_program(bundle, script, code):
    done = bundle.write(script).oci("run", "c")
    assert done.returncode == code and not bundle.leftovers()


def test_run_passes_signals_on(bundle):
    bundle.write("trap 'exit 5' TERM; touch /ready; while :; do sleep 0.05; done")
    with subprocess.Popen(bundle.command("run", "c"), cwd=bundle.path, stdin=subprocess.DEVNULL) as run:
        until((bundle.rootfs / "ready").exists, "the trap is set")
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 5


def test_output_is_the_callers(bundle):
    done = bundle.write("echo out; echo err >&2").oci("run", "c")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_what_the_program_gets(bundle):
    bundle.write("id; env; hostname; umask; ulimit -n; cat /proc/self/oom_score_adj; pwd;"
                 "grep ^Cap /proc/self/status; cat /hidden; cat /proc/sys/net/ipv4/ip_default_ttl;"
                 "touch /ro/x 2>&1; ls /masked",
                 hostname="Some-Host",
                 process={"env": ["PATH=/bin", "A=b=c", "HOME=/h"], "cwd": "/bin", "oomScoreAdj": 123,
                          "user": {"uid": 12, "gid": 13, "umask": 0o27, "additionalGids": [5]},
                          "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}],
                          "capabilities": {k: CAPS for k in ("bounding", "permitted", "effective",
                                                             "inheritable", "ambient")}},
                 linux={"maskedPaths": ["/hidden", "/masked", "/absent"], "readonlyPaths": ["/ro"],
                        "sysctl": {"net.ipv4.ip_default_ttl": "77"}})
    (bundle.rootfs / "hidden").write_text("secret")
    for name in ("masked", "ro"):
        (bundle.rootfs / name).mkdir(mode=0o777)
        (bundle.rootfs / name).chmod(0o777)
    (bundle.rootfs / "masked/file").write_text("")
    lines = bundle.ok("run", "c").splitlines()
    assert lines[0] == "uid=12 gid=13 groups=5"
    env = [line for line in lines if "=" in line and not line.startswith("uid=")]
    assert sorted(e for e in env if not e.startswith(("SHLVL", "PWD"))) == ["A=b=c", "HOME=/h", "PATH=/bin"]
    rest = lines[lines.index("Some-Host"):]
    assert rest[1:5] == ["0027", "99", "123", "/bin"]
    assert {line.split()[1] for line in rest if line.startswith("Cap")} == {f"{1 << 0 | 1 << 5:016x}"}
    assert "secret" not in rest and "77" in rest and "Read-only file system" in rest[-1]


def test_capabilities_are_never_more_than_the_engines(bundle):
    done = bundle.write("grep ^CapBnd /proc/self/status",
                        process={"capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_KILL"]}}).oci("run", "c")
    assert done.stdout.split()[1] == f"{1 << 5:016x}"
    assert "CAP_SYS_ADMIN can not be granted" in (bundle.path / "log").read_text()


def test_a_readonly_root(bundle):
    done = bundle.write("touch /x", root={"path": "rootfs", "readonly": True}).oci("run", "c")
    assert done.returncode == 1 and "Read-only" in done.stderr
    assert sorted(p.name for p in bundle.rootfs.iterdir()) == ["bin"]


def test_mounts(bundle):
    (bundle.path / "data").mkdir()
    (bundle.path / "data/file").write_text("here\n")
    done = bundle.write("cat /a/b/file; touch /a/b/new; touch /t/new; touch /w/new",
                        mounts=[{"destination": "/a/b", "source": "data", "options": ["rbind", "ro"]},
                                {"destination": "/w", "source": "data", "options": ["bind"]},
                                {"destination": "/t", "type": "tmpfs", "options": ["size=1m"]}]).oci("run", "c")
    assert done.stdout == "here\n" and done.stderr.count("Read-only") == 1 and done.returncode == 0
    assert (bundle.path / "data/new").stat().st_uid == 0


# ---- hooks -----------------------------------------------------------------------------------

def hook(bundle, name, script="cat"):
    return [{"path": "/bin/sh", "args": ["sh", "-c", f"{script} > {bundle.path}/{name}"], "timeout": 20}]


def test_hooks_run_on_the_host_with_the_state(bundle):
    bundle.write("true", hooks={point: hook(bundle, point) for point in
                                ("prestart", "createRuntime", "poststart", "poststop")})
    bundle.ok("create", "c")
    pid = bundle.state()["pid"]
    assert not (bundle.path / "poststart").exists()
    bundle.ok("start", "c")
    bundle.until("stopped")
    assert not (bundle.path / "poststop").exists()
    bundle.ok("delete", "c")
    seen = {p: json.loads((bundle.path / p).read_text()) for p in
            ("prestart", "createRuntime", "poststart", "poststop")}
    assert {p: (s["status"], s["pid"]) for p, s in seen.items()} == {
        "prestart": ("created", pid), "createRuntime": ("creating", pid),
        "poststart": ("running", pid), "poststop": ("stopped", 0)}


def test_hooks_get_no_environment_of_anybody(bundle):
    bundle.write("true", hooks={"createRuntime": hook(bundle, "seen", "/usr/bin/env")})
    assert bundle.oci("run", "c", env={**os.environ, "SECRET": "1"}).returncode == 0
    assert "SECRET" not in (bundle.path / "seen").read_text()


def test_a_failed_hook_ends_the_creation(bundle):
    bundle.write("touch /ran", hooks={"createRuntime": [{"path": "/bin/false"}], "poststop": hook(bundle, "end")})
    assert "hook /bin/false: exit code 1" in bundle.refused("create", "c")
    assert json.loads((bundle.path / "end").read_text())["status"] == "stopped"
    assert not (bundle.root / "c").exists() and not (bundle.rootfs / "ran").exists()
    until(lambda: not bundle.leftovers(), "its monitor, which has told why, has ended")


def test_a_hook_that_hangs_is_ended(bundle):
    bundle.write("true", hooks={"prestart": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]})
    assert "no end within 1 s" in bundle.refused("create", "c")


# ---- refusals --------------------------------------------------------------------------------

@pytest.mark.parametrize("more, text", [
    ({"ociVersion": "0.9.0"}, "ociVersion"),
    ({"process": {"terminal": True}}, "process.terminal"),
    ({"process": {"args": ["/nothing"]}}, "does not exist"),
    ({"process": {"cwd": "/nothing"}}, "working directory"),
    ({"root": {"path": "nothing"}}, "root.path"),
    ({"root": None}, "root"),
    ({"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}, "linux.namespaces"),
    ({"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]}}, "linux.devices"),
    ({"hooks": {"startContainer": [{"path": "/bin/true"}]}}, "hooks.startContainer"),
    ({"mounts": [{"destination": "/m", "source": "nothing", "options": ["bind"]}]}, "nothing"),
])
def test_a_bad_bundle_leaves_nothing(bundle, more, text):
    assert text in bundle.write(**more).refused("run", "c")
    assert not bundle.leftovers()


def test_no_bundle_and_no_json(bundle):
    assert "config.json" in bundle.refused("create", "c")
    (bundle.path / "config.json").write_text("{")
    assert "line 1" in bundle.refused("create", "c")
    assert "bundle /nothing" in bundle.refused("create", "-b", "/nothing", "c")


def test_a_start_without_a_program(bundle):
    bundle.write(process={"args": []}).ok("create", "c")
    assert "process.args" in bundle.refused("start", "c")
    bundle.until("stopped")


@pytest.mark.parametrize("words, text", [
    ([], "a command is missing"), (["nothing"], "unknown command"), (["start"], "id is missing"),
    (["state", "a", "b"], "too many words"), (["create", "a/b"], "invalid container id"),
    (["create", ".."], "invalid container id"), (["kill", "c", "NOTHING"], "no signal"),
    (["create", "--console-socket", "/x", "c"], "no terminal"), (["run", "--preserve-fds", "1", "c"], "descriptors"),
    (["state", "c"], "does not exist"), (["kill", "c"], "does not exist"), (["delete", "c"], "does not exist"),
    (["start", "--nothing", "c"], "unknown flag"),
])
def test_command_lines(bundle, words, text):
    assert text in bundle.write().refused(*words)


def test_it_is_hidden(bundle):
    assert "oci" not in subprocess.run([BIN / "gantry", "help"], capture_output=True, text=True, check=True).stdout
    assert "spec: 1" in bundle.ok("--version")
