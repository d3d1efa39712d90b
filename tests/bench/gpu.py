"""The GPU side against its goals, one function for each. PARTS=N11,... takes some of them."""
import importlib.util
import json
import os
import pathlib
import random
import struct
import tempfile
import time

import bench
import gangs
import gpu_isolation
import gpu_node
import gpu_parking
import gpu_reports
import gpu_weights
from safetensors import deserialize

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = int(os.environ.get("FILES", 200))
SEED = int(os.environ.get("SEED", 42))

# Computed by hand from the models' shapes: weights in GB, then 8k x 1 and 32k x 4 in GiB; bf16, FP8, INT4.
TABLE = {
    "Qwen2.5-7B": ["15.2 8.7 5.6", "16.1 10.0 7.1", "22.7 16.6 13.7"],
    "Llama-3.1-8B": ["16.1 9.1 5.7", "17.5 11.0 7.8", "32.5 26.0 22.8"],
    "Qwen3-32B": ["65.5 34.3 19.3", "64.5 35.5 21.5", "94.5 65.5 51.5"],
    "Llama-3.3-70B": ["141 72.7 39.8", "135 71.7 41.0", "173 109 78.5"],
}
BITS = {"F4": 4, "F6_E2M3": 6, "F8_E4M3": 8, "BF16": 16, "F32": 32, "I64": 64}


def table_script():
    spec = importlib.util.spec_from_file_location("gpu_table", ROOT / "scripts/gpu_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- N11: what a model needs ----

def random_file(draw):
    header, at = {}, 0
    for i in range(draw.randint(1, 40)):
        dtype, shape = draw.choice(list(BITS)), [draw.randint(0, 9) for _ in range(draw.randint(0, 3))] + [4]
        size = BITS[dtype]
        for n in shape:
            size *= n
        header[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size // 8]}
        at += size // 8
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def wrong_weights(script, folder):
    """Files whose weights are not to the byte those of the reference implementation of safetensors."""
    print(f"  seed {SEED}")
    draw, wrong = random.Random(SEED), 0
    (folder / "config.json").write_text((ROOT / "examples/models/Qwen3-8B.json").read_text())
    for _ in range(FILES):
        data = random_file(draw)
        (folder / "model.safetensors").write_bytes(data)
        want = sum(len(t["data"]) for _, t in deserialize(data))
        wrong += script.estimate(folder, 16, 1)["model"]["weight_bytes"] != want
    return wrong


def furthest(script, folder):
    """From the table above, beyond half of its last digit."""
    far = 0.0
    for name, rows in TABLE.items():
        config = json.loads((ROOT / f"examples/models/{name}.json").read_text())
        for i, form in enumerate(script.FORMS):
            size = script.write_model(folder, config, form)
            got = [size / 1e9, *(script.estimate(folder, *case)["bytes"] / 2**30 for case in script.CASES)]
            for value, row in zip(got, rows, strict=True):
                digits = row.split()[i]
                far = max(far, abs(value - float(digits)) - (0.05 if "." in digits else 0.5))
    return far


def n11():
    script = table_script()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        wrong, far = wrong_weights(script, folder), furthest(script, folder)
    return [
        bench.row("N11.weights", f"of {FILES} files, those whose weights are not the reference's to the byte", wrong, "",
                  goal="0", passed=wrong == 0),
        bench.row("N11.table", "furthest from 36 figures computed by hand, beyond their rounding", max(far, 0.0), "GiB",
                  goal="<= 0.01", passed=far <= 0.01),
        *gpu_reports.estimates(),
    ]


def n10():
    """A tenth of what make bench-gangs does."""
    return gangs.rows(int(os.environ.get("SCHEDULES", 1000)))


# By the word that PARTS= takes.
PARTS = {"N1": gpu_isolation.rows, "N2": gpu_node.health, "N3": gpu_node.scrape, "N4": gpu_weights.cached, "N5": gpu_weights.stored,
         "N6": gpu_parking.own_cost, "N7": gpu_parking.never_stuck, "N8": gpu_parking.first_byte, "N9": gpu_reports.engine,
         "N10": n10, "N11": n11, "N12": gpu_node.absent}


def main():
    wanted, rows, begin = os.environ.get("PARTS", ",".join(PARTS)).split(","), [], time.monotonic()
    for name in wanted:
        print(f"  {name} after {time.monotonic() - begin:.0f} s", flush=True)
        rows += PARTS[name]()
    bench.write("gpu", rows)


main()
