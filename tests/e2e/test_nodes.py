"""Nodes: states, cordon and drain, and what survives."""
import os
import signal
import subprocess

import pytest

from harness import BIN, until


@pytest.fixture
def daemon(own, tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[control]\nnode_suspect = 1s\n[agent]\nnode = box\n")
    return own(config=conf)


def state_of(daemon):
    return daemon.client.get("/v1/nodes/box").json().get("state")


def node(daemon, *words, code=0):
    done = subprocess.run([str(BIN / "gantry"), "node", *words], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "GANTRY_STATE": str(daemon.state)})
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_a_cordoned_node_keeps_what_it_has_and_gets_nothing_new(daemon):
    until(lambda: state_of(daemon) == "ready", "the node has reported")
    daemon.echo("f")
    daemon.echo("g", limits={"wait": "1s"})
    replica = daemon.call("f").headers["Gantry-Replica"]
    assert node(daemon, "cordon", "box") == "box takes no new replicas\n"
    assert state_of(daemon) == "cordoned"
    assert daemon.call("f").headers["Gantry-Replica"] == replica
    assert daemon.call("g").status in (503, 504)
    # Nothing of it is lost with control.
    os.kill(daemon.roles()["control"], signal.SIGKILL)
    until(lambda: daemon.client.get("/v1/nodes").status == 200 and state_of(daemon) == "cordoned", "still cordoned")
    assert daemon.call("f").headers["Gantry-Replica"] == replica
    assert node(daemon, "uncordon", "box") == "box takes replicas\n"
    until(lambda: daemon.call("g").status == 200, "g gets its place")
    assert state_of(daemon) == "ready"


def test_a_drain_without_another_node_ends_at_its_deadline(daemon):
    daemon.echo("f", scale={"min": 1})
    daemon.wait_replicas("f", 1, "ready")
    assert node(daemon, "drain", "box") == "box is draining\n"
    assert state_of(daemon) == "draining"
    assert daemon.call("f").status == 200, "it serves until there is a successor"
    assert "box is drained" in node(daemon, "drain", "box", "--deadline", "0s", "--wait")
    assert not daemon.running("f")
    types = [e["type"] for e in daemon.client.get("/v1/events").json()["items"]]
    assert types.count("node.duty") == 2, types
    node(daemon, "uncordon", "box")
    daemon.wait_replicas("f", 1, "ready")


def test_a_node_that_stands_still_is_suspect(daemon):
    until(lambda: state_of(daemon) == "ready", "the node has reported")
    agent = daemon.roles()["agent"]
    os.kill(agent, signal.SIGSTOP)
    until(lambda: state_of(daemon) == "suspect", "nothing is heard of it")
    os.kill(agent, signal.SIGCONT)
    until(lambda: state_of(daemon) == "ready", "it reports again")


def test_refusals_name_the_way_out(daemon):
    assert "stop its agent first" in node(daemon, "rm", "box", code=6)
    assert "there is no node nobody" in node(daemon, "cordon", "nobody", code=1)
    assert "is none of cordon, uncordon, drain, rm" in node(daemon, "paint", "box", code=2)
    assert "write a time" in node(daemon, "drain", "box", "--deadline", "soon", code=2)
    assert daemon.client.request("POST", "/v1/nodes/box/drain?deadline=never").status == 400
    assert daemon.client.request("DELETE", "/v1/nodes/box").status == 409
