"""A container keeps its GPU when systemd writes the rules of its groups anew, and gets no other one. Runs in the guest
of systemd.sh: process 1 is systemd, gantryd is a service of it by the unit that is installed."""
import ctypes
import os
import pathlib
import struct
import subprocess

import pytest

from device_nodes import CGROUPS, Nodes, opened_by, opened_in
from fake_gpu import FakeDriver
from harness import Client, probe_spec, until

BPF_PROG_DETACH, BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY, CGROUP_DEVICE, SYS_BPF = 9, 13, 16, 6, 321
COUNT = 4


def systemctl(*words):
    subprocess.run(["systemctl", *words], check=True)


def bpf(command, fmt, *values):
    libc, attr = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(struct.pack(fmt, *values), 128)
    result = libc.syscall(SYS_BPF, command, attr, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf {command}")
    return result, attr


def take_rules_away(group):
    """As runtimes do that put rules of their own in the place of systemd's."""
    fd, ids = os.open(group, os.O_RDONLY), (ctypes.c_uint32 * 16)()
    _, attr = bpf(BPF_PROG_QUERY, "=IIIIQI", fd, CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), len(ids))
    count = struct.unpack_from("=I", attr, 24)[0]
    for i in range(count):
        program, _ = bpf(BPF_PROG_GET_FD_BY_ID, "=I", ids[i])
        bpf(BPF_PROG_DETACH, "=III", fd, program, CGROUP_DEVICE)
        os.close(program)
    os.close(fd)
    return count


class Service:
    """What tests ask of a daemon, of one that systemd started."""

    def __init__(self, driver):
        self.driver = driver
        pathlib.Path("/tmp/gantryd.conf").write_text("[agent]\nnode = n1\n" + driver.config())
        systemctl("start", "gantryd")
        self.client = Client(("127.0.0.1", 8080), pathlib.Path("/tmp/state/admin.token").read_text().strip())

    def replica(self, name):
        items = self.client.get(f"/v1/functions/{name}/replicas").json()["items"]
        return next((r for r in items if r["state"] == "ready"), None)


@pytest.fixture
def gantry(tmp_path):
    systemctl("start", "other")
    yield Service(FakeDriver(tmp_path, COUNT))
    systemctl("stop", "gantryd", "other")


def test_a_reload_of_systemd_changes_no_rule_of_a_container(gantry, tmp_path):
    client, nodes = gantry.client, Nodes(tmp_path / "nodes").gpus(COUNT)
    until(lambda: client.get("/v1/nodes/n1").json().get("gpu_driver", {}).get("state") == "ready", "the driver answers", 30)
    spec = probe_spec(resources={"memory": "64MiB", "gpu": {"count": 1}}, scale={"min": 1, "max": 1})
    assert client.request("PUT", "/v1/functions/web", spec).status == 201
    replica = until(lambda: gantry.replica("web"), "it runs", 60)
    gpus = [g["uuid"] for g in client.get("/v1/nodes/n1").json()["gpus"]]
    mine = ["ENXIO" if uuid == replica["gpus"][0]["uuid"] else "EPERM" for uuid in gpus]
    other = [CGROUPS / subprocess.check_output(["systemctl", "show", "-P", "ControlGroup", "other"], text=True).strip()[1:]]
    assert opened_by(replica["pid"], nodes) == mine and mine.count("ENXIO") == 1
    assert set(opened_in(other, nodes)) == {"EPERM"} and take_rules_away(other[0]) > 0
    assert set(opened_in(other, nodes)) == {"ENXIO"}  # it has what it was given by other means than systemd's ...
    systemctl("daemon-reload")
    assert set(opened_in(other, nodes)) == {"EPERM"}  # ... until the reload: so containers elsewhere lose their GPUs
    assert opened_by(replica["pid"], nodes) == mine
    for words in (["daemon-reload"], ["reload", "gantryd"], ["daemon-reexec"], ["restart", "gantryd"]):
        systemctl(*words)
        assert opened_by(replica["pid"], nodes) == mine, words
    after = until(lambda: gantry.replica("web"), "it still runs", 60)
    assert after["id"] == replica["id"] and opened_by(after["pid"], nodes) == mine
