"""Two functions, each with the whole GPU, take turns on it by parking: the daemon's own way, with a real engine.

Run by scripts/gpu-check, or alone: python3 tests/gpu/turns.py MODEL_DIR. Needs root, a built gantryd, torch, transformers."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from inject import BIN, cli

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 3
NAMES = ("one", "two")


def call(url, token, name):
    request = urllib.request.Request(f"{url}/f/{name}/generate", headers={"Authorization": f"Bearer {token}"})
    begin = time.monotonic()
    with urllib.request.urlopen(request, timeout=150) as reply:
        body = json.load(reply)
    return time.monotonic() - begin, body["tokens"]


def take_turns(url, state, python, model, found):
    token = (state / "admin.token").read_text().strip()
    for name in NAMES:
        (state.parent / f"{name}.json").write_text(json.dumps({
            "image": "host:", "command": [python, "/check/serve.py", "/model", "8000"], "port": 8000,
            "volumes": [{"host": str(HERE), "path": "/check"}, {"host": str(model), "path": "/model"}],
            "ready": {"path": "/health", "timeout": "3m"}, "limits": {"wait": "3m"},
            "resources": {"memory": "24GiB", "gpu": {"count": 1}}, "scale": {"min": 0, "max": 1},
            "park": {"method": "cuda", "after": "0s"}}))
        cli(url, state, "deploy", name, "--file", str(state.parent / f"{name}.json"))
    first = {}
    for name in NAMES:
        seconds, first[name] = call(url, token, name)
        found["cold_first_answer_s"].append(round(seconds, 3))
    for _ in range(ROUNDS):
        for name in NAMES:
            seconds, tokens = call(url, token, name)
            found["back_first_answer_s"].append(round(seconds, 3))
            if tokens != first[name]:
                raise RuntimeError(f"the answer of {name} differs after parking")
    found["ps"] = cli(url, state, "ps", check=False).splitlines()


def run(python, model):
    found = {"cold_first_answer_s": [], "back_first_answer_s": []}
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        os.chmod(tmp, 0o755)
        state = tmp / "state"
        with open(tmp / "log", "w", encoding="utf-8") as log:
            daemon = subprocess.Popen([BIN / "gantryd", "run", "--state", state, "--listen", "127.0.0.1:0", "--gpus", "auto"],
                                      stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            url = daemon.stdout.readline().split()[-1]
            take_turns(url, state, python, model, found)
        except Exception as e:
            events = cli(url, state, "events", check=False)[-3000:] + cli(url, state, "logs", "one", "--plain", check=False)[-2000:]
            raise RuntimeError(f"{e} after {found}\n{events}\n{(tmp / 'log').read_text()[-3000:]}") from e
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(60)
    found["cold_over_back"] = round(min(found["cold_first_answer_s"]) / sorted(found["back_first_answer_s"])[len(NAMES) * ROUNDS // 2], 1)
    return found


if __name__ == "__main__":
    print(json.dumps(run(sys.executable, sys.argv[1]), indent=1))
