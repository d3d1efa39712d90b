"""What a function can see and do, asked from inside."""
import grp
import os
import pathlib
import pwd
import re

import pytest

from harness import ECHO_ROOT, FUNCTIONS, alive, core_limit_can_be_one, host_root, processes, until

SEEN = "inside"


@pytest.fixture(scope="module")
def facts(gantry):
    gantry.probe(SEEN, env={"GREETING": "hello"}, workdir="/tmp", scale={"min": 1, "max": 1},  # one and the same for all
                 resources={"memory": "128MiB", "pids": 64, "disk": "16MiB"},
                 tmpfs=[{"path": "/scratch", "size": "4MiB"}])
    return gantry.ask(SEEN, "/facts")


@pytest.fixture
def attempt(gantry, facts):
    return lambda op, arg="": gantry.attempt(SEEN, op, arg)


def field(facts, name):
    return re.search(rf"^{name}:\s*(.*)$", facts["status"], re.M)[1].split()


def test_user_namespace_maps_root_to_nobody_special(facts):
    maps = [list(map(int, line.split())) for line in facts["uid_map"].splitlines()]
    assert maps and maps[0][0] == 0 and maps[0][1] >= 100000


def test_every_replica_has_ids_of_its_own(gantry, facts, name):
    """Two of one function, and one of another."""
    gantry.echo(name, scale={"min": 2, "max": 2})
    pids = [r["pid"] for r in gantry.wait_replicas(name, 2) + gantry.replicas(SEEN, "ready")]
    roots = {host_root(pid) for pid in pids}
    assert len(roots) == len(pids) == 3
    assert all(root % 65536 == 0 and root > 0x70000000 for root in roots)


def test_process_is_not_root_on_the_host(gantry, facts):
    pid = gantry.replicas(SEEN, "ready")[0]["pid"]
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("Uid:", "Gid:")):
            assert all(int(i) >= 100000 for i in line.split()[1:]), line


def test_no_new_privileges_and_seccomp(facts):
    assert field(facts, "NoNewPrivs") == ["1"]
    assert field(facts, "Seccomp") == ["2"]


def test_dangerous_capabilities_are_gone_for_good(facts):
    bounding = int(field(facts, "CapBnd")[0], 16)
    for number, what in ((21, "SYS_ADMIN"), (12, "NET_ADMIN"), (13, "NET_RAW"), (16, "SYS_MODULE"),
                         (17, "SYS_RAWIO"), (19, "SYS_PTRACE"), (22, "SYS_BOOT"), (27, "MKNOD"),
                         (18, "SYS_CHROOT"), (39, "BPF"), (25, "SYS_TIME")):
        assert not bounding >> number & 1, what
    assert int(field(facts, "CapInh")[0], 16) == 0 and int(field(facts, "CapAmb")[0], 16) == 0


def test_every_namespace_is_its_own(facts):
    for kind in ("user", "pid", "mnt", "net", "uts", "ipc", "cgroup"):
        assert facts["namespaces"][kind] != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_process_tree_is_its_own(facts):
    assert 1 in facts["pids"] and len(facts["pids"]) <= 3


def test_init_cannot_be_killed_or_traced(attempt, gantry):
    attempt("kill", "1")
    assert attempt("ptrace", "1") != "ok"
    assert attempt("read", "/proc/1/mem") != "ok"
    assert attempt("list", "/proc/1/fd") in ("EACCES", "EPERM", [])
    assert attempt("read", "/proc/1/environ") != "ok"
    assert gantry.call(SEEN).status == 200


def test_only_its_own_descriptors(facts):
    for fd, target in facts["fds"].items():
        assert int(fd) <= 2 or target.startswith(("socket:", "/proc/", "")) and "gantry" not in target, (fd, target)
        assert "cgroup" not in target and "memfd" not in target, (fd, target)


def test_mount_table_holds_nothing_of_the_host(gantry, facts):
    mounts = facts["mountinfo"]
    assert str(gantry.state) not in mounts
    points = {line.split()[4] for line in mounts.splitlines()}
    assert {"/", "/proc", "/sys", "/dev", "/app", "/scratch"} <= points
    # Not one mount point that exists on the host only (its disks, its cgroup file systems):
    for point in points:
        assert not point.startswith("/sys/fs/cgroup/") or "ro" in mounts


