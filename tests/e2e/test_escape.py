"""The escape suite, run as a function: no probe gets out, and each would notice if it did.

tests/e2e/escape holds the probes; docs/security.md says what each is for.
"""
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

import pytest

from escape_world import ESCAPE, Ipc, full_root, gifted_programs, host, spec
from harness import ROOT, alive, core_limit_can_be_one, host_root, processes, until

NAME = "escape"
TABLE = re.compile(r'^\t(?:\{ "(\w+)", \w+,|CALL(?:_MAYBE)?\((\w+))', re.M)


def in_sources():
    found = [a or f"call_{b}" for f in sorted((ROOT / "tests/e2e/escape").glob("*.c"))
             for a, b in TABLE.findall(f.read_text())]
    assert len(found) > 150
    return found


PROBES = in_sources()
ALONE = ["bomb_memory"]
# What this or that kernel does not have; a probe of anything else must find something to try.
MAY_BE_ABSENT = re.compile(r"mask_|leak_|ro_|dev_mknod_|cgroup_|init_stack|init_map_files|fd_terminal|"
                           r"call_int80|call_x32")


class Witness:
    """The strongest one: on the host it becomes the very user that the program runs as."""
    PROGRAM = ("import os, sys; i = int(sys.stdin.readline()); os.setgroups([]); os.setresgid(i, i, i); "
               "os.setresuid(i, i, i); os.execv('/bin/sleep', ['sleep', '1000'])")

    def __init__(self):
        self.proc = subprocess.Popen([sys.executable, "-c", self.PROGRAM], stdin=subprocess.PIPE, text=True, cwd="/")
        self.pid = self.proc.pid

    def become(self, user):
        self.proc.stdin.write(f"{user}\n")
        self.proc.stdin.close()
        until(lambda: os.readlink(f"/proc/{self.pid}/exe").endswith("/sleep"), "it sleeps")
        assert os.stat(f"/proc/{self.pid}").st_uid == user

    def close(self):
        self.proc.kill()
        self.proc.wait()


@pytest.fixture(scope="module")
def witness():
    w = Witness()
    yield w
    w.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, witness):
    """Things of the host for the probes to look for: name -> value for their environment."""
    tmp = tmp_path_factory.mktemp("world")
    canary = tmp / "canary"
    canary.write_text("the host's")
    abstract = f"gantry-escape-{os.getpid()}"
    ipc = Ipc()
    with contextlib.ExitStack() as stack:
        stack.callback(ipc.close)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"\0{abstract}")
        unix.listen(64)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        facts = {f"HOST_NS_{kind}": os.readlink(f"/proc/self/ns/{kind}")
                 for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")}
        facts |= {"HOST_PID": str(witness.pid), "HOST_PORT": str(tcp.getsockname()[1]),
                  "HOST_ABSTRACT": abstract, "HOST_KEY": str(ipc.key), "HOST_MQ": ipc.mq,
                  "HOST_SHM": str(ipc.file), "HOST_CANARY": str(canary)}
        yield facts


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("image")
    os.chmod(tmp, 0o755)
    return full_root(tmp / "root")


@pytest.fixture(scope="module")
def suite(gantry, world, witness, root):
    """Answers of probes. The machine is as before when all of them are through."""
    before = host()
    gantry.put(NAME, spec(root, env=world, tmpfs=[{"path": "/scratch", "size": "4MiB"}]))
    gantry.ask(NAME, "/probe/fd_leaked")
    witness.become(host_root(gantry.replicas(NAME, "ready")[0]["pid"]))
    yield lambda probe: gantry.ask(NAME, f"/probe/{probe}")
    assert alive(int(world["HOST_PID"])), "the witness outside lives"
    assert host() == before


@pytest.mark.parametrize("probe", [p for p in PROBES if p not in ALONE])
def test_probe(suite, probe):
    if probe == "core_limit" and not core_limit_can_be_one():
        pytest.skip("RLIMIT_CORE is 0 and may not be raised here")
    got = suite(probe)
    if got["result"] == "absent" and MAY_BE_ABSENT.match(probe):
        return
    assert got["result"] == "contained", got


def test_one_replica_served_all_probes(gantry, suite):
    """None of them killed process 1, the program, or what starts them."""
    suite("init_kill")
    assert len(gantry.replicas(NAME)) == 1, gantry.replicas(NAME)
    suite("proc_signal_all")
    assert gantry.replicas(NAME, "ready")


# ---- the probes themselves ---------------------------------------------------------------------

def listed():
    lines = subprocess.run([ESCAPE, "--list"], capture_output=True, text=True, check=True).stdout.split("\n")
    return {line.split()[0]: line.split()[1:] for line in lines if line}


def test_list_of_probes_is_complete():
    found = listed()
    assert sorted(found) == sorted(PROBES)
    assert sorted(ALONE) == sorted(name for name, (_, kind) in found.items() if kind == "ALONE")


@pytest.mark.parametrize("where", ["BARE", "UNSHARED"])
def test_probe_without_a_boundary_says_so(world, where):
    """The same program on the host, and in namespaces alone: it must report that it got out."""
    with tempfile.TemporaryDirectory(dir=ESCAPE.parent) as tmp:  # /tmp may be mounted nosuid
        got = without_boundary(world, pathlib.Path(tmp), where)
    assert sorted(g["name"] for g in got) == sorted(n for n, (w, _) in listed().items() if w == where)
    # What this kernel lacks is refused to everybody.
    missed = [g for g in got if g["result"] != "ESCAPED" and not g["detail"].endswith("ENOSYS")
              and not (g["result"] == "absent" and MAY_BE_ABSENT.match(g["name"]))]
    assert not missed, missed


def without_boundary(world, tmp, where):
    gifted_programs(tmp)
    words = [str(ESCAPE), "--control", where]
    if where == "UNSHARED":
        words = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child",
                 "--mount-proc", *words]
    run = subprocess.run(words, capture_output=True, text=True, cwd=tmp, check=True, timeout=60,
                         stdin=subprocess.DEVNULL, env={**os.environ, **world})
    return [json.loads(line) for line in run.stdout.splitlines()]


