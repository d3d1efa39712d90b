"""Each script of tests/vtc by varnishtest: its client and its server, with our gateway between them."""
import shutil
import subprocess

import pytest

from harness import ROOT, SLOW

SCRIPTS = sorted((ROOT / "tests/vtc").glob("*.vtc"))


@pytest.mark.skipif(not shutil.which("varnishtest"), reason="varnishtest is missing: install Debian's varnish")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(rig, script):
    rig.hang_up()  # the script's server listens there
    r = subprocess.run(["varnishtest", "-t", str(20 * SLOW), "-D", "gateway={}:{}".format(*rig.address),
                        "-D", "replica={} {}".format(*rig.replica_address), script],
                       capture_output=True, text=True, check=False)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr


def test_there_are_scripts():
    assert len(SCRIPTS) >= 20
