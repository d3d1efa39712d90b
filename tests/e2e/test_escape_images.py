"""Root file systems that their maker meant badly: the start works or fails with a clear cause, and the
host's tree is byte for byte, inode for inode, what it was."""
import contextlib
import os
import shutil
import socket
import subprocess

import pytest

from escape_world import ESCAPE, bare_root, fingerprint, host, spec
from harness import until

ROUNDS = 40  # of each race


class Place:
    """A directory with an image in it, and beside it what no image may reach."""

    def __init__(self, tmp):
        os.chmod(tmp, 0o755)
        self.tmp = tmp
        self.root = bare_root(tmp / "root")
        self.outside = tmp / "outside"
        (self.outside / "deep").mkdir(parents=True)
        for name in ("canary", "deep/canary", "null", "shadow"):
            (self.outside / name).write_text(f"the host's {name}")
        self.volume = tmp / "volume"
        self.volume.mkdir()
        (self.volume / "given").write_text("meant for the function")
        self.before = host()
        self.prints = None

    def seal(self):
        """The image is complete: from here on nothing but the races may change anything."""
        self.prints = [fingerprint(d) for d in (self.outside, self.root, self.volume)]

    def unchanged(self):
        assert host() == self.before
        if self.prints:
            assert [fingerprint(d) for d in (self.outside, self.root, self.volume)] == self.prints


@pytest.fixture
def place(tmp_path, gantry):
    made = Place(tmp_path)
    yield made
    made.unchanged()
    assert gantry.client.get("/v1/functions").status == 200
    assert all(gantry.roles().get(role) for role in ("control", "gateway", "agent"))


def plant(path, kind, place):
    """Something else where a directory (or a device) is expected."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("not a directory")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            here = os.open(path.parent, os.O_PATH)
            s.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.symlink_to({"outside": place.outside, "upwards": "../../../../../../../.." + str(place.outside),
                         "root": "/", "above": "..", "dangling": "/nowhere/at/all",
                         "self": "/proc/self/root", "init": "/proc/1/root", "cwd": "/proc/self/cwd",
                         "fd": "/proc/self/fd/3", "proc": "/proc", "sys": "/sys", "dev": "/dev",
                         "knobs": "/proc/sys/kernel", "shm": "/dev/shm", "etc": "etc"}[kind])


@contextlib.contextmanager
def function(gantry, name, wanted):
    """One of its own: with a new revision of another, the old one's replica could answer."""
    gantry.put(name, wanted)
    yield name
    gantry.client.request("DELETE", f"/v1/functions/{name}?force=1")


def refused(reply, *words):
    assert reply.status == 503 and reply.slug == "start_failed", reply
    body = reply.json()
    assert body["cause"] != "exited_early", body
    for word in words:
        assert word in body["detail"], body
    return body


def works(gantry, name):
    """The program runs, below its own root, with nothing but its own rights."""
    for probe in ("fd_walk_up", "root_layers", "fd_leaked", "no_new_privs", "cap_raise", "call_mount", "call_setns"):
        got = gantry.ask(name, f"/probe/{probe}")
        assert got["result"] == "contained", got


def works_or_is_refused(gantry, name):
    reply = gantry.call(name)
    if reply.status == 200:
        works(gantry, name)
    else:
        refused(reply)
    return reply.status == 200


def ls(gantry, name, path):
    return sorted(n for n in gantry.call(name, f"/ls{path}").text.split() if n not in (".", ".."))


# ---- /proc, /sys, /dev, /etc -------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["outside", "upwards", "root", "above", "etc", "dangling", "loop", "fifo", "file",
                                  "socket"])
@pytest.mark.parametrize("where", ["proc", "sys", "dev"])
def test_kernel_directory_that_is_something_else(gantry, name, place, where, kind):
    plant(place.root / where, kind, place)
    place.seal()
    gantry.put(name, spec(place.root))
    refused(gantry.call(name), "/dev, /proc or /sys")


def test_kernel_directories_that_are_links_to_each_other(gantry, name, place):
    for where, to in (("proc", "sys"), ("sys", "dev"), ("dev", "proc")):
        (place.root / where).symlink_to(to)
    place.seal()
    gantry.put(name, spec(place.root))
    refused(gantry.call(name), "/dev, /proc or /sys")


@pytest.mark.parametrize("kind", ["outside", "upwards", "loop", "fifo", "file", "socket"])
def test_etc_that_is_something_else(gantry, name, place, kind):
    plant(place.root / "etc", kind, place)
    place.seal()
    gantry.put(name, spec(place.root))
    assert gantry.call(name).status == 200, "nothing of ours reads it"
    works(gantry, name)


