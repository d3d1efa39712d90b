"""Gangs over several hosts, with simulated GPUs: all or nothing, members that meet over the network, an epoch that ends
and starts as a whole when a member dies or its host can not be reached."""
import os
import signal

import pytest

from harness import FUNCTIONS, alive, until
from hosts import Hosts
from lent import started
from test_gangs import members
from test_hosts import node

HOSTS = "bcd"  # a has control and no GPU


@pytest.fixture(scope="module")
def cluster():
    names = "a" + HOSTS
    with started(Hosts(names, config=dict.fromkeys(names, "allow_host_network = yes\n"),
                       gpus=dict.fromkeys(HOSTS, "sim:2x80GiB:H100"))) as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def empty(cluster):
    yield
    cluster.net.heal()
    cluster.wait_nodes("ready", timeout=30)
    first = cluster.first
    for f in first.client.get("/v1/functions").json()["items"]:
        first.client.request("DELETE", f"/v1/functions/{f['name']}?force=1")
    until(lambda: not any(taken(cluster).values()), "all GPUs are free", 30)


def gang(size, gpus=1, **more):
    return {"image": "host:", "command": ["/usr/bin/python3", str(FUNCTIONS / "gang.py")], "port": 8000, "network": "host",
            "scale": {"min": 1, "max": 1}, "resources": {"memory": "64MiB", "gpu": {"count": gpus}},
            "gang": {"size": size, **more}}


def taken(cluster):
    """host -> what replicas have of its GPUs."""
    nodes = cluster.first.client.get("/v1/nodes").json()["items"]
    return {n["name"]: sum(g["taken"] for g in n["gpus"]) for n in nodes if n.get("gpus")}


def admitted(cluster, name, size, epoch=1, timeout=30):
    def ready():
        found = members(cluster.first, name, epoch, "ready")
        return found if len(found) == size else None

    return until(ready, f"epoch {epoch} of {name} is ready", timeout)


def test_members_on_several_hosts_meet(cluster):
    cluster.first.put("meet", gang(3, gpus=2))
    replicas = admitted(cluster, "meet", 3)
    assert sorted(r["node"] for r in replicas) == list(HOSTS) and [r["gang"]["rank"] for r in replicas] == [0, 1, 2]
    facts = cluster.first.ask("meet")
    envs = [facts["env"], *(facts["met"][str(r)]["env"] for r in (1, 2))]
    ips = [cluster[r["node"]].ip for r in replicas]
    for rank, env in enumerate(envs):
        assert env["MASTER_ADDR"] == ips[0] and env["GANTRY_RANK_IPS"].split(",") == ips, env
        assert (env["RANK"], env["GROUP_RANK"], env["NODE_RANK"], env["LOCAL_RANK"]) == (str(rank),) * 3 + ("0",)
        assert (env["WORLD_SIZE"], env["GROUP_WORLD_SIZE"], env["LOCAL_WORLD_SIZE"]) == ("3", "3", "1")
        assert env["NCCL_SOCKET_IFNAME"] == "eth0" and env["NCCL_HOSTID"].startswith(replicas[rank]["node"])
        assert env["GANTRY_GPU_COUNT"] == "2"
    assert len({env["MASTER_PORT"] for env in envs}) == 1
    assert {r: m["address"] for r, m in facts["met"].items()} == {"1": ips[1], "2": ips[2]}


def test_all_or_nothing(cluster):
    """One host lacks what its member needs: the others give nothing away for it, and all start when it has it."""
    cluster.first.echo("blocks", resources={"gpu": {"count": 2}}, scale={"min": 1, "max": 1}, placement={"labels": {"host": "d"}})
    cluster.first.wait_replicas("blocks", 1)
    cluster.first.put("three", gang(3))
    until(lambda: [e for e in cluster.first.events() if e["type"] == "scale.blocked" and e["function"] == "three"], "it is told")
    assert not cluster.first.running("three")
    assert {host: t > 0 for host, t in taken(cluster).items()} == {"b": False, "c": False, "d": True}
    cluster.first.delete("blocks")
    assert sorted(r["node"] for r in admitted(cluster, "three", 3)) == list(HOSTS)
    starts = [e for e in cluster.first.events() if e["type"] == "replica.pending" and e["function"] == "three"]
    assert len(starts) == 3, starts  # none was tried before


def test_a_member_that_dies_takes_those_on_other_hosts_along(cluster):
    cluster.first.put("die", gang(3))
    first = admitted(cluster, "die", 3)
    os.kill(first[1]["pid"], signal.SIGKILL)
    until(lambda: not any(alive(r["pid"]) for r in first), "all of the epoch are dead")
    second = admitted(cluster, "die", 3, epoch=2)
    assert second[0]["gang"]["id"] == first[0]["gang"]["id"]
    assert cluster.first.ask("die")["env"]["GANTRY_GANG_EPOCH"] == "2"
    types = [e["type"] for e in cluster.first.events() if e["type"].startswith("gang.") and e.get("function") == "die"]
    assert types == ["gang.broken", "gang.restarted"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_gang_moves_whole_from_a_host_that_can_not_be_reached(cluster, rank):
    cluster.first.put("moves", gang(2))
    first = admitted(cluster, "moves", 2)
    away, stays = first[rank], first[1 - rank]
    spare = next(h for h in HOSTS if h not in (away["node"], stays["node"]))
    for other in "a" + HOSTS:
        if other != away["node"]:
            cluster.net.cut(other, away["node"])
    until(lambda: not alive(stays["pid"]), "the member on the host that is there ended", 30)
    second = admitted(cluster, "moves", 2, epoch=2, timeout=60)
    assert {r["node"] for r in second} == {stays["node"], spare}, second
    assert cluster.first.ask("moves")["met"].keys() == {"1"}
    cluster.net.heal()
    cluster.wait_nodes("ready", timeout=30)
    until(lambda: not alive(away["pid"]), "what was left over there ended")
    until(lambda: len(cluster.first.running("moves")) == 2, "two are left")


def test_a_drained_host_gives_its_gang_to_others(cluster):
    cluster.first.put("drains", gang(2))
    first = admitted(cluster, "drains", 2)
    node(cluster, "drain", first[0]["node"], "--wait")
    until(lambda: not any(alive(r["pid"]) for r in first), "the old ones ended")
    old = {r["id"] for r in first}
    second = until(lambda: len(found := cluster.first.replicas("drains", "ready")) == 2
                   and not old & {r["id"] for r in found} and found, "it runs again", 30)
    assert first[0]["node"] not in {r["node"] for r in second}
    node(cluster, "uncordon", first[0]["node"])
