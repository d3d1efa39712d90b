"""Images on kernels that lack what the fast way needs, and on this one as it is. `make uml` runs the same under
Linux 6.1, which lacks both."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from harness import BIN, Daemon, until
from registry import ECHO_CONFIG, Registry, echo_layer
from test_images import check_layers, check_opaque_root, store

FILES, DESCRIPTORS = "mounts-from-files", "layers-by-descriptor"  # of old_kernel.py
NOTHING = ""


def this_kernel():
    return tuple(int(n) for n in os.uname().release.split(".")[:2])


def unpacks(lacks):
    return FILES in lacks or this_kernel() < (6, 12)


def command(lacks, *words):
    return [sys.executable, str(pathlib.Path(__file__).with_name("old_kernel.py")), lacks, *words] if lacks else [*words]


class OldDaemon(Daemon):
    def __init__(self, lacks, extract, state=None):
        super().__init__(state)
        self.lacks = lacks
        self.config = self.dir / "conf"
        self.config.write_text(f"[agent]\nimage_extract = {extract}\n")

    def command(self):
        return command(self.lacks, *super().command())

    def mounts(self):
        """Descriptors of the agent for mounts that have no place in a tree: their path is that of a root."""
        fds = pathlib.Path(f"/proc/{self.roles()['agent']}/fd")
        paths = []
        for fd in fds.iterdir():
            with contextlib.suppress(OSError):
                paths.append(os.readlink(fd))
        return paths.count("/")


@pytest.fixture(scope="module")
def registry():
    r = Registry()
    yield r
    r.close()


@pytest.mark.parametrize("lacks", [NOTHING, FILES, DESCRIPTORS, f"{FILES},{DESCRIPTORS}"])
def test_layers(registry, lacks):
    """With image_extract = yes layers are there in any case, and unpacked only where they must be."""
    daemon = OldDaemon(lacks, "yes")
    trees = store(daemon) / "trees"
    try:
        daemon.start()
        name, _ = check_layers(daemon, registry, "gzip")
        check_opaque_root(daemon, registry)
        layers = {p.stem for p in (store(daemon) / "layers").glob("*.tar")}
        assert {p.name for p in trees.iterdir()} == (layers if unpacks(lacks) else set())
        assert daemon.log().count("layers are unpacked into directories: ") == unpacks(lacks)
        daemon.signal(signal.SIGTERM)  # what was unpacked is found again
        made = {p.name: p.stat().st_ino for p in trees.iterdir()}
        daemon.start()
        assert daemon.call(name, "/app/new").text == "new"
        assert {p.name: p.stat().st_ino for p in trees.iterdir()} == made
    finally:
        daemon.stop()


def test_layers_of_a_container_end_with_it(registry):
    """Where each container has mounts of its own, its end gives them back."""
    registry.push("team/old", "1", [echo_layer()], ECHO_CONFIG)
    daemon = OldDaemon(DESCRIPTORS, "yes")
    spec = {"image": f"{registry.host}/team/old:1", "scale": {"min": 3, "max": 3}}
    try:
        daemon.start()
        before = daemon.mounts()
        daemon.put("old", spec)
        daemon.wait_replicas("old", 3)
        daemon.delete("old")
        until(lambda: daemon.client.get("/v1/nodes").json()["items"][0]["replicas"] == 0, "they are gone")
        until(lambda: daemon.mounts() == before, f"no more than {before} mounts")
    finally:
        daemon.stop()


def test_refusal(registry):
    """Nothing is unpacked that the operator did not allow; who asks is told what to change."""
    registry.push("team/refused", "1", [echo_layer()], ECHO_CONFIG)
    daemon = OldDaemon(FILES, "no")
    try:
        daemon.start()
        daemon.put("refused", {"image": f"{registry.host}/team/refused:1"})
        problem = daemon.call("refused").json()
        assert problem["cause"] == "sandbox_failed"
        assert "image_extract = yes in [agent]" in problem["detail"]
        assert not list((store(daemon) / "trees").iterdir())
    finally:
        daemon.stop()


def test_file_system_that_maps_no_ids(registry, tmp_path):
    registry.push("team/unmapped", "1", [echo_layer()], ECHO_CONFIG)
    subprocess.run(["mount", "-t", "ramfs", "-o", "mode=0755", "none", tmp_path], check=True)
    daemon = OldDaemon(NOTHING, "always", state=tmp_path / "state")
    try:
        daemon.start()
        daemon.put("unmapped", {"image": f"{registry.host}/team/unmapped:1"})
        problem = daemon.call("unmapped").json()
        assert problem["cause"] == "sandbox_failed"
        assert "the file system of the state directory can not map ids" in problem["detail"]
    finally:
        daemon.stop()
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_doctor():
    """What is missing has a name, and the fix is the key that the refusal names."""
    done = subprocess.run(command(FILES, str(BIN / "gantry"), "doctor", "--json"), stdout=subprocess.PIPE, check=False)
    line, = (i for i in json.loads(done.stdout)["items"] if i["check"] == "images")
    assert line["state"] == "warn" and "erofs" in line["detail"]
    assert "image_extract = yes in [agent]" in line["fix"]
    if this_kernel() >= (6, 12):
        assert "CONFIG_EROFS_FS_BACKED_BY_FILE" in line["detail"]
