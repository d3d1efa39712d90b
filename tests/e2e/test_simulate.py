"""`gantry simulate place` over small files of its own: what it prints, that it repeats itself, what it refuses."""
import gzip
import json
import random
import subprocess

import pytest

from harness import BIN

POLICIES = ["gantry", "fgd+", "fgd", "bestfit", "dotprod", "packing", "clustering", "random"]
TIMES = {"decisions_per_s", "p50_us", "p99_us", "p999_us"}


def simulate(*args):
    return subprocess.run([BIN / "gantry", "simulate", "place", *args], capture_output=True, text=True, timeout=120,
                          check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 nodes with 2 to 8 GPUs, and 600 tasks."""
    folder = tmp_path_factory.mktemp("cluster")
    draw = random.Random(7)
    nodes = ["sn,cpu_milli,memory_mib,gpu,model"]
    for i in range(40):
        gpus = draw.choice([2, 4, 8])
        nodes.append(f"node-{i},{gpus * 12000},{gpus * 65536},{gpus},{draw.choice(['T4', 'G2'])}")
    pods = ["name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"]
    for i in range(600):
        gpus, milli, model = draw.choice([(0, 0, ""), (1, 1000, ""), (1, 1000, "T4"), (1, 300, ""), (1, 550, "G2|T4"),
                                          (2, 1000, ""), (8, 1000, "")])
        pods.append(f"pod-{i},{draw.choice([2000, 6000, 12000])},{draw.choice([4096, 16384])},{gpus},{milli},{model}")
    (folder / "nodes.csv").write_text("\n".join(nodes) + "\n")
    with gzip.open(folder / "pods.csv.gz", "wt") as f:
        f.write("\n".join(pods) + "\n")
    return folder


def runs(files, *args):
    done = simulate("--nodes", files / "nodes.csv", "--pods", files / "pods.csv.gz", "--json", *args)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_says_everything_but_the_times(files, policy):
    rows = runs(files, "--policy", policy, "--repeat", "3")
    assert [r["seed"] for r in rows] == [42, 43, 44]
    assert len({r["placements_hash"] for r in rows}) == 3
    for r in rows:
        assert r["policy"] == policy
        assert list(r["allocation"]) == [str(k) for k in range(10, 131, 10)]
        values = list(r["allocation"].values())
        assert values == sorted(values) and 60 < r["allocation"]["100"] <= 100
        assert r["failed"] > 0 and all(r[t] > 0 for t in TIMES)
    assert without_times(runs(files, "--policy", policy, "--repeat", "3")) == without_times(rows)


def test_ours_gives_away_more_than_any_node_at_random(files):
    def mean(policy):
        rows = runs(files, "--policy", policy, "--repeat", "5")
        return sum(r["allocation"]["100"] for r in rows) / len(rows)
    assert mean("gantry") > mean("random") + 1


def test_copies_and_churn(files):
    [row] = runs(files, "--copies", "3", "--churn", "2000")
    assert row["nodes"] == 120 and row["allocation"] == {} and row["tasks"] >= 2000
    assert without_times(runs(files, "--copies", "3", "--churn", "2000")) == without_times([row])


def test_people_get_parameters_and_a_table(files):
    done = simulate("--nodes", files / "nodes.csv", "--pods", files / "pods.csv.gz", "--inflate", "1.1")
    assert done.returncode == 0, done.stderr
    hashes = runs(files)[0]
    for text in ["40 nodes", "600 tasks", "policy gantry, inflate 1.1, copies 1, churn 0, seed 42, 1 runs", "AT 100%",
                 "mean at 100%:", hashes["nodes_hash"], hashes["pods_hash"]]:
        assert text in done.stdout


@pytest.mark.parametrize("old, new, error", [
    ("name,", "nome,", "pods.csv:1: there is no column name; there are: nome, cpu_milli"),
    ("pod-5,", "pod-5,x", "pods.csv:7: cpu_milli: 'x"),
    ("pod-5,", "pod-5,,", "pods.csv:7: 7 fields; the heading has 6"),
    (",8,1000,", ",8,900,", "gpu_milli: several GPUs are asked for whole (1000)"),
    (",1,300,", ",1,1300,", "gpu_milli: 1300 is above 1000"),
    ("G2|T4", "G2||T4", "gpu_spec: an empty model"),
])
def test_a_wrong_row_is_named(files, tmp_path, old, new, error):
    text = gzip.open(files / "pods.csv.gz", "rt").read()
    (tmp_path / "pods.csv").write_text(text.replace(old, new, 1))
    done = simulate("--nodes", files / "nodes.csv", "--pods", tmp_path / "pods.csv")
    assert done.returncode == 1
    assert error in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("args, error", [
    ([], "needs --nodes FILE and --pods FILE"),
    (["--policy", "best"], "is none of gantry"),
    (["--inflate", "0"], "--inflate"),
    (["--inflate", "nan"], "--inflate"),
    (["--copies", "0"], "--copies"),
    (["--repeat", "-1"], "--repeat"),
])
def test_wrong_usage(files, args, error):
    given = ["--nodes", files / "nodes.csv", "--pods", files / "pods.csv.gz"] if args else []
    done = simulate(*given, *args)
    assert done.returncode == 2
    assert error in done.stderr


def test_too_many_copies(files):
    done = simulate("--nodes", files / "nodes.csv", "--pods", files / "pods.csv.gz", "--copies", "2000")
    assert done.returncode != 0 and "2000 copies of 40 nodes; 65536 nodes are allowed" in done.stderr
