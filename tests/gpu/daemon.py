"""A daemon of the checks' own, driven by its API and CLI. What it knew when a check failed is part of the report."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "build"))
TAIL = 6000  # characters of a log that are kept


class Failed(RuntimeError):
    """A check that failed, with what was to be seen then."""

    def __init__(self, why, evidence):
        super().__init__(why)
        self.evidence = evidence


class Gantry:
    """`gantryd run` on a free port; gpus and config: of its section [agent]. Leaving it with an exception raises Failed
    with the evidence."""

    def __init__(self, gpus="auto", config=""):
        self.gpus, self.config, self.said = gpus, config, []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gantry-gpu-check-")
        self.dir = pathlib.Path(self.folder.name)
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        gpus = f"gpus = {self.gpus}\n" if self.gpus else ""
        (self.dir / "conf").write_text(f"[agent]\nnode = n1\n{gpus}{self.config}")
        with open(self.dir / "log", "w", encoding="utf-8") as log:
            self.proc = subprocess.Popen([BIN / "gantryd", "run", "--state", self.state, "--listen", "127.0.0.1:0",
                                          "--config", self.dir / "conf"], stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.proc.stdout.readline()
        if not line:
            self.proc.wait()
            text = self.log()
            self.folder.cleanup()
            raise RuntimeError(f"gantryd did not start: {text}")
        self.url = line.split()[-1]
        self.token = (self.state / "admin.token").read_text().strip()
        return self

    def __exit__(self, kind, error, _):
        evidence = self.evidence() if error and not isinstance(error, Failed) else None
        self.proc.send_signal(signal.SIGINT)
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        subprocess.run([BIN / "gantryd", "cleanup", "--state", self.state], check=False, capture_output=True, timeout=20)
        with contextlib.suppress(OSError):
            self.folder.cleanup()
        if evidence is not None:
            raise Failed(f"{kind.__name__}: {error}", evidence) from error

    # ---- what is done with it ----

    def say(self, text):
        """A line of what the check did, with the time since the daemon runs."""
        self.said.append(f"{time.monotonic():.2f} {text}")

    def cli(self, *words, check=True, timeout=60):
        run = subprocess.run([BIN / "gantry", *words, "--url", self.url, "--token-file", self.state / "admin.token"],
                             capture_output=True, text=True, timeout=timeout)
        if check and run.returncode:
            raise RuntimeError(f"gantry {words[0]}: {run.stderr}")
        return run.stdout or run.stderr

    def api(self, path, timeout=10):
        return json.loads(self.get(path, timeout)[0])

    def get(self, path, timeout):
        """The body and the headers; an answer that is no success is an error with its body."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.read(), reply.headers
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"GET {path}: {e.code} {e.read(2000).decode(errors='replace')}") from None

    def deploy(self, name, spec):
        path = self.dir / f"{name}.json"
        path.write_text(json.dumps(spec))
        self.cli("deploy", name, "--file", str(path))

    def call(self, name, path, timeout=60):
        """Seconds, the JSON that it answered, and which replica did."""
        begin = time.monotonic()
        body, headers = self.get(f"/f/{name}{path}", timeout)
        seconds = time.monotonic() - begin
        self.say(f"{name}{path}: {seconds:.2f} s by {headers['Gantry-Replica']}")
        return round(seconds, 3), json.loads(body), headers["Gantry-Replica"]

    def replicas(self, name):
        return self.api(f"/v1/functions/{name}/replicas")["items"]

    def node(self):
        """{} until its agent has reported."""
        return next(iter(self.api("/v1/nodes")["items"]), {})

    def wait(self, condition, what, limit_s):
        end = time.monotonic() + limit_s
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise RuntimeError(f"not within {limit_s} s: {what}")
            time.sleep(0.02)

    def wait_state(self, name, state, limit_s):
        return self.wait(lambda: [r for r in self.replicas(name) if r["state"] == state], f"a replica of {name} is {state}",
                         limit_s)[0]

    def wait_driver(self, limit_s=20):
        """Until it is known whether the driver checkpoints."""
        def known():
            told = self.node().get("gpu_driver", {})
            return told.get("state") in ("ready", "absent") and "loaded" not in told.get("checkpoints", "loaded") and told
        return self.wait(known, "the driver says whether it checkpoints", limit_s)

    # ---- what was to be seen ----

    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def evidence(self):
        """All that tells why; what can not be had is told so."""
        found = {"said": self.said[-60:]}
        asked = {"functions": lambda: self.api("/v1/functions")["items"], "node": self.node,
                 "ps": lambda: self.cli("ps", check=False, timeout=10).splitlines(),
                 "events": lambda: self.cli("events", check=False, timeout=10).splitlines()[-80:],
                 "log": lambda: self.log()[-TAIL:].splitlines()}
        for name, ask in asked.items():
            found[name] = tried(ask)
        for f in found["functions"] if isinstance(found["functions"], list) else []:
            name = f["name"]
            found[name] = {
                "replicas": tried(lambda n=name: self.replicas(n)),
                "explain": tried(lambda n=name: self.cli("explain", n, check=False, timeout=10).splitlines()),
                "logs": tried(lambda n=name: self.cli("logs", n, "--plain", check=False, timeout=10)[-TAIL:].splitlines())}
        found["functions"] = [f["name"] for f in found["functions"]] if isinstance(found["functions"], list) else found["functions"]
        return found


def tried(ask):
    try:
        return ask()
    except Exception as e:  # what failed is in the report already; this is about how
        return f"{type(e).__name__}: {e}"