@pytest.mark.parametrize("op, arg", [
    ("mount", ""), ("umount", "/proc"), ("umount", "/app"), ("unshare", "268435456"), ("unshare", "131072"),
    ("chroot", ""), ("mknod", ""), ("keyctl", ""), ("bpf", ""), ("io_uring", ""), ("userfaultfd", ""),
    ("sethostname", ""), ("vsock", ""), ("raw", ""), ("setns", ""),
])
def test_refused(attempt, op, arg):
    assert attempt(op, arg) in ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT"), op


@pytest.mark.parametrize("path", ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/ksm/run",
                                  "/sys/fs/cgroup/cgroup.procs", "/proc/sys/vm/drop_caches", "/proc/1/oom_score_adj",
                                  "/proc/acpi/x", "/proc/irq/default_smp_affinity"])
def test_kernel_knobs_cannot_be_written(attempt, path):
    assert attempt("write", path) != "ok"


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug",
                                  "/proc/latency_stats", "/sys/firmware/memmap/0/start"])
def test_masked_files_hold_nothing(gantry, facts, attempt, path):
    got = attempt("read", path)
    if got == "ok":  # masked by an empty file
        assert path in facts["mountinfo"] or path.startswith("/sys/firmware")


def test_host_files_cannot_be_changed(attempt, tmp_path):
    """Writes land in the replica's own layer, or nowhere."""
    target = pathlib.Path("/etc/hostname")
    before = target.read_bytes() if target.exists() else None
    attempt("append", str(target))
    assert (target.read_bytes() if target.exists() else None) == before
    marker = "/var/tmp/gantry-e2e-marker"
    attempt("write", marker)
    assert not os.path.exists(marker)


def test_secrets_of_the_host_cannot_be_read(gantry, attempt):
    for path in ("/etc/shadow", str(gantry.state / "admin.token"), "/proc/1/root/etc/shadow"):
        if os.path.exists(path):
            assert attempt("read", path) != "ok", path


def test_devices_are_few_and_harmless(facts, attempt):
    assert {"null", "zero", "full", "random", "urandom", "tty"} <= set(facts["dev"])
    assert not [d for d in facts["dev"] if re.match(r"(sd|vd|nvme|loop|kvm|mem|kmsg|fuse)", d)]
    assert attempt("write", "/dev/null") == "ok"


def test_network_is_loopback_only(gantry, facts, attempt):
    assert facts["interfaces"] == ["lo"]
    assert attempt("connect", f"127.0.0.1:{gantry.address[1]}") == "ECONNREFUSED", "the host's ports are elsewhere"
    assert attempt("connect", "192.0.2.1:80") in ("ENETUNREACH", "EHOSTUNREACH")


def test_environment_is_what_was_declared(facts):
    env = facts["env"]
    assert env["GREETING"] == "hello" and env["PORT"] == "8000" and env["GANTRY_FUNCTION"] == SEEN
    assert env["GANTRY_REPLICA"] and env["GANTRY_REVISION"] == "1"
    allowed = {"GREETING", "PORT", "PATH", "HOME", "HOSTNAME", "LC_CTYPE", "LANG"}
    assert {k for k in env if not k.startswith("GANTRY_")} <= allowed, env


def test_workdir_and_hostname(facts):
    assert facts["cwd"] == "/tmp"
    assert facts["hostname"] != os.uname().nodename
    assert facts["env"]["HOSTNAME"] == facts["hostname"]


def test_no_core_dumps(attempt):
    """1: with 0, a core_pattern that pipes into a program of the host's would still start that."""
    if not core_limit_can_be_one():
        pytest.skip("RLIMIT_CORE is 0 and may not be raised here")
    assert attempt("core") == 1


def test_fork_bomb_is_stopped_and_harms_nobody(gantry, facts):
    got = gantry.ask(SEEN, "/forks")
    assert got["stopped"] == "EAGAIN" and got["forks"] < 64
    assert gantry.call(SEEN).status == 200


