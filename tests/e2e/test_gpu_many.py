"""Machines with eight GPUs, and with parted ones (MIG): each container has its own, whole or an instance, and no other. The
driver is a test double, containers and their rules are real."""
import pytest

from device_nodes import CAPS, Nodes, opened_by
from fake_gpu import GIB
from harness import probe_spec, until
from test_gpu_fake import cli, driver_state, node, start

EIGHT = 8
MINE, OTHERS = "ENXIO", "EPERM"


@pytest.fixture
def eight(tmp_path):
    """Two groups of four, joined by NVLink."""
    def joined(driver):
        for n in range(EIGHT):
            driver.set(n, link=n // 4)

    daemon = start(tmp_path, EIGHT, joined)
    daemon.nodes = Nodes(tmp_path / "nodes").gpus(EIGHT)
    until(lambda: driver_state(daemon) == "ready", "the driver answers", 20)
    yield daemon
    daemon.stop()


@pytest.fixture
def parted(tmp_path):
    """A whole GPU, and one with two instances."""
    def part(driver):
        driver.part(1, [("1g.10gb", 7, 0, 10 * GIB), ("2g.20gb", 3, 0, 20 * GIB)])

    daemon = start(tmp_path, 2, part)
    until(lambda: driver_state(daemon) == "ready", "the driver answers", 20)
    yield daemon
    daemon.stop()


def deploy(gantry, name, gpu, replicas=1, **more):
    gantry.put(name, probe_spec(resources={"memory": "32MiB", "gpu": gpu}, scale={"min": replicas, "max": replicas}, **more))
    return gantry.wait_replicas(name, replicas, timeout=40)


def numbers(gantry, replica):
    """Which of the node's GPUs, by their minor numbers."""
    minor = {g["uuid"]: g["minor"] for g in node(gantry)["gpus"]}
    return sorted(minor[g["uuid"]] for g in replica["gpus"])


def rules(gantry, replica):
    return [n for n, error in enumerate(opened_by(replica["pid"], gantry.nodes)) if {MINE: True, OTHERS: False}[error]]


def test_each_of_eight_gpus_is_one_containers(eight):
    replicas = deploy(eight, "one", {"count": 1}, EIGHT)
    assert sorted(numbers(eight, r)[0] for r in replicas) == list(range(EIGHT))
    assert [rules(eight, r) for r in replicas] == [numbers(eight, r) for r in replicas]
    assert f"{EIGHT} x NVIDIA H100 80GB HBM3 80 GiB (fake)" in cli(eight, "nodes")


def test_those_with_several_have_joined_ones(eight):
    assert [g["link"] for g in node(eight)["gpus"]] == [0] * 4 + [1] * 4
    one = numbers(eight, deploy(eight, "one", {"count": 1})[0])[0]
    whole = [n for n in range(EIGHT) if n // 4 != one // 4]
    four = deploy(eight, "four", {"count": 4})[0]
    assert rules(eight, four) == numbers(eight, four) == whole
    three = deploy(eight, "three", {"count": 3})[0]
    assert rules(eight, three) == numbers(eight, three) == sorted({*range(EIGHT)} - {one, *whole})
    env = eight.ask("four", "/facts")["env"]
    assert env["CUDA_VISIBLE_DEVICES"].split(",") == env["GANTRY_GPU_UUIDS"].split(",") == [g["uuid"] for g in four["gpus"]]
    assert env["GANTRY_GPU_COUNT"] == "4"


def test_one_that_is_gone_leaves_the_others_alone(eight):
    four = deploy(eight, "four", {"count": 4})[0]
    other = deploy(eight, "other", {"count": 4})[0]
    eight.driver.xid(numbers(eight, four)[1], 79)
    until(lambda: not [r for r in eight.replicas("four", "ready") if r["id"] == four["id"]], "it lost one of its GPUs", 20)
    assert [r["id"] for r in eight.replicas("other", "ready")] == [other["id"]]
    assert [g["health"] for g in node(eight)["gpus"]].count("lost") == 1


def test_instances_are_gpus_of_their_own(parted):
    seen = node(parted)["gpus"]
    assert [(g["uuid"][:4], g["model"], g["memory_bytes"]) for g in seen] == [
        ("GPU-", "NVIDIA H100 80GB HBM3", 80 * GIB), ("MIG-", "1g.10gb", 10 * GIB), ("MIG-", "2g.20gb", 20 * GIB)]
    nodes = Nodes(parted.dir / "nodes")
    caps = {uuid: [nodes.add(CAPS, minor) for minor in parted.driver.caps[uuid]] for uuid in parted.driver.caps}
    cards, all_caps = nodes.gpus(2), [path for pair in caps.values() for path in pair]
    for model, want in (("1g.10gb", seen[1]), ("2g.20gb", seen[2])):
        name, minors = f"on-{model[:2]}", parted.driver.caps[want["uuid"]]
        replica = deploy(parted, name, {"count": 1, "models": [model]})[0]
        assert [g["uuid"] for g in replica["gpus"]] == [want["uuid"]]
        assert parted.ask(name, "/facts")["env"]["CUDA_VISIBLE_DEVICES"] == want["uuid"]
        assert sorted(parted.attempt(name, "list", "/dev/nvidia-caps")) == [f"nvidia-cap{m}" for m in minors]
        assert [d for d in parted.attempt(name, "list", "/dev") if d[:6] == "nvidia" and d[6:].isdigit()] == ["nvidia1"]
        told = parted.attempt(name, "cat", "/proc/driver/nvidia-caps/mig-minors").splitlines()
        assert [int(line.split()[1]) for line in told] == minors
        assert opened_by(replica["pid"], cards) == [OTHERS, MINE]
        assert opened_by(replica["pid"], all_caps) == [MINE if path in caps[want["uuid"]] else OTHERS for path in all_caps]


def test_an_instance_is_not_parked(parted):
    """The driver checkpoints none."""
    replica = deploy(parted, "rests", {"count": 1, "models": ["1g.10gb"]}, park={"method": "auto", "after": "60s"})[0]
    assert replica["park"]["method"] == "stop" and "MIG" in replica["park"]["why"], replica["park"]
