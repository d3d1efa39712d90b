"""What several steps need: commands, a Python with what they want, programs of ours, a process with memory on the GPU."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

from daemon import BIN, ROOT
from runner import Skip

HERE = pathlib.Path(__file__).resolve().parent
GIB = 2**30
# The checks' own Python and the others of the machine, the first that has what is asked for.
PYTHONS = (sys.executable, "python3", "python", "/usr/bin/python3")
# Where programs lie that only tests have: flat in a packed folder, else as make leaves them.
PLACES = {"weights": "tests/bench/gpu", "test_inject": "plain/tests/unit/runtime"}


def output(*argv, timeout=30, **more):
    """The command's output; Skip when there is no such command."""
    try:
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                              **more).stdout.decode(errors="replace").strip()
    except FileNotFoundError:
        raise Skip(f"{argv[0]} is not installed") from None
    except subprocess.CalledProcessError as e:
        raise RuntimeError(f"{argv[0]}: exit status {e.returncode}: {e.stdout.decode(errors='replace')[-2000:]}") from None


def timed(call, *args):
    begin = time.monotonic()
    result = call(*args)
    return time.monotonic() - begin, result


def rounded(call, *args):
    return round(timed(call, *args)[0], 4)


def python_with(*modules, anyone=False):
    """A Python that finds these modules. anyone: also for a user who is nobody, as in a container."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if anyone and os.geteuid() == 0 else {}
    code = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in sys.argv[1:]))"
    for python in dict.fromkeys(filter(None, map(shutil.which, PYTHONS))):
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", code, *modules], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                              cwd="/", **user).returncode == 0:
                return python
    raise Skip(f"no Python here {'that anyone may use ' if anyone else ''}has {', '.join(modules) or 'its library'}")


def program(name):
    """A program of ours that runs here."""
    path = next((p for p in (BIN / name, BIN / PLACES.get(name, "") / name) if p.is_file()), None)
    if not path:
        raise Skip(f"{name} is not built")
    missing = [line.split()[0] for line in output("ldd", str(path)).splitlines() if "not found" in line]
    if missing:
        raise Skip(f"{name} does not run here: {', '.join(missing)} are missing")
    return path


def root_only():
    if os.geteuid() != 0:
        raise Skip("it needs root")


def daemon_runs_here():
    root_only()
    program("gantryd")


def daemon_has_a_gpu():
    daemon_runs_here()
    if not os.path.exists("/proc/driver/nvidia/version"):
        raise Skip("/proc/driver/nvidia is not there")


class Holder:
    """A process with memory on the GPU (hold.py)."""

    def __init__(self, kind, gib, python=sys.executable):
        self.proc = subprocess.Popen([python, str(HERE / "hold.py"), kind, str(gib)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, cwd=HERE)
        self.pid = self.proc.pid
        line = self.proc.stdout.readline()
        if line != b"ready\n":
            self.proc.wait()
            raise RuntimeError(f"hold.py {kind} {gib} did not get its memory")

    def ask(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()
        return self.proc.stdout.readline().decode().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.wait()


__all__ = ["BIN", "GIB", "HERE", "ROOT", "Holder", "Skip", "daemon_has_a_gpu", "daemon_runs_here", "output", "program",
           "python_with", "root_only", "rounded", "timed"]
