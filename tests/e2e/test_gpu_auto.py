"""`"memory": "auto"`: a node computes what a model needs when it is deployed, and that stands in the revision."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import struct

import pytest

from fake_gpu import FakeDriver
from harness import SLOW, Daemon, probe_spec, until
from test_contract import check

GIB = 1 << 30
CONFIG = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100,
          "num_key_value_heads": 2, "intermediate_size": 256, "max_position_embeddings": 4096}


@pytest.fixture(scope="module")
def gantry(tmp_path_factory):
    config = tmp_path_factory.mktemp("gpu") / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\ngpus = sim:2x8GiB:L4\n")
    daemon = Daemon(config=config)
    daemon.start()
    yield daemon
    daemon.stop()


def write_weights(path, size):
    text = json.dumps({"a": {"dtype": "U8", "shape": [64, size // 64], "data_offsets": [0, size]}}).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + size)


@pytest.fixture
def models(tmp_path):
    """A volume with one model, whose files only root may read."""
    folder = tmp_path / "models" / "llama"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_weights(folder / "model.safetensors", GIB)
    for file in folder.iterdir():
        os.chmod(file, 0o400)
    return tmp_path / "models"


def spec_of(models, estimate=None, paths=("/models/llama/*.safetensors",), **gpu):
    gpu = {"memory": "auto", **({"estimate": estimate} if estimate else {}), **gpu}
    return probe_spec(resources={"memory": "64MiB", "gpu": gpu}, weights={"paths": list(paths)},
                      volumes=[{"host": str(models), "path": "/models"}])


def pinned(gantry, name):
    return gantry.client.get(f"/v1/functions/{name}").json()["spec"]["resources"]["gpu"]


def test_it_is_computed_and_kept(gantry, models):
    spec = spec_of(models, {"context": 1024, "sequences": 4, "kv_dtype": "fp8"})
    reply = gantry.client.request("PUT", "/v1/functions/auto", {**spec, "scale": {"min": 1}})
    check("putFunction", reply)
    gpu = pinned(gantry, "auto")
    terms = gpu["estimate"]["terms"]
    assert terms["weights"] == "1GiB"
    assert terms["cache"] == f"{4 * 1024 * 2 * 2 * 2 * 16 // 1024}KiB"  # sequences, tokens, layers, heads, k and v, dimensions
    total = GIB + 4 * 1024 * 2 * 2 * 2 * 16 + 3 * GIB // 2
    assert gpu["memory"] in (str(total), f"{total // 1024}KiB") and gpu["estimate"]["context"] == 1024
    check("getFunction", gantry.client.get("/v1/functions/auto?effective=1"))
    env = None
    gantry.wait_replicas("auto", 1)
    env = gantry.ask("auto", "/facts")["env"]
    assert env["GANTRY_GPU_MEMORY_BYTES"] == str(total)
    assert env["GANTRY_GPU_MEMORY_FRACTION"] == f"0.{-(-total * 1000 // (8 * GIB)):03d}"  # what it needs, not less
    # The same again is the same; what is shown can be sent back.
    again = gantry.client.request("PUT", "/v1/functions/auto", {**spec, "scale": {"min": 1}}).json()
    assert again["unchanged"] and again["revision"] == 1
    shown = gantry.client.get("/v1/functions/auto").json()["spec"]
    assert gantry.client.request("PUT", "/v1/functions/auto", shown).json()["unchanged"]
    # Other files change nothing until it is deployed again.
    write_weights(models / "llama/model.safetensors", 2 * GIB)
    assert gantry.client.request("PUT", "/v1/functions/auto", shown).json()["unchanged"]
    assert gantry.client.request("PUT", "/v1/functions/auto", {**spec, "scale": {"min": 1}}).json()["changed"]
    assert pinned(gantry, "auto")["estimate"]["terms"]["weights"] == "2GiB"
    gantry.client.request("DELETE", "/v1/functions/auto?force=1")


def test_each_of_several_gpus_has_its_part(gantry, models):
    reply = gantry.client.request("PUT", "/v1/functions/two?dry_run=1", spec_of(models, {"context": 1024}, count=2))
    assert reply.status in (200, 201), reply
    gantry.put("two", spec_of(models, {"context": 1024, "overhead": "2GiB"}, count=2))
    terms = pinned(gantry, "two")["estimate"]["terms"]
    assert terms["weights"] == "512MiB" and terms["overhead"] == "2GiB"
    gantry.client.request("DELETE", "/v1/functions/two?force=1")


def refusal(gantry, spec):
    reply = gantry.client.request("PUT", "/v1/functions/never", spec)
    assert reply.status == 422 and reply.slug == "invalid_spec", reply
    body = reply.json()
    assert gantry.client.get("/v1/functions/never").status == 404
    return body["errors"][0]["path"], body["detail"]


def test_what_can_not_be_computed_is_refused_with_the_reason(gantry, models, tmp_path):
    where = "resources.gpu.memory"

    def says(words, spec):
        path, detail = refusal(gantry, spec)
        assert path == where and words in detail, (path, detail)

    says("write where they are in weights.paths", {**spec_of(models), "weights": {"paths": []}})
    says("No such file", spec_of(models, paths=["/models/none/*.safetensors"]))
    says("no *.safetensors and no *.gguf", spec_of(models, paths=["/models/*.safetensors"]))
    says("heads can not be split evenly over 3 GPUs", spec_of(models, count=3))
    (models / "bert").mkdir()
    (models / "bert/config.json").write_text('{"model_type": "bert"}')
    write_weights(models / "bert/model.safetensors", 64)
    says("model_type bert: how much memory such a model needs is not known", spec_of(models, paths=["/models/bert/*"]))
    (models / "bert/model.safetensors").write_bytes(b"\xff" * 64)
    (models / "bert/config.json").write_text(json.dumps(CONFIG))
    says("the format's limit is 100000000", spec_of(models, paths=["/models/bert/*"]))
    # A link out of the volume leads nowhere.
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "config.json").write_text(json.dumps(CONFIG))
    write_weights(secret / "model.safetensors", 64)
    os.symlink(secret, models / "out")
    says("No such file", spec_of(models, paths=["/models/out/*"]))


def reader():
    """What /proc says of the process that reads a model, or None."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            at = pathlib.Path(f"/proc/{pid}")
            if (at / "comm").read_text().strip() == "gantry-estimate":
                return (at / "status").read_text() + (at / "limits").read_text()
    return None


