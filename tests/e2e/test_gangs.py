"""Gangs of CPU members on one node: real containers that meet over real sockets, one that dies, and what control
and agent make of it when they die themselves. In a network namespace of this module's own."""
import ctypes
import os
import signal
import subprocess

import pytest

from harness import FUNCTIONS, Background, Daemon, alive, crash, until
from lent import running
from test_contract import check

CLONE_NEWNET = 0x40000000
MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def gantry(tmp_path_factory):
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0, "a network namespace"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    config = tmp_path_factory.mktemp("gangs") / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\naddress = 127.0.0.1\nallow_host_network = yes\n")
    daemon = Daemon(config=config)
    running.append(daemon)
    try:
        daemon.start()
        yield daemon
        running.remove(daemon)
        daemon.stop()
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture(autouse=True)
def empty(gantry):
    yield
    for f in gantry.client.get("/v1/functions").json()["items"]:
        gantry.client.request("DELETE", f"/v1/functions/{f['name']}?force=1")


def spec(size=3, **more):
    gang = {"size": size, **more.pop("gang", {})}
    return {"image": "host:", "command": ["/usr/bin/python3", str(FUNCTIONS / "gang.py")], "port": 8000,
            "network": "egress", "scale": {"min": 1, "max": 1}, "resources": {"memory": "64MiB"}, "gang": gang, **more}


