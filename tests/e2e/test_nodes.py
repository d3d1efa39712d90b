"""Nodes: states, cordon and drain, joining and leaving, and what survives."""
import base64
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from harness import BIN, crash, until


@pytest.fixture
def daemon(own, tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[agent]\nnode = box\n")
    one = own(config=conf)
    until(lambda: state_of(one) == "ready", "the node has reported", 20)
    return one


def state_of(daemon):
    return daemon.client.get("/v1/nodes/box").json().get("state")


def node(daemon, *words, code=0):
    done = subprocess.run([str(BIN / "gantry"), "node", *words], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "GANTRY_STATE": str(daemon.state)})
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_a_cordoned_node_keeps_what_it_has_and_gets_nothing_new(daemon):
    daemon.echo("f")
    daemon.echo("g", limits={"wait": "1s"})
    replica = daemon.call("f").headers["Gantry-Replica"]
    assert node(daemon, "cordon", "box") == "box takes no new replicas\n"
    assert state_of(daemon) == "cordoned"
    assert daemon.call("f").headers["Gantry-Replica"] == replica
    assert daemon.call("g").status in (503, 504)
    # Nothing of it is lost with control.
    crash(daemon, "control")
    until(lambda: state_of(daemon) == "cordoned", "still cordoned", 20)
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
    agent = daemon.roles()["agent"]
    os.kill(agent, signal.SIGSTOP)
    try:
        until(lambda: state_of(daemon) == "suspect", "nothing is heard of it", 20)
    finally:
        os.kill(agent, signal.SIGCONT)
    until(lambda: state_of(daemon) == "ready", "it reports again", 20)


def test_refusals_name_the_way_out(daemon):
    assert "stop its agent first" in node(daemon, "rm", "box", code=6)
    assert "there is no node nobody" in node(daemon, "cordon", "nobody", code=1)
    assert "is none of cordon, uncordon, drain, rm" in node(daemon, "paint", "box", code=2)
    assert "is none of cordon" in node(daemon, "paint", code=2)
    assert "write a time" in node(daemon, "drain", "box", "--deadline", "soon", code=2)
    assert daemon.client.request("POST", "/v1/nodes/box/drain?deadline=never").status == 400
    assert daemon.client.request("DELETE", "/v1/nodes/box").status == 409


# ---- machines that join, through control's own socket ----

class Link(http.client.HTTPConnection):
    """run/link.sock, as a gateway speaks there for somebody."""

    def __init__(self, daemon):
        super().__init__("control", timeout=30)
        self.path = str(daemon.state / "run/link.sock")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def post(self, path, body, peer=None):
        self.request("POST", path, body if isinstance(body, bytes) else json.dumps(body),
                     {"Gantry-Peer": peer} if peer else {})
        answer = self.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


class Machine:
    """A key, and requests for it, by openssl(1): another program than ours."""

    def __init__(self, where):
        where.mkdir()
        self.where, self.key = where, where / "key.pem"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)

    def csr(self):
        return openssl("req", "-new", "-key", self.key, "-subj", "/CN=somebody else").decode()

    def save(self, answer):
        for name in ("certificate", "ca"):
            (self.where / name).write_text(answer[name])


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def members(daemon):
    return {n["name"] for n in daemon.client.get("/v1/nodes").json()["items"] if "joined_at" in n}


def token_of(daemon, *flags):
    token = node(daemon, "token", *flags).strip()
    assert re.fullmatch(r"gtj_[A-Za-z0-9_-]{32}_[A-Za-z0-9_-]{43}", token), token
    return token


