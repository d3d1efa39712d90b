"""scripts/gpu-check on a machine that may have no GPU: what is lacking is skipped and named, nothing fails."""
import json
import os
import subprocess
import sys

from fake_gpu import FAKES, FakeDriver
from harness import ROOT


def check(tmp_path, *steps):
    out = tmp_path / "report.json"
    run = subprocess.run([ROOT / "scripts/gpu-check", "--out", out, *steps], stdout=subprocess.PIPE, check=False)
    return run.returncode, run.stdout.decode(), json.loads(out.read_text())


def test_what_is_lacking_is_skipped_with_the_reason(tmp_path):
    status, text, report = check(tmp_path, "machine", "nvml", "checkpoint times", "freeze")
    steps = report["steps"]
    assert status == 0, text
    assert steps["machine"]["result"] == "passed" and steps["machine"]["figures"]["kernel"]
    if not steps["machine"]["figures"]["device_nodes"]:
        for name in ("nvml", "checkpoint times", "freeze while checkpointed"):
            assert steps[name]["result"] == "skipped" and "is not there" in steps[name]["why"], steps[name]
        assert "1 passed, 0 failed, 3 skipped" in text


def test_every_step_is_listed():
    listed = subprocess.check_output([ROOT / "scripts/gpu-check", "--list"]).decode().splitlines()
    assert len(listed) == len(set(listed)) >= 10


def test_what_the_check_asks_of_gpm_is_what_the_declarations_say(tmp_path):
    """By the test double, which is made from them."""
    player = FakeDriver(tmp_path, 1)
    player.set(0, gpm={"1": 50, "5": 12.5, "20": 3})
    ask = ("import driver, json, sys; n = driver.Nvml(sys.argv[1]); "
           "print(json.dumps(n.activity(n.handle(), lambda: None)))")
    out = subprocess.check_output([sys.executable, "-c", ask, FAKES / "libnvidia-ml.so.1"], cwd=ROOT / "tests/gpu",
                                  env={**os.environ, "GANTRY_FAKE_GPU": str(player.path)})
    assert json.loads(out) == {"supported": True, "graphics %": 50, "tensor %": 12.5, "memory bandwidth %": {"ret": 3},
                               "PCIe sent MiB/s": 3, "PCIe received MiB/s": {"ret": 3}}