def test_who_reads_has_no_rights_and_leaves(gantry, models):
    """A header of a million tensors (of fewer, where all is slow) takes long enough to look at who reads it."""
    entries = [f'"t{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{i + 1}]}}' for i in range(1_000_000 // SLOW)]
    text = ("{" + ",".join(entries) + "}").encode()
    with open(models / "llama/model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + len(entries))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        put = pool.submit(gantry.put, "once", spec_of(models))
        seen = until(reader, "somebody reads", 30)
        put.result()
    assert re.search(r"^Uid:\t[1-9]", seen, re.M) and re.search(r"^CapEff:\t0+$", seen, re.M), seen
    assert re.search(r"^NoNewPrivs:\t1$", seen, re.M) and re.search(r"^Max open files +0 ", seen, re.M), seen
    until(lambda: not reader(), "it is gone")
    assert pinned(gantry, "once")["estimate"]["terms"]["weights"] == str(len(entries))


@pytest.fixture
def played(tmp_path):
    """A daemon whose driver says what the test says."""
    driver = FakeDriver(tmp_path)
    config = tmp_path / "gantryd.conf"
    config.write_text("[agent]\nnode = n1\n" + driver.config())
    daemon = Daemon(config=config)
    daemon.start()
    daemon.driver = driver
    # Without them what is deployed would be refused.
    until(lambda: len(daemon.client.get("/v1/nodes/n1").json().get("gpus", [])) == 2, "the driver answers")
    yield daemon
    daemon.stop()


def seen_with(daemon, name, size):
    """The function's newest replica has so much of its GPU, and the node has seen it. Returns the replica."""
    replica = max(daemon.wait_replicas(name, 1), key=lambda r: r["id"])
    number = next(i for i, d in enumerate(daemon.driver.script["devices"]) if d["uuid"] == replica["gpus"][0]["uuid"])
    size = size or replica["gpus"][0]["memory_bytes"]
    daemon.driver.set(number, processes=[{"pid": replica["pid"], "bytes": size}])
    until(lambda: [r for r in daemon.replicas(name, "ready") if r["id"] == replica["id"] and
                   r.get("usage", {}).get("gpu_memory_bytes") == size], "it is seen", 20)
    return replica


def test_what_it_was_seen_to_need_is_in_the_next_estimate(played, models):
    spec = {**spec_of(models, {"context": 1024}), "scale": {"min": 1, "max": 1}}

    def put():
        return played.client.request("PUT", "/v1/functions/auto", spec).json()

    played.put("auto", spec)
    seen_with(played, "auto", None)  # what it was given is enough for it
    assert put()["unchanged"]
    seen_with(played, "auto", 4 * GIB)
    played.put("other", {**spec, "scale": {"min": 0}, "command": ["/bin/other"]})
    assert "measured" not in pinned(played, "other")["estimate"]["terms"]  # another engine needs what it needs
    os.kill(played.roles()["agent"], 9)  # the next one knows it as well
    until(lambda: put().get("changed"), "it is estimated", 20)
    gpu = pinned(played, "auto")
    assert int(gpu["memory"]) == 4 * GIB + 4 * GIB // 20 and "measured" in gpu["estimate"]["terms"], gpu
    played.put("auto", {**spec, **spec_of(models, {"context": 1024, "overhead": "1GiB"})})
    assert "measured" not in pinned(played, "auto")["estimate"]["terms"]  # who measured it has the last word


def test_an_engine_that_fills_its_memory_does_not_grow_for_ever(played, models):
    spec = {**spec_of(models, {"context": 1024}), "scale": {"min": 1, "max": 1}}
    spec["command"] = [*spec["command"], "--use=${gpu.memory_fraction}"]
    played.put("fills", spec)
    first = seen_with(played, "fills", 4 * GIB)
    played.put("fills", spec)
    assert int(pinned(played, "fills")["memory"]) == 4 * GIB + 4 * GIB // 20
    until(lambda: [r["id"] for r in played.replicas("fills", "ready")] not in ([], [first["id"]]), "the next one", 20)
    until(lambda: len(played.replicas("fills", "ready")) == 1, "the first one went", 20)
    seen_with(played, "fills", 5 * GIB)
    assert played.client.request("PUT", "/v1/functions/fills", spec).json()["unchanged"]
