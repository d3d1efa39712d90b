"""Devices of documents of the Container Device Interface: what a container gets, and what is refused."""
import json
import os
import stat

import subprocess

import pytest

from driver_root import VERSION, DriverRoot
from harness import BIN, Daemon, until

DOCUMENT = """
cdiVersion: 0.6.0
kind: test.gantry/toy
devices:
- name: one
  containerEdits:
    deviceNodes:
    - {path: /dev/toys/one, type: c, major: 60, minor: 1}
    - path: /dev/toys/null
      hostPath: /dev/null
    - {path: /dev/toys/read, major: 60, minor: 3, permissions: rm}
- name: two
  containerEdits:
    deviceNodes:
    - {path: /dev/toys/two, type: c, major: 60, minor: 2}
containerEdits:
  env: [TOY=yes, GANTRY_REPLICA=not]
  mounts:
  - {hostPath: FILE, containerPath: /opt/toy/libtoy.so.7, options: [ro, bind]}
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, create-symlinks, --link, "libtoy.so.7::/opt/toy/libtoy.so"]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /opt/toy]
"""
HOOK = {"cdiVersion": "0.6.0", "kind": "test.gantry/hook", "devices": [{"name": "x"}],
        "containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "/bin/touch", "args": ["touch", "RAN"]}]}}
SCRIPT = ("for d in one two null; do (exec 3</dev/toys/$d) 2>&1 && echo $d is open; done; (exec 3</dev/toys/read) 2>&1; (exec 3>/dev/toys/read) 2>&1; "
          "cat /opt/toy/libtoy.so; echo env $TOY $LD_LIBRARY_PATH $GANTRY_REPLICA; (echo x >/opt/toy/libtoy.so.7) 2>&1; "
          "echo said; exec sleep 1000")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("cdi")
    (tmp / "lib").write_text("the library\n")
    etc, run = tmp / "etc", tmp / "run"
    etc.mkdir()
    run.mkdir()
    (etc / "toy.yaml").write_text(DOCUMENT.replace("FILE", str(tmp / "lib")))
    (etc / "hook.json").write_text(json.dumps(HOOK).replace("RAN", str(tmp / "ran")))
    (etc / "open.json").write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "test.gantry/open",
                                               "devices": [{"name": "x"}]}))
    os.chmod(etc / "open.json", 0o666)
    (etc / "notes.txt").write_text("no document")
    return tmp


@pytest.fixture(scope="module")
def gantry(place):
    config = place / "gantryd.conf"
    config.write_text(f"[agent]\ncdi_dirs = {place}/etc:{place}/run\n"
                      "cdi_devices = test.gantry/toy=*, test.gantry/hook=x,test.gantry/open=x,test.gantry/none=x,nvidia.com/gpu=*\n"
                      f"gpu_proc = {place}/proc\n")
    daemon = Daemon(config=config)
    daemon.start()
    yield daemon
    daemon.stop()


def deploy(gantry, name, *devices, script=SCRIPT):
    gantry.put(name, {"image": "host:", "command": ["/bin/sh", "-c", script], "port": 8000, "scale": {"min": 1, "max": 1},
                      "resources": {"memory": "64MiB", "devices": list(devices)}})


def failure(gantry, name, *devices):
    deploy(gantry, name, *devices)
    end = until(lambda: next((r["end"] for r in gantry.replicas(name) if r.get("end")), None), f"{name} failed")
    gantry.client.request("DELETE", f"/v1/functions/{name}?force=1")
    assert end["cause"] == "device_unavailable", end
    return end["detail"]


def said(gantry, name):
    def logs():
        text = gantry.client.get(f"/v1/functions/{name}/logs").text
        return text if "said" in text else None
    return until(logs, "the program said it")


def test_a_device_brings_what_its_document_says(gantry):
    deploy(gantry, "toys", "test.gantry/toy=one")
    text = said(gantry, "toys")
    assert "cannot open /dev/toys/one: No such device or address" in text, text  # let through; no driver is behind it
    assert "cannot open /dev/toys/two: No such file" in text, text
    assert "null is open" in text, text
    assert "cannot open /dev/toys/read: No such device" in text, text
    assert "cannot create /dev/toys/read: Operation not permitted" in text, text
    assert '"line":"the library"' in text, text
    replica = gantry.replicas("toys")[0]["id"]
    assert f"env yes /opt/toy {replica}" in text, text
    assert "cannot create /opt/toy/libtoy.so.7: Read-only file system" in text, text
    gantry.client.request("DELETE", "/v1/functions/toys?force=1")


