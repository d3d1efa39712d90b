"""Functions with GPUs on a node whose GPUs are simulated: who is given what, who waits, and what a crash of each
part leaves of it."""
import os
import signal
import subprocess

import pytest

from harness import BIN, Daemon, alive, probe_spec, until
from test_contract import check

GIB = 1 << 30


@pytest.fixture(scope="module")
def gantry(tmp_path_factory):
    config = tmp_path_factory.mktemp("gpu") / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\ngpus = sim:2x80GiB:NVIDIA H100 80GB\nlabels = zone=a,rack=7\n")
    daemon = Daemon(config=config)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(autouse=True)
def empty(gantry):
    """Each test begins and ends with all GPUs free."""
    yield
    for f in gantry.client.get("/v1/functions").json()["items"]:
        gantry.client.request("DELETE", f"/v1/functions/{f['name']}?force=1")
    until(lambda: taken(gantry) == [0, 0], "all GPUs are free again", 20)


def node(gantry):
    return gantry.client.get("/v1/nodes/n1").json()


def gpus(gantry):
    """[] while control, which may have just started, has not heard of the node."""
    return node(gantry).get("gpus", [])


def taken(gantry):
    return [g["taken"] for g in gpus(gantry)]


def deploy(gantry, name, gpu, **more):
    """One replica, at once."""
    scale = {"min": 1, "max": 1, **more.pop("scale", {})}
    gantry.put(name, probe_spec(resources={"memory": "64MiB", "gpu": gpu}, scale=scale, **more))


def uuids(gantry, name):
    return [g["uuid"] for g in gantry.wait_replicas(name, 1)[0]["gpus"]]


def environment(gantry, name):
    env = gantry.ask(name, "/facts")["env"]
    return {k: v for k, v in env.items() if "GPU" in k or "CUDA" in k or "NVIDIA" in k}


def refusal(gantry, resources=None, **more):
    reply = gantry.client.request("PUT", "/v1/functions/never?dry_run=1", probe_spec(resources=resources or {}, **more))
    assert reply.status == 422 and reply.slug == "invalid_spec", reply
    body = reply.json()
    return body["errors"][0]["path"], body["detail"]


def test_a_node_shows_its_gpus_and_labels(gantry):
    until(lambda: len(gpus(gantry)) > 1, "the node has reported", 20)
    view = node(gantry)
    assert view["labels"] == {"zone": "a", "rack": "7"}
    assert view["gpus"][1] == {"uuid": "SIM-n1-1", "model": "NVIDIA H100 80GB", "backend": "sim", "healthy": True, "health": "well",
                               "memory_bytes": 80 * GIB, "taken": 0, "taken_bytes": 0}
    labels = 'node="n1",model="NVIDIA H100 80GB",backend="sim"'
    assert gantry.metrics()[f"gantry_node_gpus{{{labels}}}"] == 2
    assert any("(sim)" in e["text"] for e in gantry.events() if e["type"] == "node.gpus")


def test_a_whole_gpu_is_nobody_elses(gantry):
    deploy(gantry, "one", {"count": 1})
    deploy(gantry, "two", {"count": 1, "memory": "40GiB"})
    first, second = uuids(gantry, "one"), uuids(gantry, "two")
    assert sorted(first + second) == ["SIM-n1-0", "SIM-n1-1"]
    assert taken(gantry) == [1, 1]
    assert environment(gantry, "one") == {
        "GANTRY_GPU_UUIDS": first[0], "GANTRY_GPU_COUNT": "1", "GANTRY_GPU_MEMORY_BYTES": str(80 * GIB),
        "GANTRY_GPU_MEMORY_FRACTION": "0.950", "GANTRY_GPU_BACKEND": "sim"}
    assert environment(gantry, "two")["GANTRY_GPU_MEMORY_FRACTION"] == "0.500"
    got = gantry.replicas("two", "ready")[0]["gpus"]
    assert got == [{"uuid": second[0], "model": "NVIDIA H100 80GB", "backend": "sim", "share": 1,
                    "memory_bytes": 40 * GIB}]


def test_halves_share_one(gantry):
    for name in ("left", "right"):
        deploy(gantry, name, {"share": 0.5})
    assert uuids(gantry, "left") == uuids(gantry, "right")
    assert sorted(taken(gantry)) == [0, 1]
    env = environment(gantry, "left")
    assert env["GANTRY_GPU_MEMORY_BYTES"] == str(40 * GIB) and env["GANTRY_GPU_MEMORY_FRACTION"] == "0.500"
    deploy(gantry, "whole", {"count": 1})
    assert uuids(gantry, "whole") != uuids(gantry, "left")


