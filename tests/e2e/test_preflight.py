"""gantry-preflight against a test double of NCCL, in the host's memory: a healthy gang passes, and every fault that the
double knows is found, with its cause. How fast is the benchmark's (make bench-gangs)."""
import json
import os
import subprocess
import time

import pytest

from harness import BIN, OUT, Background, free_port

FAKE = OUT / "tests/fake/libnccl.so.2"
SIZES = "8,1048576,4194304"


def preflight(*words, fault="", timeout_ms=60000):
    env = {**os.environ, "GANTRY_FAKE_NCCL": fault}
    limit = ["--timeout", str(timeout_ms)] if timeout_ms else []
    done = subprocess.run([BIN / "gantry-preflight", "--nccl", FAKE, "--cuda", "none", "--sizes", SIZES, *limit, *words],
                          env=env, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_a_healthy_gang_passes(ranks):
    status, v = preflight("--ranks", str(ranks))
    assert (status, v["verdict"], v["ranks"], v["nccl"]) == (0, "pass", ranks, 22809), v
    assert [s["bytes"] for s in v["sizes"]] == [8, 1 << 20, 4 << 20]


@pytest.mark.parametrize("ranks", [3, 4])
@pytest.mark.parametrize("rank", range(3))
def test_a_corrupt_rank_is_found(ranks, rank):
    status, v = preflight("--ranks", str(ranks), fault=f"corrupt={rank}")
    assert (status, v["cause"]) == (1, "corrupt"), v
    assert "should be" in v["detail"]


@pytest.mark.parametrize("ranks", [3, 5])
@pytest.mark.parametrize("rank", range(3))
def test_a_slow_rank_is_found_and_named(ranks, rank):
    status, v = preflight("--ranks", str(ranks), fault=f"slow={rank}")
    assert (status, v["cause"], v["slowest_rank"]) == (1, "slow", rank), v


def test_below_the_baseline_is_slow():
    status, v = preflight("--ranks", "2", "--baseline", "100000")
    assert (status, v["cause"]) == (1, "slow"), v
    assert "80 %" in v["detail"] and v["baseline_gbps"] == 100000


@pytest.mark.parametrize("fault", ["hang=0", "hang=2", "hang_join=1"])
def test_a_rank_that_hangs_is_found(fault):
    status, v = preflight("--ranks", "3", fault=fault, timeout_ms=1500)
    assert (status, v["cause"]) == (1, "hung"), v


def test_more_than_four_ranks_have_more_time():
    begin = time.monotonic()
    status, v = preflight("--ranks", "5", fault="hang=4", timeout_ms=None)
    assert (status, v["cause"]) == (1, "hung") and time.monotonic() - begin >= 5.7, v


@pytest.mark.parametrize("rank", range(3))
def test_another_version_is_found(rank):
    status, v = preflight("--ranks", "3", fault=f"version={rank}:21805")
    assert (status, v["cause"]) == (1, "version_mismatch"), v
    assert "21805" in v["detail"]


def test_a_failing_rank_and_a_missing_library_say_why():
    status, v = preflight("--ranks", "3", fault="error=1")
    assert (status, v["cause"]) == (1, "failed") and "ncclAllReduce" in v["detail"], v
    status, v = preflight("--ranks", "2", "--nccl", "/nowhere/libnccl.so.2")
    assert (status, v["cause"]) == (1, "no_library") and "/nowhere" in v["detail"], v


def test_ranks_of_several_processes_meet():
    port = free_port()
    other = Background(lambda: preflight("--ranks", "4", "--first", "2", "--here", "2", "--master",
                                         f"127.0.0.1:{port}"))
    status, v = preflight("--ranks", "4", "--here", "2", "--master", f"127.0.0.1:{port}")
    assert (status, v["verdict"]) == (0, "pass"), v
    assert other.result(60)[0] == 0


def test_wrong_options_are_refused():
    for words in ((), ("--ranks", "0"), ("--ranks", "2", "--here", "1"), ("--ranks", "2", "extra")):
        assert preflight(*words)[0] == 2


def test_nothing_of_nvidia_is_linked():
    needed = subprocess.run(["ldd", BIN / "gantry-preflight"], capture_output=True, text=True, check=True).stdout
    assert "nccl" not in needed and "cuda" not in needed
