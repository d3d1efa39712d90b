"""scripts/gpu-check on a machine that may have no GPU: what is lacking is skipped and named, nothing fails."""
import json
import os
import subprocess
import sys

from fake_gpu import FAKES, FakeDriver
from harness import BIN, ROOT

PYTHON = "/usr/bin/python3"  # which a container may use, too
GPU = ROOT / "tests/gpu"


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


def test_steps_run_beside_those_that_they_do_not_disturb():
    """Who has something alone is overtaken by nobody who wants it, unless it has to wait for another step anyway."""
    code = ("import json, runner as r\n"
            "S = lambda name, **needs: r.Step(name, 1, None, **needs)\n"
            "steps = [S('times', alone=['gpu']), S('engine', alone=['gpu'], after=['model']), S('full', alone=['gpu'], after=['not run']),\n"
            "         S('cycles', shares=['gpu']), S('weights', shares=['gpu'], alone=['disk']), S('disk', alone=['disk']), S('model')]\n"
            "def begun(running, done, waiting=steps):\n"
            "    waiting, running, names = [s for s in waiting if s.name not in running + done], [s for s in steps if s.name in running], []\n"
            "    while s := r.startable(waiting, running, set(done)):\n"
            "        waiting.remove(s); running.append(s); names.append(s.name)\n"
            "    return names\n"
            "print(json.dumps([begun([], []), begun([], ['times']), begun(['disk', 'model'], ['times', 'full']),\n"
            "                  begun(['cycles'], ['times', 'full', 'disk', 'model'])]))")
    assert asked(code) == [["times", "model"], ["full", "model"], ["cycles"], []]


def test_who_ends_it_early_has_what_there_is(tmp_path):
    code = ("import pathlib, sys, time, runner as r\n"
            "def measures(found):\n"
            "    found['so far'] = 1\n"
            "    print('measured', flush=True)\n"
            "    time.sleep(60)\n"
            "steps = [r.Step('quick', 9, lambda found: found.update(x=1)), r.Step('slow', 60, measures, alone=['gpu']),\n"
            "         r.Step('never', 9, measures, alone=['gpu'])]\n"
            "sys.exit(r.run_all(steps, pathlib.Path(sys.argv[1]), 60))")
    out = tmp_path / "report.json"
    with subprocess.Popen([PYTHON, "-c", code, out], cwd=GPU, stdout=subprocess.PIPE, text=True) as run:
        seen = ""
        while not ("measured" in seen and "passed  quick" in seen):
            line = run.stdout.readline()
            assert line, seen
            seen += line
        run.terminate()
        run.stdout.read()
        assert run.wait(30) == 1
    report = json.loads(out.read_text())
    assert report["unfinished"] == ["never"] and report["steps"]["quick"]["figures"] == {"x": 1}
    assert report["steps"]["slow"]["result"] == "failed" and report["steps"]["slow"]["figures"] == {"so far": 1}


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


def asked(code, **more):
    """What a line of Python in tests/gpu prints, as JSON."""
    run = subprocess.run([PYTHON, "-c", code], cwd=GPU, env={**os.environ, "BIN": str(BIN), **more}, capture_output=True, text=True,
                         check=False, timeout=240)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)


def test_the_steps_of_parking_pass_on_a_simulated_gpu():
    """The same code as on a real one, but for what is held: memory of the host."""
    found = asked("import json, parking as p, sys; a = (sys.executable, 2, 'sim:1x1GiB:H100', 'host', 0.03); "
                  "print(json.dumps([p.cycles(*a), p.turns(*a)]))")
    cycles, turns = found
    assert cycles["same_hash"] and cycles["park"]["parks"] == 3 and cycles["park"]["refused"] == 0, cycles
    assert [r["park"]["unparks"] > 0 for r in turns["one"] + turns["two"] + turns["three"]] == [True, True, True], turns
    assert any("replica.unparking" in line for line in turns["events"])


def test_a_step_of_parking_that_fails_tells_all_that_there_is_to_know():
    """The GPU is larger than the memory for parked replicas: they are stopped, and the report shows it."""
    found = asked("import json, parking as p, sys\n"
                  "try: p.turns(sys.executable, 1, 'sim:1x1024GiB:H100', 'host', 0.03)\n"
                  "except p.Failed as e: print(json.dumps([str(e), e.evidence]))")
    why, evidence = found
    assert "stopped, not parked" in why and evidence["functions"] == ["one", "three", "two"]
    assert any("scale.pressure" in line for line in evidence["events"]), evidence["events"]
    assert evidence["one"]["explain"] and evidence["one"]["replicas"] and any("/touch" in line for line in evidence["one"]["logs"])
    assert evidence["node"]["gpus"] and evidence["said"] and evidence["log"]


def test_the_step_of_weights_passes_without_a_gpu():
    found = asked("import json, weights as w, sys; print(json.dumps(w.run(sys.executable, 0.0625, False)))")
    assert found["ahead"]["load"]["read_bytes"] == 0 and found["store"]["second"]["read_bytes"] == 0
    assert found["store"]["node"]["resident_bytes"] >= found["bytes"]


def test_what_a_step_saw_is_told_when_its_time_is_over(tmp_path):
    """Which is when it has seen something, however long the start of a daemon takes here."""
    code = ("import daemon, json, os, pathlib, runner, time\n"
            "said = pathlib.Path(os.environ['SAID'])\n"
            "def hangs(found):\n"
            "    with daemon.Gantry('none') as g:\n"
            "        g.say('so far')\n"
            "        said.touch()\n"
            "        time.sleep(600)\n"
            "apart = runner.Apart(runner.Step('x', 60, hangs), 60)\n"
            "while not said.exists() and time.monotonic() < apart.end:\n"
            "    time.sleep(0.01)\n"
            "apart.end = 0\n"
            "while not runner.over([apart]):\n"
            "    pass\n"
            "print(json.dumps(apart.row()))")
    row = asked(code, SAID=str(tmp_path / "said"))
    assert row["result"] == "failed" and "not done within 60 s" in row["why"]
    assert "so far" in row["evidence"]["said"][0]


LOAD = "import json; print(json.dumps({'sms': 1}), flush=True); input(); print(json.dumps({'done': 4 << 20, 's': 1}))"


def test_metrics_are_held_against_a_load_as_the_daemon_tells_them(tmp_path):
    player = FakeDriver(tmp_path, 1)
    player.set(0, gpm={"1": 50, "5": 12.5, "10": 25, "20": 3, "21": 4})
    row = asked("import activity as a, daemon, driver, json, os, subprocess as s, sys\n"
                "a.TOLD_S = 40\n"
                "nvml = driver.Nvml(os.environ['NVML'])\n"
                "proc = s.Popen([sys.executable, '-c', os.environ['LOAD']], stdin=s.PIPE, stdout=s.PIPE, text=True)\n"
                "with daemon.Gantry(None, os.environ['CONF']) as g:\n"
                "    print(json.dumps(a.measure(g, nvml, nvml.handle(), proc, 'pcie_rx')))",
                CONF=player.config(), LOAD=LOAD, NVML=str(FAKES / "libnvidia-ml.so.1"), GANTRY_FAKE_GPU=str(player.path))
    assert row["told"] == row["expected"] == 4 << 20 and row["gpm"]["PCIe received MiB/s"] == 4
    assert row["daemon"]["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"] == 0.125 and row["daemon"]["DCGM_FI_PROF_DRAM_ACTIVE"] == 0.25
    assert row["daemon"]["DCGM_FI_PROF_PCIE_TX_BYTES"] == 3 << 20