@pytest.mark.parametrize("kind", ["outside", "upwards", "loop", "fifo", "file", "socket", "knobs"])
def test_device_names_that_are_something_else(gantry, name, place, kind):
    """What masks are made of comes from the host's side, whatever the image calls /dev/null."""
    (place.root / "dev").mkdir()
    for where in ("null", "zero", "pts", "ptmx", "shm", "mqueue", "tty", "fd", "console"):
        plant(place.root / "dev" / where, kind, place)
    place.seal()
    gantry.put(name, spec(place.root))
    assert gantry.call(name).status == 200
    works(gantry, name)
    for probe in ("dev_numbers", "dev_list", "mask_proc_keys", "mask_proc_interrupts", "mount_own", "ro_proc_irq"):
        assert gantry.ask(name, f"/probe/{probe}")["result"] != "ESCAPED", probe


def test_image_with_a_proc_tree_of_its_own(gantry, name, place):
    """A fake /proc/self would make a careless runtime write labels and limits into nothing."""
    for path in ("self/attr", "1/ns", "sys/kernel", "self/fd"):
        (place.root / "proc" / path).mkdir(parents=True)
    for path in ("self/attr/exec", "self/oom_score_adj", "sys/kernel/core_pattern", "keys", "kcore", "cmdline"):
        (place.root / "proc" / path).write_text("fake")
    (place.root / "sys").mkdir()
    (place.root / "sys/fs").symlink_to(place.outside)
    place.seal()
    gantry.put(name, spec(place.root))
    assert gantry.call(name).status == 200
    works(gantry, name)
    for probe in ("proc_is_procfs", "seccomp_mode", "cap_effective", "ro_core_pattern", "mount_own"):
        assert gantry.ask(name, f"/probe/{probe}")["result"] == "contained", probe


# ---- mount targets -----------------------------------------------------------------------------

TARGETS = ["outside", "upwards", "root", "above", "dangling", "loop", "fifo", "file", "socket", "self", "init", "cwd", "fd",
           "proc", "sys", "dev", "knobs", "shm"]


@pytest.mark.parametrize("mount", ["volume", "file", "tmpfs"])
@pytest.mark.parametrize("kind", TARGETS)
def test_mount_target_that_leads_elsewhere(gantry, name, place, kind, mount):
    (place.root / "etc").mkdir()
    plant(place.root / "data", kind, place)
    plant(place.root / "last", kind, place)
    place.seal()
    source = place.volume if mount == "volume" else place.volume / "given"
    # Each alone, as of two the first that fails would hide the other.
    for i, path in enumerate(["/data/in/it", "/last"]):
        more = ({"tmpfs": [{"path": path, "size": "1MiB"}]} if mount == "tmpfs" else
                {"volumes": [{"host": str(source), "path": path}]})
        with function(gantry, f"{name}-{i}", spec(place.root, **more)) as it:
            if works_or_is_refused(gantry, it) and mount == "volume":
                assert ls(gantry, it, path) == ["given"]


@pytest.mark.parametrize("to", ["/proc", "/dev", "/sys"])
def test_volume_over_a_kernel_directory_by_a_link(gantry, name, place, to):
    """The specification may not say /proc, so a link of the image may not either: a FIFO in the place of
    /dev/null would hold up the start, a fake /proc/self would be believed by the next one to write there."""
    (place.root / "data").symlink_to(to)
    for path in ("self/attr", "self/fd", "1"):
        (place.volume / path).mkdir(parents=True)
    os.mkfifo(place.volume / "null")
    (place.volume / "self/exe").symlink_to(place.outside / "canary")
    place.seal()
    gantry.put(name, spec(place.root, volumes=[{"host": str(place.volume), "path": "/data"}]))
    refused(gantry.call(name), "mount at /data in the container")


def test_volume_that_leads_out_through_another_volume(gantry, name, place):
    """The second is mounted inside the first, through a link that the first one's writer planted."""
    (place.volume / "door").symlink_to(place.outside)
    (place.volume / "up").symlink_to("../../../../..")
    place.seal()
    for i, path in enumerate(["/data/door", "/data/up", "/data/door/deep", "/data/up/in"]):
        wanted = spec(place.root, volumes=[{"host": str(place.volume), "path": "/data", "readonly": False}],
                      tmpfs=[{"path": path, "size": "1MiB"}])
        with function(gantry, f"{name}-{i}", wanted) as it:
            works_or_is_refused(gantry, it)
        place.unchanged()