def test_two_of_one_document(gantry):
    deploy(gantry, "both", "test.gantry/toy=one", "test.gantry/toy=two")
    assert said(gantry, "both").count("No such device or address") == 3  # one, read, two
    gantry.client.request("DELETE", "/v1/functions/both?force=1")


def test_what_is_refused_says_why(gantry, place):
    assert "the operator does not allow the device test.gantry/other=x" in failure(gantry, "other", "test.gantry/other=x")
    assert "describes test.gantry/toy=three" in failure(gantry, "three", "test.gantry/toy=three")
    detail = failure(gantry, "hooks", "test.gantry/hook=x")
    assert "/bin/touch" in detail and "no hook is run here" in detail, detail
    assert not (place / "ran").exists()
    assert "only root can write" in failure(gantry, "open", "test.gantry/open=x")


def test_the_later_directory_wins(gantry, place):
    newer = json.dumps({"cdiVersion": "0.6.0", "kind": "test.gantry/toy", "devices": [
        {"name": "one", "containerEdits": {"env": ["TOY=newer"]}}]})
    (place / "run" / "toy.json").write_text(newer)
    deploy(gantry, "newer", "test.gantry/toy=one")
    assert "env newer" in said(gantry, "newer")
    (place / "run" / "again.json").write_text(newer)
    assert "keep one" in failure(gantry, "twice", "test.gantry/toy=one")
    for file in (place / "run").iterdir():
        file.unlink()
    gantry.client.request("DELETE", "/v1/functions/newer?force=1")


def test_a_name_that_is_none_is_refused_at_once(gantry):
    reply = gantry.client.request("PUT", "/v1/functions/bad?dry_run=1", {
        "image": "host:", "command": ["/bin/true"], "port": 1, "resources": {"devices": ["/dev/sda"]}})
    assert reply.status == 422 and reply.json()["errors"][0]["path"] == "resources.devices[0]", reply


def node_cdi(root):
    return subprocess.run([str(BIN / "gantry"), "node", "cdi", "--driver-root", str(root.driver), "--proc", str(root.proc)],
                          capture_output=True, text=True)


def test_the_nodes_own_document(gantry, place):
    """What `gantry node cdi` prints is read by the very daemon, and brings what it says."""
    root = DriverRoot(place, 2)
    run = node_cdi(root)
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert document["kind"] == "nvidia.com/gpu" and [d["name"] for d in document["devices"]] == root.uuids
    assert document["devices"][1]["containerEdits"]["deviceNodes"] == [
        {"path": "/dev/nvidia1", "type": "c", "major": 195, "minor": 1, "permissions": "rw"}]
    assert [n["path"] for n in document["containerEdits"]["deviceNodes"]] == [
        "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]
    assert {m["hostPath"] for m in document["containerEdits"]["mounts"]} >= {
        f"{root.driver}/usr/lib64/libcuda.so.{VERSION}", f"{root.driver}/usr/bin/nvidia-smi"}
    (place / "etc" / "nvidia.json").write_text(run.stdout)
    script = ("cd /dev; echo nodes nvidia*; (exec 3</dev/nvidia1) 2>&1; cat /usr/local/nvidia/lib64/libcuda.so.1; "
              "echo path $LD_LIBRARY_PATH $NVIDIA_DRIVER_CAPABILITIES; echo said; exec sleep 1000")
    deploy(gantry, "gpu", f"nvidia.com/gpu={root.uuids[1]}", script=script)
    text = said(gantry, "gpu")
    assert "nodes nvidia-uvm nvidia-uvm-tools nvidia1 nvidiactl" in text, text
    assert "cannot open /dev/nvidia1: No such device or address" in text, text
    assert '"line":"libcuda.so"' in text and "path /usr/local/nvidia/lib64 compute,utility,video" in text, text
    gantry.client.request("DELETE", "/v1/functions/gpu?force=1")


def test_a_node_without_a_driver_has_no_document(tmp_path):
    root = DriverRoot(tmp_path, 0)
    run = node_cdi(root)
    assert run.returncode == 1 and f"the driver {VERSION} is loaded, and it has no GPU" in run.stderr, run
    (root.proc / "driver/nvidia/version").unlink()
    run = node_cdi(root)
    assert run.returncode == 1 and "no NVIDIA driver is loaded" in run.stderr and not run.stdout, run


def test_nodes_of_the_host_are_as_they_were():
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and not os.path.exists("/dev/toys")