def test_writable_layer_has_a_size(gantry, facts):
    got = gantry.ask(SEEN, "/fill?path=/var/tmp/big&mib=64")
    assert got["stopped"] == "ENOSPC" and got["mib"] <= 16


def test_tmpfs_has_its_size(gantry, facts):
    got = gantry.ask(SEEN, "/fill?path=/scratch/big&mib=64")
    assert got["stopped"] == "ENOSPC" and 2 <= got["mib"] <= 4


def test_user_is_used(gantry, name):
    gantry.probe(name, user="1000:1001")
    facts = gantry.ask(name, "/facts")
    assert (facts["uid"], facts["gid"], facts["groups"]) == (1000, 1001, [])
    assert int(field(facts, "CapEff")[0], 16) == 0 and int(field(facts, "CapPrm")[0], 16) == 0
    assert gantry.attempt(name, "setuid0") == "EPERM"


@pytest.mark.parametrize("group", [None, "daemon"])
def test_user_by_name_is_the_images(gantry, name, group):
    entry = pwd.getpwnam("nobody")
    gantry.probe(name, user="nobody:" + group if group else "nobody")
    facts = gantry.ask(name, "/facts")
    gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    listed = [] if group else [g.gr_gid for g in grp.getgrall() if "nobody" in g.gr_mem]
    assert (facts["uid"], facts["gid"], sorted(facts["groups"])) == (entry.pw_uid, gid, sorted(listed))
    assert gantry.attempt(name, "setuid0") == "EPERM"


def test_volumes(gantry, name, tmp_path):
    for d in (tmp_path, tmp_path.parent):
        os.chmod(d, 0o755)
    for which in ("ro", "rw"):
        (tmp_path / which).mkdir()
        (tmp_path / which).chmod(0o777)
        (tmp_path / which / "given").write_text("from the host")
    gantry.probe(name, volumes=[{"host": str(tmp_path / "ro"), "path": "/data/ro"},
                                {"host": str(tmp_path / "rw"), "path": "/data/rw", "readonly": False}])
    assert gantry.attempt(name, "read", "/data/ro/given") == "ok"
    assert gantry.attempt(name, "write", "/data/ro/new") == "EROFS"
    assert gantry.attempt(name, "write", "/data/rw/new") == "ok"
    assert (tmp_path / "rw/new").read_text() == "x"
    facts = gantry.ask(name, "/facts")
    for line in facts["mountinfo"].splitlines():
        if " /data/rw " in line:
            assert "nosuid" in line and "nodev" in line


def test_file_volume(gantry, name):
    gantry.put(name, {"image": "host:", "command": ["/usr/bin/python3", "/one.py"], "port": 8000,
                      "volumes": [{"host": str(FUNCTIONS / "probe.py"), "path": "/one.py"}]})
    assert gantry.call(name).status == 200


def test_volume_that_links_out_of_its_place(gantry, name, tmp_path):
    """A link in a volume leads within the container, not to the host's file."""
    os.chmod(tmp_path, 0o755)
    secret = tmp_path.parent / "secret"
    secret.write_text("host only")
    (tmp_path / "link").symlink_to(secret)
    gantry.probe(name, volumes=[{"host": str(tmp_path), "path": "/data"}])
    gantry.call(name)


@pytest.mark.parametrize("where", ["volumes", "image"])
def test_link_that_a_program_put_into_its_volume_mounts_nothing(gantry, name, tmp_path, where):
    """What a program may write must not decide what of the host the next replica gets to see."""
    os.chmod(tmp_path, 0o755)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/models").mkdir()
    (tmp_path / "secret").mkdir()
    gantry.shell(name, f"mv /shared/models /shared/old; ln -s {tmp_path}/secret /shared/models; "
                 "exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT",
                 volumes=[{"host": str(tmp_path / "shared"), "path": "/shared", "readonly": False}])
    assert gantry.call(name).status == 200
    assert (tmp_path / "shared/models").is_symlink(), "the program had its chance"
    gantry.delete(name)
    models = str(tmp_path / "shared/models")
    if where == "image":
        gantry.put(name, {"image": f"dir:{models}", "command": ["/x"], "port": 8000})
    else:
        gantry.probe(name, volumes=[{"host": models, "path": "/models"}])
    reply = gantry.call(name)
    assert reply.status == 503 and "symbolic link" in reply.json()["detail"], reply
    assert str(tmp_path / "secret") in reply.json()["detail"]