# ---- the process -------------------------------------------------------------------------------

@pytest.mark.parametrize("workdir", [*(f"/proc/self/fd/{n}" for n in range(0, 12)), "/proc/1/root", "/proc/1/cwd",
                                     "/proc/self/cwd", "/proc/self/root", "/proc/self/exe", "/link", "/above"])
def test_working_directory_that_leads_out(gantry, name, place, workdir):
    (place.root / "link").symlink_to(place.outside)
    (place.root / "above").symlink_to("../../../../../..")
    place.seal()
    gantry.put(name, spec(place.root, workdir=workdir))
    if works_or_is_refused(gantry, name):
        # No dot entries left to compare: the root of the image is all there can be.
        assert "canary" not in ls(gantry, name, "/.") and "canary" not in ls(gantry, name, "/proc/self/cwd/.")


@pytest.mark.parametrize("command", ["/proc/self/exe", "/script", "/proc/1/exe", "/link", "/fifo"])
def test_command_that_is_not_a_program_of_the_image(gantry, name, place, command):
    """CVE-2019-5736 began by making the runtime execute itself inside."""
    script = place.root / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    (place.root / "link").symlink_to("/bin/sh")
    os.mkfifo(place.root / "fifo", 0o755)
    place.seal()
    gantry.put(name, spec(place.root, command=[command]))
    reply = gantry.call(name)
    assert reply.status == 503 and reply.slug == "start_failed", reply


