#!/usr/bin/env python3
"""The table of docs/gpu-memory.md: what models need of a GPU, computed by `gantry gpu estimate`.

For each examples/models/NAME.json (the part of the model's config.json that decides) the files of its weights are made
as they are published: true headers, and no bytes behind them (the file is sparse). Three forms:
  bf16    all tensors in BF16
  FP8     matrices of the layers in F8_E4M3 with an F32 scale a row; embedding and head stay BF16
  INT4    AWQ, groups of 128: qweight, qzeros, scales; embedding and head stay BF16

usage: BIN=build scripts/gpu_table.py [--check docs/gpu-memory.md | --json]

--json: the estimates of the first case in bf16, for scripts/gpu-check, which holds them against real models.
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build"))
FORMS = ["bf16", "FP8", "INT4"]
CASES = [(8192, 1), (32768, 4)]
BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "I32": 4}
BEGIN, END = "<!-- made by scripts/gpu_table.py -->\n", "<!-- end -->\n"


def matrix(name, out, width, form):
    """A linear layer's weight [out, in], in the form that it is published in."""
    if form == "FP8":
        yield f"{name}.weight", "F8_E4M3", [out, width]
        yield f"{name}.weight_scale", "F32", [out, 1]
    elif form == "INT4":
        yield f"{name}.qweight", "I32", [width, out // 8]
        yield f"{name}.qzeros", "I32", [width // 128, out // 8]
        yield f"{name}.scales", "F16", [width // 128, out]
    else:
        yield f"{name}.weight", "BF16", [out, width]


def mlp(at, hidden, inner, form):
    for name, out, width in (("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)):
        yield from matrix(f"{at}.{name}", out, width, form)


def layer(c, at, form):
    hidden, dim = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * dim, c["num_key_value_heads"] * dim
    for name, out, width in (("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden), ("o_proj", hidden, q)):
        yield from matrix(f"{at}.self_attn.{name}", out, width, form)
        if c["model_type"] == "qwen2" and name != "o_proj":
            yield f"{at}.self_attn.{name}.bias", "BF16", [out]
    if c["model_type"].startswith("qwen3"):
        yield f"{at}.self_attn.q_norm.weight", "BF16", [dim]
        yield f"{at}.self_attn.k_norm.weight", "BF16", [dim]
    if "num_experts" in c:
        yield f"{at}.mlp.gate.weight", "BF16", [c["num_experts"], hidden]
        for i in range(c["num_experts"]):
            yield from mlp(f"{at}.mlp.experts.{i}", hidden, c["moe_intermediate_size"], form)
    else:
        yield from mlp(f"{at}.mlp", hidden, c["intermediate_size"], form)
    yield f"{at}.input_layernorm.weight", "BF16", [hidden]
    yield f"{at}.post_attention_layernorm.weight", "BF16", [hidden]


def tensors(c, form):
    yield "model.embed_tokens.weight", "BF16", [c["vocab_size"], c["hidden_size"]]
    for i in range(c["num_hidden_layers"]):
        yield from layer(c, f"model.layers.{i}", form)
    yield "model.norm.weight", "BF16", [c["hidden_size"]]
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", "BF16", [c["vocab_size"], c["hidden_size"]]


def write_model(folder, c, form):
    """Returns the bytes of all tensors, summed up here."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c))
    header, at = {}, 0
    for name, dtype, shape in tensors(c, form):
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
    return at


def estimate(folder, context, sequences):
    # No daemon's nodes: the address is nobody's.
    out = subprocess.run([BIN / "gantry", "gpu", "estimate", folder, "--json", "--context", str(context), "--sequences",
                          str(sequences), "--url", "http://127.0.0.1:1"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def smallest(result):
    fits = [g["model"] for g in result["gpus"] if g["fits"]]
    return fits[0] if fits else "-"


def row(path, folder):
    c = json.loads(path.read_text())
    weights, needs, gpus, token = [], [[], []], [], 0
    for form in FORMS:
        size = write_model(folder, c, form)
        results = [estimate(folder, *case) for case in CASES]
        assert results[0]["model"]["weight_bytes"] == size, (path, form)
        token = results[0]["token_bytes"]
        weights.append(f"{size / 1e9:.1f}")
        gpus.append(smallest(results[0]))
        for i, result in enumerate(results):
            needs[i].append(f"{result['bytes'] / 2**30:.1f}")
    cells = [f"{path.stem} ({token // 1024} KiB)", *(" / ".join(x) for x in (weights, *needs, gpus))]
    return "| " + " | ".join(cells) + " |\n"


def table():
    text = ("| model (cache of a token) | weights, GB: bf16 / FP8 / INT4 | 8k x 1, GiB | 32k x 4, GiB "
            "| smallest common GPU for 8k x 1 |\n| --- | --- | --- | --- | --- |\n")
    models = sorted((ROOT / "examples/models").glob("*.json"))
    with tempfile.TemporaryDirectory() as folder:
        return text + "".join(row(path, pathlib.Path(folder)) for path in models)


def estimates():
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / "examples/models").glob("*.json")):
            write_model(pathlib.Path(folder), json.loads(path.read_text()), "bf16")
            yield {"name": path.stem, **estimate(folder, *CASES[0])}


def main():
    if sys.argv[1:2] == ["--json"]:
        json.dump(list(estimates()), sys.stdout, indent=1)
        return
    made = table()
    if sys.argv[1:2] != ["--check"]:
        print(made, end="")
        return
    page = pathlib.Path(sys.argv[2]).read_text()
    written = page[page.index(BEGIN) + len(BEGIN):page.index(END)].strip("\n") + "\n"
    if written != made:
        sys.exit(f"{sys.argv[2]}: the table is not what `gantry gpu estimate` says:\n{made}")


if __name__ == "__main__":
    main()