def test_two_functions_do_not_see_each_other(gantry, facts, name):
    gantry.probe(name)
    other = gantry.ask(name, "/facts")
    for kind in ("pid", "net", "ipc", "mnt", "uts", "cgroup"):
        assert other["namespaces"][kind] != facts["namespaces"][kind]
    mine = f"/tmp/{name}-mine"  # not a file that the host has
    gantry.attempt(name, "write", mine)
    assert gantry.attempt(SEEN, "read", mine) == "ENOENT"


def test_replicas_of_one_function_share_nothing_writable(gantry, name):
    gantry.probe(name, scale={"min": 2, "max": 2, "concurrency": 1})
    gantry.wait_replicas(name, 2)
    calls = [gantry.client.background("GET", f"/f/{name}/hang?s=1") for _ in range(2)]
    assert len({c.result().headers["Gantry-Replica"] for c in calls}) == 2


def test_children_die_with_the_replica(gantry, name):
    gantry.put(name, {"image": "host:", "port": 8000, "command": ["/bin/sh", "-c",
               "setsid sleep 4242 & exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT"]})
    gantry.call(name)
    init = gantry.replicas(name, "ready")[0]["pid"]

    def asleep():
        table = processes()
        return [pid for pid, (parent, _, argv) in table.items()
                if argv == ["sleep", "4242"] and init in (parent, table.get(parent, (0,))[0])]

    sleepers = until(asleep, "the child sleeps")
    gantry.delete(name)
    until(lambda: not any(alive(p) for p in sleepers), "the stray child is gone")


def test_memory_limit_counts_the_disk_layer_too(gantry, name):
    """Files in the replica's layer live in memory: they cannot exceed its memory limit unseen."""
    gantry.probe(name, resources={"memory": "64MiB", "disk": "32MiB"})
    got = gantry.ask(name, "/fill?path=/var/tmp/big&mib=64")
    assert got["stopped"] == "ENOSPC" and got["mib"] <= 32


def own_group_file(pid, controller, v1, v2):
    """The control file of the replica's group, in the hierarchy that has the controller."""
    groups = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        if controller in controllers.split(","):
            return pathlib.Path(f"/sys/fs/cgroup/{controllers}{path}") / v1
    path = next(path for _, controllers, path in groups if not controllers)
    return pathlib.Path(f"/sys/fs/cgroup{path}") / v2


def test_io_limits_are_on_the_disk_or_refused(gantry, name):
    gantry.echo(name, resources={"io": {"read_bps": "50MiB", "write_iops": 500}})
    reply = gantry.call(name)
    if all(os.major(os.stat(path).st_dev) == 0 for path in (gantry.state, ECHO_ROOT)):
        assert reply.status == 503 and reply.json()["cause"] == "limit_unsupported", reply
        return
    assert reply.status == 200, reply
    pid = gantry.replicas(name, "ready")[0]["pid"]
    text = own_group_file(pid, "blkio", "blkio.throttle.read_bps_device", "io.max").read_text()
    assert re.search(rf"^\d+:\d+ (rbps=)?{50 << 20}\b", text, re.M), text


def test_soft_memory_limit_is_kept_or_refused(gantry, name):
    gantry.echo(name, resources={"memory": "32MiB", "memory_high": "16MiB"})
    reply = gantry.call(name)
    if "memory" in pathlib.Path("/proc/self/cgroup").read_text():  # version 1
        assert reply.status == 503 and reply.json()["cause"] == "limit_unsupported", reply
        assert "resources.memory_high" in reply.json()["detail"]
        return
    assert reply.status == 200, reply
    pid = gantry.replicas(name, "ready")[0]["pid"]
    assert int(own_group_file(pid, "memory", "", "memory.high").read_text()) == 16 << 20