def test_libraries_and_names_that_the_image_prepares(gantry, name, place):
    """What a helper with rights would load or look up: nothing with rights does."""
    source = place.tmp / "evil.c"
    source.write_text('#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void evil(void)\n'
                      '{ close(open("/loaded", O_CREAT | O_WRONLY, 0666)); _exit(66); }\n')
    etc, compat = place.root / "etc", place.root / "usr/local/cuda/compat"
    for d in (etc, compat, place.root / "lib64", etc / "ld.so.conf.d"):
        d.mkdir(parents=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", place.root / "evil.so", source], check=True)
    for lib in ("libnss_files.so.2", "libc.so.6", "libseccomp.so.2"):
        shutil.copy(place.root / "evil.so", place.root / "lib64" / lib)
    (etc / "ld.so.preload").write_text("/evil.so\n")
    (etc / "ld.so.conf.d/evil.conf").write_text("/lib64\n")
    (etc / "nsswitch.conf").write_text("passwd: evil files\n")
    for link in ("passwd", "group", "hosts", "resolv.conf", "hostname", "mtab"):
        (etc / link).symlink_to(place.outside / "shadow")
    (compat / "libcuda.so.1").symlink_to("../../../../../../../../../.." + str(place.outside))
    (compat / "libnvidia-ml.so").symlink_to(place.outside / "canary")
    place.seal()
    gantry.put(name, spec(place.root, env={"LD_PRELOAD": "/evil.so", "LD_LIBRARY_PATH": "/lib64", "LD_AUDIT": "/evil.so",
                                           "GCONV_PATH": "/lib64", "LOCPATH": "/lib64", "MALLOC_TRACE": "/trace"}))
    assert gantry.call(name).status == 200
    works(gantry, name)
    assert "loaded" not in ls(gantry, name, "/.")
    assert gantry.ask(name, "/probe/mount_own")["result"] == "contained"
    for pid in [gantry.proc.pid, *gantry.roles().values(), gantry.replicas(name, "ready")[0]["pid"]]:
        with open(f"/proc/{pid}/maps") as maps:
            assert "evil" not in maps.read()


def test_marks_of_the_overlay_in_the_image(gantry, name, place):
    """Extended attributes by which a lower layer could point elsewhere."""
    for d in ("moved", "opaque"):
        (place.root / d).mkdir()
        (place.root / d / "own").write_text("the image's")
    (place.root / "copied").write_text("the image's")
    os.setxattr(place.root / "moved", "trusted.overlay.redirect", str(place.outside).encode())
    os.setxattr(place.root / "opaque", "trusted.overlay.opaque", b"y")
    os.setxattr(place.root / "copied", "trusted.overlay.metacopy", b"")
    os.setxattr(place.root / "copied", "trusted.overlay.redirect", str(place.outside / "canary").encode())
    os.mknod(place.root / "whiteout", 0o20000, 0)
    place.seal()
    gantry.put(name, spec(place.root))
    assert gantry.call(name).status == 200
    works(gantry, name)
    assert "canary" not in ls(gantry, name, "/moved") and "canary" not in ls(gantry, name, "/opaque")


def test_directory_of_many_and_a_path_of_many(gantry, name, place):
    (place.root / "many").mkdir()
    for i in range(2000):
        os.close(os.open(place.root / "many" / f"{i}-{'x' * 200}", os.O_CREAT | os.O_WRONLY))
    deep = place.root / "/".join(["d" * 100] * 30)
    deep.mkdir(parents=True)
    place.seal()
    gantry.put(name, spec(place.root, tmpfs=[{"path": "/" + str(deep.relative_to(place.root)), "size": "1MiB"},
                                             {"path": "/many/new/one", "size": "1MiB"}]))
    assert gantry.call(name).status == 200
    works(gantry, name)


# ---- races -------------------------------------------------------------------------------------

@pytest.fixture
def swapping():
    """Exchanges two names as fast as the kernel can, beside the test."""
    running = []

    def begin(a, b):
        inode = os.lstat(a).st_ino
        swapper = subprocess.Popen([ESCAPE, "--swap", a, b])
        running.append(swapper)
        until(lambda: os.lstat(a).st_ino != inode, "the swapper swaps")

    yield begin
    for swapper in running:
        swapper.kill()
        swapper.wait()


def race(gantry, name, wanted, path, allowed):
    """Many starts while names move. Each sees what was meant, or is refused."""
    ran = []
    for i in range(ROUNDS):
        with function(gantry, f"{name}-{i}", wanted) as it:
            reply = gantry.call(it)
            ran.append(reply.status)
            if reply.status == 200:
                got = ls(gantry, it, path)
                assert got in allowed, got
                assert gantry.ask(it, "/probe/root_layers")["result"] == "contained"
            else:
                refused(reply)
    print(f"{ran.count(200)} of {len(ran)} starts ran")


@pytest.mark.parametrize("mount", ["volume", "tmpfs"])
@pytest.mark.parametrize("to", ["/", "../../../../../../../.."])
def test_mount_target_that_moves(gantry, name, place, swapping, mount, to):
    """CVE-2018-15664, CVE-2021-30465, CVE-2024-45310: a component becomes a link while it is walked."""
    (place.root / "data").mkdir()
    (place.root / "door").symlink_to(to)
    more = ({"volumes": [{"host": str(place.volume), "path": "/data/new/in"}]} if mount == "volume" else
            {"tmpfs": [{"path": "/data/new/in", "size": "1MiB"}]})
    swapping(place.root / "data", place.root / "door")
    # Where the link points at that moment it may be found elsewhere in the container, not outside.
    race(gantry, name, spec(place.root, **more), "/data/new/in", (["given"], [], ["ENOENT"], ["ELOOP"]))
    assert not os.path.lexists("/new") and host() == place.before


@pytest.mark.parametrize("what", ["last", "parent"])
@pytest.mark.parametrize("of", ["volume", "image"])
def test_host_path_that_moves(gantry, name, place, swapping, of, what):
    """A volume or image whose directory, or the one above, alternates with a link to another place."""
    base, decoy = place.tmp / "base", place.outside / "decoy"
    for d in (base / "dir", decoy):
        d.mkdir(parents=True)
        bare_root(d / "sub")
    (base / "dir/sub/given").write_text("meant")
    (decoy / "sub/secret").write_text("the host's")
    if what == "last":
        (base / "dir/other").symlink_to(decoy / "sub")
        pair = base / "dir/sub", base / "dir/other"
    else:
        (base / "other").symlink_to(decoy)
        pair = base / "dir", base / "other"
    place.seal()
    path = str(base / "dir/sub")
    if of == "volume":
        wanted, look = spec(place.root, volumes=[{"host": path, "path": "/data"}]), "/data"
        allowed = (["escape", "given"],)
    else:
        wanted, look = spec(path), "/."
        allowed = (["dev", "escape", "etc", "given", "proc", "sys"],)
    swapping(*pair)
    race(gantry, name, wanted, look, allowed)


def test_kernel_directory_that_moves(gantry, name, place, swapping):
    (place.root / "proc").mkdir()
    (place.root / "door").symlink_to("/etc")
    swapping(place.root / "proc", place.root / "door")
    allowed = (["dev", "door", "escape", "etc", "proc", "sys"],)
    race(gantry, name, spec(place.root), "/.", allowed)