def may_lock_all():
    """Root without CAP_SYS_RESOURCE, a container's say, can not raise its own limit either."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1))"
    return subprocess.run(["python3", "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


def members(gantry, name, epoch, *states):
    found = [r for r in gantry.replicas(name, *states) if r["gang"]["epoch"] == epoch]
    return sorted(found, key=lambda r: r["gang"]["rank"])


def admitted(gantry, name, size=3, epoch=1):
    def all_ready():
        found = members(gantry, name, epoch, "ready")
        return found if len(found) == size else None

    return until(all_ready, f"epoch {epoch} of {name} is ready", 30)


def wait_control(gantry):
    """It answers for itself again: while it was away, what is asked of it may be refused."""
    until(lambda: gantry.client.get("/v1/functions").status == 200, "control is back", 20)


def test_members_meet_and_rank_0_answers(gantry):
    gantry.put("meet", spec())
    replicas = admitted(gantry, "meet")
    assert [r["gang"]["rank"] for r in replicas] == [0, 1, 2]
    assert len({r["gang"]["id"] for r in replicas}) == 1
    facts = gantry.ask("meet")
    env, met = facts["env"], facts["met"]
    ips = env["GANTRY_RANK_IPS"].split(",")
    assert len(set(ips)) == 3 and env["MASTER_ADDR"] == ips[0]
    assert {r: m["address"] for r, m in met.items()} == {"1": ips[1], "2": ips[2]}
    other = met["2"]["env"]
    assert (other["RANK"], other["GROUP_RANK"], other["NODE_RANK"], other["LOCAL_RANK"]) == ("2", "2", "2", "0")
    assert (other["WORLD_SIZE"], other["GROUP_WORLD_SIZE"], other["LOCAL_WORLD_SIZE"]) == ("3", "3", "1")
    assert (other["MASTER_ADDR"], other["MASTER_PORT"]) == (ips[0], "29500")
    assert other["GANTRY_GANG_ID"] == replicas[0]["gang"]["id"] and other["GANTRY_GANG_EPOCH"] == "1"
    assert other["NCCL_HOSTID"] == f"n1-{ips[2]}-2" and other["NCCL_SOCKET_IFNAME"] == "eth0"
    assert facts["shm"] == 16 * MIB
    assert facts["memlock"] == -1 or not may_lock_all()
    view = gantry.client.get("/v1/functions/meet").json()
    assert view["replicas"]["ready"] == 1, "a gang is one replica of its function"
    check("listReplicas", gantry.client.get("/v1/functions/meet/replicas"))
    check("getFunction", gantry.client.get("/v1/functions/meet"))


def test_members_reach_their_own_gang_alone(gantry):
    gantry.put("ours", spec(size=2))
    gantry.put("theirs", spec(size=2))
    admitted(gantry, "ours", 2)
    admitted(gantry, "theirs", 2)
    ours, theirs = (gantry.ask(n)["env"]["GANTRY_RANK_IPS"].split(",") for n in ("ours", "theirs"))
    assert gantry.ask("theirs", f"/reach?where={theirs[0]}:8000") == "ok"
    assert gantry.ask("ours", f"/reach?where={theirs[0]}:8000") == "ConnectionRefusedError"
    assert gantry.ask("theirs", f"/reach?where={ours[0]}:8000") == "ConnectionRefusedError"


def test_one_that_makes_no_progress_ends_its_epoch(gantry):
    """All processes live, and rank 2 says nothing."""
    talks = ("i=0; while [ $i -lt 3000 ]; do echo step $i; i=$((i+1)); sleep 0.2; done & "
             f"exec /usr/bin/python3 {FUNCTIONS}/gang.py")
    command = ["/bin/sh", "-c", f'if [ "$RANK" = 2 ]; then exec /usr/bin/python3 {FUNCTIONS}/gang.py; fi; {talks}']
    gantry.put("quiet", spec(command=command, gang={"progress": "2s"}))
    first = admitted(gantry, "quiet")
    until(lambda: not any(alive(r["pid"]) for r in first), "all of the epoch are dead", 20)
    stuck = until(lambda: [r for r in members(gantry, "quiet", 1) if r.get("cause") == "gang_stuck"], "the cause is known")
    assert [r["gang"]["rank"] for r in stuck] == [2], members(gantry, "quiet", 1)
    assert "rank 2 has written nothing for" in stuck[0]["end"]["detail"]
    admitted(gantry, "quiet", epoch=2)


def test_one_dies_and_all_go(gantry):
    gantry.put("die", spec())
    first = admitted(gantry, "die")
    os.kill(first[1]["pid"], signal.SIGKILL)
    until(lambda: not any(alive(r["pid"]) for r in first), "all of the epoch are dead", 20)
    second = admitted(gantry, "die", epoch=2)
    assert second[0]["gang"]["id"] == first[0]["gang"]["id"]
    assert gantry.ask("die")["env"]["GANTRY_GANG_EPOCH"] == "2"
    types = [e["type"] for e in gantry.events() if e["type"].startswith("gang.") and e.get("function") == "die"]
    assert types == ["gang.broken", "gang.restarted"]
    assert gantry.client.get("/v1/functions/die").json().get("failures", 0) == 0


def test_the_budget_ends_in_backoff(gantry):
    gantry.put("budget", spec(gang={"restarts": 0}))
    first = admitted(gantry, "budget")
    os.kill(first[2]["pid"], signal.SIGKILL)
    again = until(lambda: [r for r in gantry.replicas("budget", "ready") if r["gang"]["rank"] == 0
                           and r["id"] != first[0]["id"]], "a new gang", 30)
    assert again[0]["gang"]["epoch"] == 1 and again[0]["gang"]["id"] != first[0]["gang"]["id"]
    assert not [e for e in gantry.events() if e["type"] == "gang.restarted" and e.get("function") == "budget"]


def test_a_start_that_fails_is_no_restart(gantry):
    gantry.put("broken", spec(command=["/bin/sh", "-c", "[ $RANK = 1 ] && exit 3; exec sleep 1000"]))
    view = until(lambda: gantry.client.get("/v1/functions/broken").json().get("last_failure"),
                 "the start failed", 20)
    assert "code 3" in view["detail"]
    until(lambda: not members(gantry, "broken", 1, "ready"), "no part of it is ready")


def test_gangs_outlive_control_and_agent(gantry):
    gantry.put("stay", spec())
    before = admitted(gantry, "stay")
    for role in ("control", "agent"):
        crash(gantry, role)
        admitted(gantry, "stay")
        assert gantry.ask("stay")["met"].keys() == {"1", "2"}
    after = admitted(gantry, "stay")
    assert [(r["id"], r["pid"], r["gang"]) for r in after] == [(r["id"], r["pid"], r["gang"]) for r in before]
    ips = gantry.ask("stay")["env"]["GANTRY_RANK_IPS"].split(",")
    assert gantry.ask("stay", f"/reach?where={ips[0]}:8000") == "ok"
    # It is still one: found members end as one too.
    os.kill(before[0]["pid"], signal.SIGKILL)
    admitted(gantry, "stay", epoch=2)


def test_a_member_that_dies_while_control_is_away(gantry):
    gantry.put("away", spec())
    before = admitted(gantry, "away")
    os.kill(gantry.roles()["control"], signal.SIGKILL)
    os.kill(before[2]["pid"], signal.SIGKILL)
    wait_control(gantry)
    again = until(lambda: [r for r in gantry.replicas("away", "ready") if r["id"] not in {b["id"] for b in before}
                           and r["gang"]["rank"] == 0], "the gang started again whole", 40)
    assert not any(alive(r["pid"]) for r in before)
    assert again[0]["gang"]["epoch"] == 2


def test_members_with_the_nodes_network(gantry):
    gantry.put("host", spec(size=2, network="host", gang={"spread": "any"}, port=8077))
    admitted(gantry, "host", 2)
    env = gantry.ask("host")["env"]
    assert env["GANTRY_RANK_IPS"] == "127.0.0.1,127.0.0.1" and env["NCCL_SOCKET_IFNAME"] == "lo"


def test_a_gang_drains_with_its_calls(gantry):
    gantry.put("drain", spec())
    replicas = admitted(gantry, "drain")
    call = Background(lambda: gantry.call("drain", "/reach?where=203.0.113.1:9"))
    call.result()
    gantry.client.request("DELETE", f"/v1/functions/drain/replicas/{replicas[2]['id']}")
    until(lambda: not any(alive(r["pid"]) for r in replicas), "all of it are stopped", 30)


@pytest.mark.parametrize("change, path", [
    ({"network": "none"}, "network"),
    ({"gang": {"spread": "nodes"}}, "gang.spread"),
    ({"gang": {"size": 65}}, "gang.size"),
    ({"network": "host", "gang": {"spread": "nodes"}}, "gang.size"),
])
def test_what_can_not_be_is_refused(gantry, change, path):
    reply = gantry.client.request("PUT", "/v1/functions/never?dry_run=1", spec(**change))
    assert reply.status == 422 and reply.json()["errors"][0]["path"] == path, reply
