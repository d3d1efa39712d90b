"""What is told of a run in which few tests failed that passed when their files were run again (scripts/e2e.sh)."""
import subprocess
import sys

import pytest

from harness import ROOT

CASE = '<testcase classname="{}" name="{}">{}</testcase>'


@pytest.fixture
def results(tmp_path):
    def run(verb, cases, *more):
        xml = tmp_path / "results.xml"
        xml.write_text("<testsuites><testsuite>" + "".join(CASE.format(*case) for case in cases) + "</testsuite></testsuites>")
        done = subprocess.run([sys.executable, ROOT / "scripts/e2e-results.py", verb, xml, *more], cwd=ROOT,
                              capture_output=True, text=True, check=False)
        assert not done.stderr
        return done.returncode, done.stdout.split("\n")[:-1]

    return run


FINE, LEFT_OUT = ("test_cli", "test_a", ""), ("test_cli", "test_b", "<skipped/>")
FAILED, TORN_DOWN = ("test_cli", "test_c[x.y/z]", "<failure/>"), ("test_kills", "test_d", "<error/>")


def test_all_are_counted(results):
    assert results("count", [FINE, LEFT_OUT, FAILED, TORN_DOWN]) == (0, ["e2e: 1 passed, 2 failed"])
    assert results("count", [FINE, LEFT_OUT]) == (0, ["e2e: 1 passed, 0 failed"])
    assert results("count", [LEFT_OUT]) == (0, ["e2e: 0 passed, 1 failed"])


def test_the_unsteady_are_named(results):
    assert results("count", [FINE, FAILED], "unsteady") == \
        (0, ["unsteady: test_cli::test_c[x.y/z] failed once, then its file passed twice", "e2e: 2 passed, 0 failed"])


def test_few_are_run_again_and_many_are_not(results):
    assert results("files", [FINE, FAILED, TORN_DOWN, ("test_cli", "test_e", "<failure/>")]) == \
        (0, ["tests/chaos/test_kills.py", "tests/e2e/test_cli.py"])
    assert results("files", [("test_cli", f"test_{i}", "<failure/>") for i in range(4)])[0] == 1


def test_a_file_that_can_not_be_read_is_not_run_again(results):
    assert results("files", [("", "test_cli", "<error/>")])[0] == 1
