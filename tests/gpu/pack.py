"""The programs that the checks need: built where they can be, or brought along in a folder with all that they need."""
import os
import re
import shutil
import subprocess

from daemon import ROOT

TREE = "build/gpu-check"  # of its own: programs that look for libraries beside themselves
# What make builds, and where it lies in a tree.
PROGRAMS = ("gantryd", "gantry", "gantry-preflight")
TESTS = ("tests/bench/gpu/weights", "tests/unit/runtime/test_inject")
# The C library of the other machine is used, which must not be older.
NOT_PACKED = re.compile(r"(ld-linux|libc\.so|libm\.so|libpthread|libdl|librt|libresolv)")

HELP = """\
On a machine with compilers and the packages of scripts/packages.txt what is missing is built first. For one without:
  scripts/gpu-check --pack build/gpu-check-bin             here: programs, their libraries, the estimates (about 25 MB)
  BIN=build/gpu-check-bin scripts/gpu-check --seconds 300  there, with that folder and this tree
The C library there must not be older than the one here. Nothing is downloaded. PyTorch, transformers and nvcc are used where
they are there. The report is written after each step: a run that is cut off leaves what was measured."""


def missing(bin_dir):
    """As targets of make; nothing where programs were brought along."""
    if not bin_dir.is_relative_to(ROOT) or (bin_dir / "lib").is_dir():
        return []
    tree = bin_dir.relative_to(ROOT)
    wanted = [*(tree / name for name in PROGRAMS), tree / TESTS[0], tree / "plain" / TESTS[1]]
    return [str(path) for path in wanted if not (ROOT / path).exists()]


def make_missing(targets, timeout):
    from runner import Skip
    from tools import output

    if not targets:
        return
    tests = [t for t in targets if "/tests/" in t]
    try:
        output("make", "-C", str(ROOT), f"-j{os.cpu_count()}", "all", *tests, timeout=timeout)
    except RuntimeError as e:
        if not re.search(r"fatal error: \S+: No such file|cannot find -l", str(e)):
            raise
        raise Skip(f"packages of scripts/packages.txt are missing: {str(e)[-800:]}") from None


def libraries(program):
    """All that it is linked to, with what those are linked to, but for the C library: name -> path."""
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in lines:
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and not NOT_PACKED.match(name):
            found[name] = rest.split(" (")[0]
    return found


def pack(folder):
    """Programs with a run path of their own: none of them needs anything of the other machine but its C library."""
    tests = [f"{TREE}/{name}" for name in TESTS]
    subprocess.run(["make", "-C", str(ROOT), f"O={TREE}", "LDFLAGS=-Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib'", "all", *tests],
                   check=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lib").mkdir(exist_ok=True)
    for path in [*(ROOT / TREE / "bin" / name for name in PROGRAMS), *(ROOT / name for name in tests)]:
        subprocess.run(["strip", "-o", folder / path.name, path], check=True)
        (folder / path.name).chmod(0o755)
        for name, library in libraries(path).items():
            shutil.copy(library, folder / "lib" / name)
    estimates = subprocess.run([ROOT / "scripts/gpu_table.py", "--json"], check=True, capture_output=True, text=True,
                               env={**os.environ, "BIN": str(folder)}).stdout
    (folder / "gpu-estimates.json").write_text(estimates)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")
    return 0
