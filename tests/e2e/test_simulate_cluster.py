"""`gantry simulate cluster` over a small load: what it prints, that it repeats itself, faults, and what it refuses."""
import gzip
import json
import random
import subprocess
import xml.etree.ElementTree

import pytest

from harness import BIN

CALLS = 3000


def simulate(*args):
    return subprocess.run([BIN / "gantry", "simulate", "cluster", *map(str, args)], capture_output=True, text=True,
                          timeout=120, check=False)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """An hour of calls of 12 functions."""
    path = tmp_path_factory.mktemp("load") / "calls.csv.gz"
    draw = random.Random(3)
    rows = sorted((draw.uniform(0, 3600), f"fn-{draw.randrange(12)}", draw.uniform(0, 20)) for _ in range(CALLS))
    with gzip.open(path, "wt") as f:
        f.write("function,arrival_s,service_s\n")
        f.writelines(f"{name},{t:.3f},{service:.3f}\n" for t, name, service in rows)
    return path


def run(calls, *args):
    done = simulate("--nodes", 8, "--gpus", 4, "--workload", calls, "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_call_is_accounted_for(calls):
    r = run(calls, "--cold", "1.5")
    assert r["simulated"] is True and r["broken"] is None
    assert (r["functions"], r["calls"], r["served"]) == (12, CALLS, CALLS)
    assert r["refused"] == r["lost"] == r["unfinished"] == 0
    assert 0 < r["peak_replicas"] <= 32 and r["starts"] >= 12
    assert 1.3 < r["max_wait_s"] and r["p50_wait_s"] <= r["p99_wait_s"] <= r["max_wait_s"]
    assert 0 < r["busy_hours"] <= r["gpu_hours"] <= 32 * r["hours"]
    assert len(r["utilisation"]) == 288 and max(p["gpus"] for p in r["utilisation"]) <= 1
    assert r["invariants_checked"] > CALLS and r["decisions"] > CALLS


def test_a_seed_says_everything(calls):
    faults = ["--fail", "starts=0.1", "--fail", "crashes=1", "--fail", "nodes=3", "--fail", "partitions=10",
              "--fail", "control=50"]
    one, two = (simulate("--nodes", 8, "--gpus", 4, "--workload", calls, "--json", "--seed", 9, *faults)
                for _ in range(2))
    assert one.returncode == 0 and one.stdout == two.stdout
    r = json.loads(one.stdout)
    assert r["broken"] is None and r["failed_starts"] > 0 and r["crashes"] > 0
    assert r["lost_nodes"] > 0 and r["control_starts"] > 1
    assert r["calls"] == CALLS == r["served"] + r["refused"] + r["lost"] + r["unfinished"]
    assert run(calls, "--seed", 10, *faults)["trace_hash"] != r["trace_hash"]


def test_a_plain_file_is_the_same_load(calls, tmp_path):
    plain = tmp_path / "calls.csv"
    plain.write_bytes(gzip.decompress(calls.read_bytes()))
    assert run(plain)["workload_hash"] == run(calls)["workload_hash"]


def test_too_few_gpus_make_calls_wait(calls):
    few, many = (run(calls, "--hours", 1, "--max", n) for n in (1, 8))
    assert few["p99_wait_s"] > many["p99_wait_s"]


def test_start_times_come_from_a_file(calls, tmp_path):
    times = tmp_path / "times.txt"
    times.write_text("30\n30\n")
    assert 26 < run(calls, "--cold", times)["max_wait_s"]


def test_the_picture_is_one(calls, tmp_path):
    svg = tmp_path / "run.svg"
    done = simulate("--nodes", 8, "--gpus", 4, "--workload", calls, "--svg", svg)
    assert done.returncode == 0 and "simulated nodes" in done.stdout
    paths = xml.etree.ElementTree.parse(svg).findall(".//{http://www.w3.org/2000/svg}path")
    assert len(paths) == 10  # 4 pairs of axes, 6 curves


@pytest.mark.parametrize("args, says", [
    ([], "needs --nodes N and --workload FILE"),
    (["--nodes", "0", "--workload", "x"], "--nodes"),
    (["--nodes", "1", "--workload", "x", "--fail", "fire=1"], "none of starts="),
    (["--nodes", "1", "--workload", "x", "--fail", "starts=2"], "up to 1"),
    (["--nodes", "1", "--workload", "x", "--min", "5", "--max", "2"], "--max"),
])
def test_wrong_usage(args, says):
    done = simulate(*args)
    assert done.returncode == 2 and says in done.stderr


@pytest.mark.parametrize("text, says", [
    ("function,arrival_s\na,1\n", "service_s"),
    ("function,arrival_s,service_s\n", "has no calls"),
    ("function,arrival_s,service_s\na,2,1\na,1,1\n", ":3: arrival_s: 1 after 2; sort"),
    ("function,arrival_s,service_s\n,2,1\n", ":2: function"),
])
def test_wrong_files(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = simulate("--nodes", 1, "--workload", path)
    assert done.returncode == 1 and says in done.stderr