# ---- what only the outside can see -------------------------------------------------------------

def test_memory_hog_dies_alone(gantry, suite, root, name):
    gantry.put(name, spec(root, resources={"memory": "64MiB", "pids": 64, "disk": "16MiB"}))
    assert gantry.call(name).status == 200
    reply = gantry.call(name, "/probe/bomb_memory")
    # The kernel kills the hog, or the whole group at once.
    if reply.status == 200:
        assert "died of signal 9" in reply.json()["detail"], reply
    else:
        assert reply.status == 502 and reply.slug == "replica_lost", reply
    assert suite("fd_leaked")["result"] == "contained", "the neighbour serves"
    assert gantry.call(name).status == 200, "so does a new replica"


def test_descriptors_are_not_taken_from_a_replica(gantry, suite):
    """An answer with SCM_RIGHTS brings its bytes and nothing else to the gateway and the agent."""
    pids = [gantry.roles()[role] for role in ("gateway", "agent")]

    def open_files():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    gantry.call(NAME, "/scm")
    before = open_files()
    for _ in range(20):
        reply = gantry.call(NAME, "/scm")
        assert reply.status == 200 and reply.text == "/scm\n"
    # Four were sent with each. The two have a few more or less by themselves: the agent makes the next sandbox ready.
    until(lambda: all(now < then + 20 for now, then in zip(open_files(), before, strict=True)),
          f"no descriptors came along: {before}, {open_files()}")


def test_log_pipe_belongs_to_one_replica(gantry, suite, root, name):
    gantry.put(name, spec(root))
    gantry.call(name)
    pipes = []
    for function in (NAME, name):
        suite("fd_leaked")
        init = gantry.replicas(function, "ready")[0]["pid"]
        program = next(pid for pid, (parent, _, _) in processes().items() if parent == init)
        pipes.append({os.stat(f"/proc/{program}/fd/{fd}").st_ino for fd in (1, 2)})
    assert not pipes[0] & pipes[1], pipes


def test_process_one_holds_no_right(gantry, suite):
    """Seen from the host: its user is nobody, it has few capabilities, a filter, and no way up."""
    suite("fd_leaked")
    pid = gantry.replicas(NAME, "ready")[0]["pid"]
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    nobody = host_root(pid)
    assert nobody >= 0x70010000  # not the first range either, which is shared
    assert {int(i) for i in status["Uid"].split()} == {nobody} == {int(i) for i in status["Gid"].split()}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and not status["Groups"].split()
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) and not int(status["CapEff"], 16) >> 21 & 1
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [link for link in links if "cgroup" in link or "socket" in link or "ns:" in link], links


# ---- the page ----------------------------------------------------------------------------------

def test_page_names_every_probe_and_no_other():
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`probe:(\w+)`", page)
    assert sorted(set(named)) == sorted(PROBES)


def test_page_names_tests_that_exist():
    page = (ROOT / "docs/security.md").read_text()
    named = set(re.findall(r"`(test_\w+\.py|test_\w+\.c)::(\w+)`", page))
    assert len(named) >= 20
    for file, test in named:
        places = [*ROOT.glob(f"tests/e2e/{file}"), *ROOT.glob(f"tests/unit/*/{file}")]
        assert places and re.search(rf"\b{test}\(", places[0].read_text()), (file, test)
    for file in ("test_escape.py", "test_escape_images.py"):
        for test in re.findall(r"^def (test_\w+)\(", (ROOT / "tests/e2e" / file).read_text(), re.M):
            if test != "test_probe" and not test.startswith("test_page_"):
                assert (file, test) in named, f"docs/security.md does not say what {test} is for"