def test_answers_have_the_shape_of_the_contract(gantry):
    deploy(gantry, "shape", {"share": 0.25, "models": ["H100"]}, placement={"labels": {"zone": "a"}})
    uuids(gantry, "shape")
    check("listNodes", gantry.client.get("/v1/nodes"))
    check("getFunction", gantry.client.get("/v1/functions/shape?effective=1"))
    check("listReplicas", gantry.client.get("/v1/functions/shape/replicas"))
    check("putFunction", gantry.client.request("PUT", "/v1/functions/no?dry_run=1", {**probe_spec(), "gpu": "any:9"}))


def test_the_command_says_what_the_replica_may_use(gantry):
    script = "echo share ${gpu.memory_fraction}.${gpu.memory_fraction} $0; exec sleep 1000"
    gantry.put("words", {"image": "host:", "command": ["/bin/sh", "-c", script, "--use=${gpu.memory_fraction}"],
                         "port": 8000, "scale": {"min": 1}, "resources": {"gpu": {"memory": "20GiB"}}})
    until(lambda: "share 0.250.0.250 --use=0.250" in gantry.client.get("/v1/functions/words/logs").text,
          "the program said it")


def test_the_short_form(gantry):
    gantry.put("short", {**probe_spec(), "gpu": "h100:2", "scale": {"min": 1}})
    assert sorted(uuids(gantry, "short")) == ["SIM-n1-0", "SIM-n1-1"]
    spec = gantry.client.get("/v1/functions/short").json()["spec"]
    assert spec["resources"]["gpu"] == {"count": 2, "models": ["h100"]} and "gpu" not in spec


def test_who_finds_none_waits_and_is_told_why(gantry):
    deploy(gantry, "both", {"count": 2})
    assert len(uuids(gantry, "both")) == 2
    deploy(gantry, "third", {"count": 1}, scale={"min": 0})
    call = gantry.client.background("GET", "/f/third/", timeout=60)
    blocked = until(lambda: [e for e in gantry.events(function="third") if e["type"] == "scale.blocked"], "it waits")
    assert blocked[0]["cause"] == "no_capacity" and "1 GPU" in blocked[0]["text"], blocked
    assert not gantry.running("third")
    gantry.client.request("DELETE", "/v1/functions/both?force=1")
    assert call.result(40).status == 200
    assert len(uuids(gantry, "third")) == 1


def test_capacity_that_does_not_come_is_a_503(gantry):
    deploy(gantry, "both", {"count": 2})
    uuids(gantry, "both")
    deploy(gantry, "third", {"share": 0.1}, scale={"min": 0})
    reply = gantry.client.get("/f/third/", timeout=60)
    assert reply.status == 503 and reply.json()["cause"] == "no_capacity", reply
    assert "GPU" in reply.json()["detail"] and reply.headers["Retry-After"]


@pytest.mark.parametrize("role", ["agent", "control"])
def test_a_crash_forgets_no_gpu(gantry, role):
    deploy(gantry, "half", {"share": 0.5})
    deploy(gantry, "whole", {"count": 1})
    before = {name: (uuids(gantry, name), gantry.replicas(name, "ready")[0]["id"]) for name in ("half", "whole")}
    seen = node(gantry)["gpus"]
    pid = gantry.roles()[role]
    os.kill(pid, signal.SIGKILL)
    until(lambda: gantry.roles().get(role, pid) != pid, f"there is another {role}", 20)
    until(lambda: gantry.client.get("/readyz").status == 200, "it is ready again")
    until(lambda: gpus(gantry) == seen, "the node's GPUs are taken as before", 20)
    for name, was in before.items():
        until(lambda: gantry.replicas(name, "ready"), f"{name} is known", 20)
        assert (uuids(gantry, name), gantry.replicas(name, "ready")[0]["id"]) == was
    # Neither book forgot: the rest of the shared GPU is given, and no more.
    deploy(gantry, "rest", {"share": 0.5})
    assert uuids(gantry, "rest") == before["half"][0]
    deploy(gantry, "late", {"share": 0.1})
    until(lambda: [e for e in gantry.events(function="late") if e["type"] == "scale.blocked"], "nothing is left")
    assert [(e.get("function"), e["text"]) for e in gantry.events() if e.get("cause") == "gpu_conflict"] == []


def test_everything_crashes_and_the_books_are_the_same(gantry):
    deploy(gantry, "half", {"share": 0.5})
    was = uuids(gantry, "half"), gantry.replicas("half", "ready")[0]["pid"]
    gantry.kill_everything()
    gantry.start(20)
    until(lambda: gantry.replicas("half", "ready"), "it is found", 20)
    assert (uuids(gantry, "half"), gantry.replicas("half", "ready")[0]["pid"]) == was
    until(lambda: sorted(taken(gantry)) == [0, 0.5], "its half is taken")


