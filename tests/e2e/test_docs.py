"""Every command of the tour works as printed.

A shell block marked `<!-- run -->` on the line before it is run, in order, in one shell per page.
When it is followed by a block marked `<!-- prints -->`, each line of that must appear in what was
printed; `...` in it stands for anything.
"""
import os
import re
import subprocess

import pytest

from harness import BIN, ROOT

PAGES = ["docs/TOUR.md"]
BLOCK = re.compile(r"<!-- (run|prints) -->\n+```[a-z]*\n(.*?)```", re.S)


def steps(page):
    found = []
    for kind, text in BLOCK.findall((ROOT / page).read_text()):
        if kind == "run":
            found.append([text, []])
        else:
            found[-1][1] += [line for line in text.splitlines() if line.strip()]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_tour_does_what_it_prints(gantry, page, tmp_path):
    blocks = steps(page)
    assert len(blocks) >= 5
    env = {**os.environ, "URL": gantry.url, "TOKEN": gantry.token, "HOME": str(tmp_path),
           "PATH": f"{BIN}:{os.environ['PATH']}", "GANTRY_STATE": str(gantry.state)}
    marks = "".join(f"printf '\\n@@{i}\\n' >&3\n{text}\n" for i, (text, _) in enumerate(blocks))
    # One shell, so that what an early block sets is there for a later one; fd 3 marks the blocks.
    run = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", f"exec 3>&1\n{marks}"], cwd=ROOT, env=env,
                         capture_output=True, text=True, timeout=240, check=False)
    printed = re.split(r"^@@\d+\n", run.stdout, flags=re.M)[1:]
    assert run.returncode == 0, f"block {len(printed)}:\n{blocks[len(printed) - 1][0]}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    for (text, expected), output in zip(blocks, printed, strict=True):
        for line in expected:
            pattern = ".*".join(re.escape(part) for part in line.strip().split("..."))
            assert re.search(pattern, output), f"{line!r} is not in what this printed:\n{text}\n{output}"


def test_pages_link_to_files_that_exist():
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("src/*/README.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_readme_names_the_commands_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme and "make check" in readme
    assert "make check" in (ROOT / ".ci/run").read_text()


@pytest.mark.skipif(BIN != ROOT / "build", reason="the demo runs what `make` puts into build/")
def test_demo_shows_a_cold_call_and_the_way_back_to_zero():
    demo = ROOT / "scripts/demo.sh"
    running = subprocess.run([demo, "status"], capture_output=True, check=False)
    if running.returncode == 0:
        pytest.skip("somebody's demo is running")
    try:
        shown = subprocess.run([demo], capture_output=True, text=True, timeout=80, check=False,
                               env={**os.environ, "DEMO": ""})
        assert shown.returncode == 0, shown.stdout + shown.stderr
        for words in ("listening on http://", "Call it cold", "GET /hello", "waiting for the start", "a sandbox is at hand",
                      "Call it warm", "no replica is left", "make demo-stop"):
            assert words in shown.stdout, (words, shown.stdout)
    finally:
        stopped = subprocess.run([demo, "stop"], capture_output=True, text=True, timeout=60, check=False)
    assert stopped.returncode == 0 and "have ended" in stopped.stdout, stopped
