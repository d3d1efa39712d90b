"""gantry simulate scale, over small loads made here."""
import gzip
import json
import os
import pathlib
import random
import subprocess
import xml.etree.ElementTree as ET

import pytest

BIN = pathlib.Path(os.environ.get("BIN", "build")).resolve()
POLICIES = ["gantry", "kpa", "fixed:60", "hist", "ray", "keda"]


def simulate(*args):
    return subprocess.run([BIN / "gantry", "simulate", "scale", *map(str, args)], capture_output=True, text=True)


@pytest.fixture
def load(tmp_path):
    rnd, rows, at = random.Random(7), [], 0.0
    for _ in range(600):
        at += rnd.choice([0.2, 0.5, 3, 40])
        rows.append(f"{rnd.randrange(3)},{at:.3f},{rnd.uniform(0.2, 4):.3f}")
    text = "function,arrival_s,service_s\n" + "\n".join(rows) + "\n"
    (tmp_path / "load.csv").write_text(text)
    with gzip.open(tmp_path / "load.csv.gz", "wt") as out:
        out.write(text)
    (tmp_path / "cold.txt").write_text("3\n20.5\n41\n")
    return tmp_path


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_is_the_same_to_the_byte(load, policy):
    args = ["--policy", policy, "--slots", 2, "--slo", 2, "--skip", 10, "--json"]
    plain = simulate("--workload", load / "load.csv", "--cold", load / "cold.txt", *args)
    again = simulate("--workload", load / "load.csv.gz", "--cold", load / "cold.txt", *args)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout == again.stdout
    got = json.loads(plain.stdout)
    assert got["policy"] == policy and got["functions"] == 3 and got["calls"] == 600
    assert 0 < got["zero_cost_gpu_hours"] <= got["clairvoyant_gpu_hours"]
    assert got["gpu_hours"] >= got["zero_cost_gpu_hours"]
    assert 0 <= got["slo"] <= 1 and 0 <= got["waste"] < 1
    assert got["p50_delay_s"] <= got["p90_delay_s"] <= got["p99_delay_s"] <= got["max_delay_s"]
    waited_hours = got["mean_delay_s"] * got["counted"] / 3600
    assert abs(got["j20"] - got["gpu_hours"] - 20 * waited_hours) < 0.01


def test_the_price_moves_along(load):
    got = [json.loads(simulate("--workload", load / "load.csv", "--cold", 20, "--price", price, "--json").stdout)
           for price in (0, 20, 200)]
    assert got[0]["gpu_hours"] < got[1]["gpu_hours"] < got[2]["gpu_hours"]
    assert got[0]["mean_delay_s"] > got[1]["mean_delay_s"] > got[2]["mean_delay_s"]


def test_text_and_picture(load):
    svg = load / "run.svg"
    out = simulate("--workload", load / "load.csv", "--cold", 5, "--svg", svg)
    assert out.returncode == 0 and "GPU-hours" in out.stdout and "policy gantry" in out.stdout
    assert len(ET.parse(svg).findall("{http://www.w3.org/2000/svg}path")) == 5  # three curves, the axes of two panels


@pytest.mark.parametrize("args,word", [
    ([], "--workload"),
    (["--workload", "x", "--cold", "1", "--policy", "hpa"], "there is no policy hpa"),
    (["--workload", "/nonexistent", "--cold", "1"], "/nonexistent"),
    (["--workload", "x", "--cold", "1", "--slots", "0"], "--slots"),
])
def test_mistakes_are_named(args, word):
    out = simulate(*args)
    assert out.returncode != 0 and word in out.stderr


def test_a_broken_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "load.csv"
    file.write_text("function,arrival_s,service_s\n0,5,1\n0,4,1\n")
    out = simulate("--workload", file, "--cold", 1)
    assert out.returncode == 1 and "load.csv:3: arrival_s: earlier" in out.stderr
    file.write_text("function,arrival_s\n0,5\n")
    assert "there is no column service_s" in simulate("--workload", file, "--cold", 1).stderr


def test_starts_are_seconds_or_a_file(load):
    error = simulate("--workload", load / "load.csv", "--cold", -3).stderr
    assert '--cold: "-3" is no number of seconds, and as a file: No such file' in error