def test_gpus_that_go_take_their_replicas_along(gantry):
    before = gantry.config.read_text()
    deploy(gantry, "both", {"count": 2})
    deploy(gantry, "none", {"count": 1}, scale={"min": 0})
    first = gantry.wait_replicas("both", 1)[0]
    gantry.config.write_text(before.replace("2x80GiB", "1x80GiB"))
    gantry.proc.send_signal(signal.SIGHUP)
    try:
        until(lambda: len(gpus(gantry)) == 1, "one GPU is gone", 20)
        until(lambda: not alive(first["pid"]), "the replica has ended", 20)
        assert f"replica {first['id']}: this node has no GPU SIM-n1-1" in gantry.log()
        blocked = until(lambda: [e for e in gantry.events(function="both") if e["type"] == "scale.blocked"], "it waits")
        assert "2 GPUs" in blocked[0]["text"], blocked
        assert gantry.call("none").status == 200
        assert taken(gantry) == [1]
    finally:
        gantry.delete("none")
        gantry.config.write_text(before)
        gantry.proc.send_signal(signal.SIGHUP)
    gantry.wait_replicas("both", 1, timeout=20)
    assert sorted(uuids(gantry, "both")) == ["SIM-n1-0", "SIM-n1-1"]


def test_what_no_node_could_run_is_refused(gantry):
    for gpu, path, words in [
        ({"count": 3}, "resources.gpu.count", "the most is 2 on node n1"),
        ({"memory": "81GiB"}, "resources.gpu.memory", "81GiB is more than any such GPU has; the most is 80GiB"),
        ({"models": ["H1000"]}, "resources.gpu.models[0]", 'did you mean "H100"?'),
        ({"models": ["MI300X"]}, "resources.gpu.models[0]", 'there is "NVIDIA H100 80GB"'),
    ]:
        got, detail = refusal(gantry, {"gpu": gpu})
        assert got == path and words in detail, (got, detail)
    got, detail = refusal(gantry, placement={"labels": {"zone": "b"}})
    assert got == "placement.labels.zone" and 'there is "a"' in detail
    got, detail = refusal(gantry, placement={"labels": {"zones": "a"}})
    assert got == "placement.labels.zones" and 'did you mean "zone"?' in detail
    got, detail = refusal(gantry, {"memory": "60TiB"})
    assert got == "resources.memory" and "more than any node takes" in detail
    assert refusal(gantry, {"cpu": 1024})[0] == "resources.cpu"
    assert gantry.client.get("/v1/functions/never").status == 404


def test_labels_and_models_that_are_there(gantry):
    deploy(gantry, "placed", {"models": ["MI300X", "h100-80gb"]}, placement={"labels": {"zone": "a", "rack": "7"}})
    assert len(uuids(gantry, "placed")) == 1


def test_exclusive_is_alone_on_its_node(gantry):
    deploy(gantry, "alone", {"share": 0.5}, isolation="exclusive")
    uuids(gantry, "alone")
    gantry.echo("other", scale={"min": 1})
    until(lambda: [e for e in gantry.events(function="other") if e["type"] == "scale.blocked"], "the other waits")
    gantry.client.request("DELETE", "/v1/functions/alone?force=1")
    gantry.wait_replicas("other", 1)


def test_the_command_line_shows_them(gantry):
    def run(*words):
        env = {**os.environ, "GANTRY_URL": gantry.url, "GANTRY_TOKEN": gantry.token}
        done = subprocess.run([str(BIN / "gantry"), *words], env=env, capture_output=True, text=True, check=True)
        return done.stdout

    assert "2 x NVIDIA H100 80GB 80 GiB (sim)" in run("nodes") and "rack=7,zone=a" in run("nodes")
    run("deploy", "cli", "--image", "host:", "--port", "8000", "--min", "1", "--gpu", "any:2", "--",
        "/usr/bin/python3", "-m", "http.server", "8000")
    uuids(gantry, "cli")
    assert "2 x NVIDIA H100 80GB (sim)" in run("ps", "cli")


@pytest.mark.parametrize("gpus,words", [("h100", "no source of GPUs"), ("fake:doubles", "absolute paths"),
                                        ("sim:80GiB", "there is no count")])
def test_gpus_that_no_machine_can_have(gpus, words):
    done = subprocess.run([str(BIN / "gantryd"), "check", "--gpus", gpus], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and words in done.stderr
