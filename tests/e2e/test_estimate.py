"""`gantry gpu estimate`: weights to the byte, held against the reference implementation of safetensors; what it prints; the
published table. Nothing here needs root or a daemon."""
import json
import math
import struct
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from harness import BIN, ROOT

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
        "C64": 64, "F64": 64, "I64": 64, "U64": 64}
CONFIG = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100,
          "num_key_value_heads": 2, "intermediate_size": 256, "max_position_embeddings": 4096}
NOBODY = "http://127.0.0.1:1"


def estimate(path, *flags, url=NOBODY):
    return subprocess.run([BIN / "gantry", "gpu", "estimate", path, "--url", url, *flags], capture_output=True, text=True,
                          timeout=60, check=False)


def facts(path, *flags):
    out = estimate(path, "--json", *flags)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def file_of(header, size):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def laid_out(tensors):
    header, at = {}, 0
    for name, dtype, shape in tensors:
        size = math.prod(shape) * BITS[dtype]
        if size % 8 == 0:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size // 8]}
            at += size // 8
    return header, at


TENSORS = st.lists(st.tuples(st.text(max_size=8).filter(lambda s: s != "__metadata__" and "\0" not in s),
                             st.sampled_from(sorted(BITS)), st.lists(st.integers(0, 5), max_size=5)),
                   max_size=8, unique_by=lambda t: t[0])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # goes by a clock
@given(tensors=TENSORS)
def test_weights_are_those_of_the_reference(model, tensors):
    header, size = laid_out(tensors)
    data = file_of(header, size)
    (model / "model.safetensors").write_bytes(data)
    told = deserialize(data)
    got = facts(model)["model"]
    assert got["weight_bytes"] == sum(len(t["data"]) for _, t in told) == size
    assert got["tensors"] == len(told) == len(header)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors=TENSORS, draw=st.data())
def test_what_the_reference_refuses_is_refused(model, tensors, draw):
    """Its refusals are ours. The other way round the format's README is stricter than the reference."""
    header, size = laid_out(tensors)
    data = bytearray(file_of(header, size))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at:at + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=2))
    data = bytes(data)
    (model / "model.safetensors").write_bytes(data)
    out = estimate(model, "--json")
    assert out.returncode in (0, 1), out
    try:
        told = deserialize(data)
    except SafetensorError:
        assert out.returncode == 1 and "model.safetensors: " in out.stderr, data
        return
    if out.returncode == 0:
        assert json.loads(out.stdout)["model"]["weight_bytes"] == sum(len(t["data"]) for _, t in told), data


def test_shards_and_the_embedding_that_is_the_head(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "tie_word_embeddings": True}))
    for name, tensor, rows in (("1", "model.embed_tokens.weight", 100), ("2", "lm_head.weight", 100), ("3", "other", 1)):
        header, size = laid_out([(tensor, "BF16", [rows, 64])])
        (tmp_path / f"{name}.safetensors").write_bytes(file_of(header, size))
    out = estimate(tmp_path)
    assert out.returncode == 1 and "no model.safetensors.index.json" in out.stderr
    index = {"weight_map": {"model.embed_tokens.weight": "1.safetensors", "lm_head.weight": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert facts(tmp_path)["model"]["weight_bytes"] == 100 * 64 * 2


def test_what_it_prints(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    header, size = laid_out([("a", "BF16", [64, 64])])
    (tmp_path / "model.safetensors").write_bytes(file_of(header, size))
    out = estimate(tmp_path, "--context", "1024", "--sequences", "2")
    assert out.returncode == 0 and out.stderr == ""
    lines = out.stdout.splitlines()
    assert lines[0] == f"{tmp_path}: llama, safetensors, 1 files, 1 tensors"
    assert lines[1] == "on each of 1 GPUs: context 1024, 2 sequences, cache of 16 bits"
    cache = 2 * 1024 * 2 * 2 * 2 * 16 * 2  # sequences, tokens, layers, heads, key and value, dimensions, bytes
    assert ["cache", "0.00", str(cache)] in [line.split() for line in lines]
    assert ["sum", "1.50", str(size + cache + 3 * 2**29)] in [line.split() for line in lines]
    assert any(line.split()[:1] == ["H200"] for line in lines)
    got = facts(tmp_path, "--context", "1024", "--sequences", "2", "--kv-dtype", "fp8", "--overhead", "1GiB")
    assert got["terms"]["cache"] == cache // 2 and got["terms"]["overhead"] == 2**30
    assert got["bytes"] == sum(got["terms"].values())
    split = facts(tmp_path, "--tensor-parallel", "2")
    assert split["terms"]["weights"] == size // 2 and split["model"]["weight_bytes"] == size


def test_what_fits_nowhere_says_so(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": 1000, "num_key_value_heads": 64}))
    header, size = laid_out([("a", "BF16", [64, 64])])
    (tmp_path / "model.safetensors").write_bytes(file_of(header, size))
    out = estimate(tmp_path, "--context", "1000000")
    assert out.returncode == 0 and "none of these GPUs holds" in out.stderr


def test_a_model_that_is_not_known_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(file_of({}, 0))
    out = estimate(tmp_path)
    assert out.returncode == 1 and out.stdout == ""
    assert "model_type bert: how much memory such a model needs is not known" in out.stderr
    assert estimate(tmp_path, "--kv-dtype", "fp9").returncode == 2
    assert estimate(tmp_path, "--context", "0").returncode == 2


def test_the_published_table_is_what_the_estimator_says():
    made = subprocess.run([sys.executable, ROOT / "scripts/gpu_table.py", "--check", ROOT / "docs/gpu-memory.md"],
                          capture_output=True, text=True, check=False, env={"BIN": str(BIN)})
    assert made.returncode == 0, made.stderr