def test_a_machine_joins_once_and_is_removed_at_once(daemon, tmp_path):
    link, machine = Link(daemon), Machine(tmp_path / "far")
    token = token_of(daemon, "--ttl", "5m")
    ask = {"token": token, "node": "far", "csr": machine.csr()}
    status, answer = link.post("/link/v1/join", ask)
    assert (status, answer["node"]) == (201, "far"), answer
    machine.save(answer)
    # The certificate is what others understand by one, and the token's pin is of the authority's key.
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", machine.where / "ca", machine.where / "certificate")
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", machine.where / "ca", machine.where / "certificate")
    shown = openssl("x509", "-in", machine.where / "certificate", "-noout", "-text").decode()
    assert "URI:gantry://node/far" in shown and "somebody else" not in shown
    spki = openssl("x509", "-in", machine.where / "ca", "-noout", "-pubkey")
    der = base64.b64decode(b"".join(spki.splitlines()[1:-1]))
    assert base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=") == token[-43:]
    # Once; but its answer may have been lost, and the same machine may ask again.
    assert link.post("/link/v1/join", ask)[0] == 201
    status, answer = link.post("/link/v1/join", {**ask, "node": "other"})
    assert (status, answer["code"]) == (401, "bad_join_token")
    status, answer = link.post("/link/v1/join", {**ask, "csr": Machine(tmp_path / "thief").csr()})
    assert (status, answer["code"]) == (401, "bad_join_token")
    # A name that is taken costs no token.
    other = token_of(daemon)
    for name in ("far", "box"):
        status, answer = link.post("/link/v1/join", {**ask, "token": other, "node": name})
        assert (status, answer["code"]) == (409, "node_exists"), answer
    assert members(daemon) == {"far"}
    renew = "/link/v1/nodes/far/certificate"
    assert link.post(renew, {"csr": machine.csr()}, peer="node/far")[0] == 200
    assert link.post("/link/v1/nodes/box/certificate", {"csr": machine.csr()}, peer="node/far")[0] == 403
    # Killed and back: nothing of it is lost.
    crash(daemon, "control")
    until(lambda: members(daemon) == {"far"}, "still a member")
    link.close()
    assert node(daemon, "rm", "far") == "far is forgotten\n"
    status, answer = link.post(renew, {"csr": machine.csr()}, peer="node/far")
    assert (status, answer["code"]) == (403, "node_removed")
    assert link.post("/link/v1/nodes/far/report", {}, peer="node/far")[0] == 403
    assert link.post("/link/v1/join", ask)[0] == 401, "its token is spent"
    assert members(daemon) == set()
    types = [e["type"] for e in daemon.client.get("/v1/events").json()["items"] if e.get("node") == "far"]
    assert types.count("node.joined") <= 1 and "node.gone" in types, types  # the kill took the older ones
    link.close()


def test_join_tokens_are_listed_and_taken_back(daemon, tmp_path):
    machine, link = Machine(tmp_path / "m"), Link(daemon)
    token = token_of(daemon, "--node", "m", "--ttl", "1h")
    rows = daemon.client.get("/v1/nodes/tokens").json()["items"]
    assert [(r["state"], r["node"]) for r in rows] == [("open", "m")]
    assert token not in daemon.client.get("/v1/nodes/tokens").text
    assert rows[0]["id"] in node(daemon, "tokens")
    status, _ = link.post("/link/v1/join", {"token": token, "node": "n", "csr": machine.csr()})
    assert status == 401, "it is for another name"
    assert node(daemon, "token", "rm", rows[0]["id"]).endswith("lets nobody in any more\n")
    assert link.post("/link/v1/join", {"token": token, "node": "m", "csr": machine.csr()})[0] == 401
    short = token_of(daemon, "--ttl", "1s")
    until(lambda: "expired" in node(daemon, "tokens"), "its time is over")
    assert link.post("/link/v1/join", {"token": short, "node": "m", "csr": machine.csr()})[0] == 401
    assert "is none of cordon" in node(daemon, "paint", code=2)
    assert "write a time" in node(daemon, "token", "--ttl", "soon", code=2)
    assert "there is no join token" in node(daemon, "token", "rm", "01K0000000000000000000000X", code=1)
    link.close()


def test_the_authority_outlives_control_and_is_for_control_alone(daemon, tmp_path):
    machine, link = Machine(tmp_path / "m"), Link(daemon)

    def authority():
        return link.post("/link/v1/gateways/g/certificate", machine.csr().encode())[1]["ca"]

    before, pin = authority(), token_of(daemon)[-43:]
    crash(daemon, "control")
    link.close()
    assert authority() == before and token_of(daemon)[-43:] == pin
    directory = (daemon.state / "control").stat()
    assert directory.st_mode & 0o777 == 0o700 and directory.st_uid != 0
    status, answer = link.post("/link/v1/gateways/g/certificate", b"nonsense")
    assert (status, answer["code"]) == (400, "bad_certificate")
    link.close()
