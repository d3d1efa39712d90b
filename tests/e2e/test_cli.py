"""The gantry command against a real daemon: what it prints, and with which exit code it ends."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from harness import BIN, OUT, ROOT, SLOW, echo_spec, probe_spec, until

DONE, FAILED, USAGE, ROLLOUT, DEADLINE, AUTH, CONFLICT, UNREACHABLE = range(8)
# The kernel makes user namespaces only for programs of one thread, and doctor says that there are none.
one_thread = pytest.mark.skipif(OUT.name == "thread", reason="the thread sanitizer has a thread of its own in each program")


@pytest.fixture
def cli(gantry):
    """Runs gantry; it finds the daemon by its state directory."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GANTRY_")}
    env["GANTRY_STATE"] = str(gantry.state)

    def run(*words, stdin=None, code=DONE, **more):
        done = subprocess.run([str(BIN / "gantry"), *map(str, words)], input=stdin, capture_output=True, text=True,
                              env={**env, **more}, cwd=ROOT, timeout=60 * SLOW, check=False)
        assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    run.env = env
    return run


@pytest.fixture
def spec_file(tmp_path, name):
    def write(spec):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(spec))
        return path

    return write


def test_explain(cli, gantry, name, spec_file):
    cli("deploy", spec_file(echo_spec(scale={"idle": "500ms"})))
    assert "no decision is kept" in cli("explain", name).stdout
    replica = gantry.call(name).headers["Gantry-Replica"]
    gantry.wait_zero(name)
    lines = cli("explain", name).stdout.splitlines()
    assert lines[0].startswith(f"{name} is idle, 0 ready, 0 wanted: "), lines
    assert "scale  0 -> 1 by queue: 0 in flight + 1 queued, target 16  [queue 1]" in lines[1], lines
    assert f"place  replica {replica} to node " in lines[2], lines
    assert re.search(r"  \[score -?\d+\]$", lines[2]), lines
    assert "scale  1 -> 0: idle for 500ms" in lines[-1], lines
    assert len(cli("explain", name, "-n", "1").stdout.splitlines()) == 2
    scale, place = json.loads(cli("explain", name, "--json").stdout)["items"][:2]
    assert scale["kind"] == "scale"
    assert [c["node"] for c in place["candidates"]] == [place["outcome"]["node"]] and place["limits"] == {}
    best = place["candidates"][0]
    assert best["score"] == best["room"] + best["ready"] + best["spread"]
    cli("explain", name, "--tail", "many", code=USAGE)
    cli("explain", "nobody", code=FAILED)


def test_the_way_from_a_file_to_an_answer(cli, name, spec_file):
    file = spec_file(echo_spec())
    assert cli("deploy", file).stdout == f"{name} created, revision 1\n"
    assert cli("deploy", file).stdout == f"{name} unchanged, revision 1\n"
    assert cli("deploy", file, "--max", 3).stdout == f"{name} changed, revision 2\n"
    assert cli("call", name, "/hello", "-d", "body").stdout.startswith("POST /hello")
    row = next(line for line in cli("ls").stdout.splitlines() if line.split()[0] == name)
    assert row.split()[1:3] == ["ready", "1/1"]
    assert cli("rm", name).stdout == f"{name} removed\n"
    assert name not in cli("ls", "-q").stdout.split()
    cli("get", name, code=FAILED)


def test_flags_alone_make_a_function(cli, name):
    image = echo_spec()["image"]
    cli("deploy", name, "-i", image, "-p", 8000, "-m", "32MiB", "-e", "COLOUR=blue", "--", "/echo")
    assert "COLOUR=blue" in cli("call", name, "/env").stdout


def test_get_spec_deploys_again_as_the_same(cli, name, spec_file):
    cli("deploy", spec_file(echo_spec()))
    text = cli("get", name, "--spec").stdout
    assert cli("deploy", name, "-", stdin=text).stdout == f"{name} unchanged, revision 1\n"


def test_dry_run_changes_nothing(cli, gantry, name, spec_file):
    assert "would be created" in cli("deploy", spec_file(echo_spec()), "--dry-run").stdout
    assert gantry.client.get(f"/v1/functions/{name}").status == 404


def test_a_mistake_in_the_file_names_its_place(cli, gantry, name, spec_file):
    spec = echo_spec()
    spec["resources"]["memroy"] = "1GiB"
    done = cli("deploy", spec_file(spec), code=FAILED)
    assert "resources.memroy" in done.stderr and '"memory"' in done.stderr
    done = cli("deploy", name, "-", stdin="{\n", code=FAILED)
    assert "line" in done.stderr
    assert gantry.client.get(f"/v1/functions/{name}").status == 404


def test_conditions_that_do_not_hold_exit_with_6(cli, name, spec_file):
    file = spec_file(echo_spec())
    cli("deploy", file, "--create")
    cli("deploy", file, "--max", 4, "--create", code=CONFLICT)
    cli("deploy", file, "--max", 4, "--if-match", "0" * 32, code=CONFLICT)
    etag = json.loads(cli("get", name, "--json").stdout)["etag"]
    cli("deploy", file, "--max", 4, "--if-match", etag)


def test_wrong_tokens_exit_with_5_and_no_daemon_with_7(cli, gantry):
    assert "GANTRY_TOKEN" in cli("ls", "--token", "wrong", code=AUTH).stderr
    assert "gantryd run" in cli("ls", code=UNREACHABLE, GANTRY_STATE="/nonexistent").stderr
    cli("ls", "--url", "http://127.0.0.1:1", code=UNREACHABLE)
    cli("ls", "--url", gantry.url, "--token-file", gantry.state / "admin.token", GANTRY_STATE="/nonexistent")
    cli("ls", GANTRY_URL=gantry.url, GANTRY_TOKEN=gantry.token, GANTRY_STATE="/nonexistent")


def test_wait_ends_when_it_serves(cli, name, spec_file):
    out = cli("deploy", spec_file(echo_spec(scale={"min": 1})), "--wait").stdout
    assert f"{name} is ready after" in out
    assert " ready " in cli("ps", name).stdout


def test_wait_exits_with_3_and_the_log_when_it_does_not_start(cli, name):
    done = cli("deploy", name, "-i", "host:", "-p", 8000, "--min", 1, "--wait", "--", "/bin/sh", "-c",
               "echo no licence; exit 3", code=ROLLOUT)
    assert "exited_early" in done.stderr and "| no licence" in done.stderr


def test_wait_exits_with_4_when_the_time_is_over(cli, name):
    done = cli("deploy", name, "-i", "host:", "-p", 8000, "--min", 1, "--wait", "--timeout", "300ms", "--",
               "/bin/sleep", 600, code=DEADLINE)
    assert f"{name} is starting" in done.stderr


def test_a_call_shows_why_the_start_failed(cli, name):
    cli("deploy", name, "-i", "host:", "-p", 8000, "--", "/bin/sh", "-c", "echo broken >&2; exit 9")
    done = cli("call", name, code=FAILED)
    assert done.stdout == ""
    for text in ("failed to start", "cause: exited_early", "exit code: 9", "| broken"):
        assert text in done.stderr, done.stderr
    assert json.loads(cli("call", name, "--json", code=FAILED).stderr)["code"] == "start_failed"


def test_a_cold_call_tells_where_the_time_went(cli, name, spec_file):
    cli("deploy", spec_file(echo_spec()))
    done = cli("call", name, "/", "-v")
    assert "200 in" in done.stderr and "start;dur=" in done.stderr


def test_a_call_takes_its_body_from_standard_input_and_files(cli, name, spec_file, tmp_path):
    cli("deploy", spec_file(echo_spec()))
    body = "x" * 300_000
    assert cli("call", name, "/", "-d", "-", stdin=body).stdout.endswith(body)
    (tmp_path / "body").write_text(body)
    assert cli("call", name, "/", "-X", "PUT", "-d", f"@{tmp_path / 'body'}").stdout.endswith(body)


def test_an_answer_is_written_as_it_comes(cli, name, spec_file):
    cli("deploy", spec_file(echo_spec()))
    cli("call", name)
    assert len(cli("call", name, "/stream?n=3&ms=10").stdout.splitlines()) == 3
    begin = time.monotonic()
    with subprocess.Popen([str(BIN / "gantry"), "call", name, "/stream?n=2&ms=60000"], env=cli.env, cwd=ROOT,
                          stdout=subprocess.PIPE, text=True) as proc:
        assert proc.stdout.readline() == "line 0\n"
        proc.kill()
    assert time.monotonic() - begin < 30, "it came with the end of all"


def test_logs_follow_until_interrupted(cli, gantry, name):
    gantry.put(name, probe_spec())
    gantry.ask(name, "/print?text=old&lines=2")
    until(lambda: "old 1" in cli("logs", name, "--plain").stdout, "history")
    assert " out old 0\n" in cli("logs", name, "--tail", 10).stdout
    with subprocess.Popen([str(BIN / "gantry"), "logs", name, "-f", "--plain"], env=cli.env, cwd=ROOT,
                          stdout=subprocess.PIPE, text=True) as proc:
        while proc.stdout.readline() != "old 1\n":
            assert proc.poll() is None
        gantry.ask(name, "/print?text=new&lines=1")
        while proc.stdout.readline() != "new 0\n":
            assert proc.poll() is None
        proc.send_signal(signal.SIGINT)
        assert proc.wait(20 * SLOW) == 130


def test_logs_follow_that_breaks_off_is_no_success(cli, gantry, name):
    gantry.shell(name, "echo here; sleep 60", scale={"min": 1})
    until(lambda: "here" in cli("logs", name).stdout, "history")
    with subprocess.Popen([str(BIN / "gantry"), "logs", name, "-f", "--plain"], env=cli.env, cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as proc:
        assert proc.stdout.readline() == "here\n"
        os.kill(gantry.roles()["agent"], signal.SIGKILL)
        assert proc.wait(20 * SLOW) == 1
        assert "follow again" in proc.stderr.read()


def test_events_tell_the_story(cli, name, spec_file):
    cli("deploy", spec_file(echo_spec()))
    cli("call", name)
    text = cli("events", name).stdout
    assert text.index("function.created") < text.index("replica.ready")
    lines = [json.loads(x) for x in text.splitlines()] if text.startswith("{") else text.splitlines()
    assert all(name in line for line in lines)
    assert len(cli("events", "--tail", 1).stdout.splitlines()) == 1


@pytest.mark.parametrize("words", [["ls"], ["nodes"], ["events"], ["ps"], ["version"], pytest.param(["doctor"], marks=one_thread),
                                   ["get", "NAME"], ["ps", "NAME"], ["events", "NAME"]], ids=" ".join)
def test_json_is_one_document(cli, gantry, name, words):
    gantry.echo(name)
    gantry.call(name)
    done = subprocess.run([str(BIN / "gantry"), *[name if w == "NAME" else w for w in words], "--json"],
                          capture_output=True, text=True, env=cli.env, cwd=ROOT, timeout=60 * SLOW, check=False)
    assert done.returncode in ((0, 1) if words == ["doctor"] else (0,)), done
    json.loads(done.stdout)


@one_thread
def test_doctor_finds_the_daemon_well(cli):
    done = subprocess.run([str(BIN / "gantry"), "doctor", "--json"], capture_output=True, text=True, env=cli.env,
                          cwd=ROOT, timeout=60 * SLOW, check=False)
    found = {x["check"]: x for x in json.loads(done.stdout)["items"]}
    for check in ("daemon", "daemon ready", "token", "nodes", "version", "namespaces", "overlay", "seccomp", "egress"):
        assert found[check]["state"] == "ok", found[check]


@pytest.mark.parametrize("line, state", [("joe:1879048191:1", "ok"), ("joe:1879048191:2", "warn"),
                                         ("joe:2141192191:9", "warn"), ("joe:2141192192:65536", "ok"),
                                         ("joe:18446744073709551615:9", "ok"), ("joe:1:18446744073709551615", "warn"), ("not a line", "ok")])
@pytest.mark.parametrize("path", ["/etc/subuid", "/etc/subgid"])
def test_doctor_warns_of_ids_that_containers_have(tmp_path, line, state, path):
    (tmp_path / "ids").write_text(f"ann:100000:65536\n{line}\n")
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here that a test could cover")
    script = f"mount --bind {tmp_path}/ids {path} && exec {BIN}/gantry doctor --json"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60 * SLOW,
                          check=False)
    found, = (x for x in json.loads(done.stdout)["items"] if x["check"] == "user ids")
    assert found["state"] == state, found
    if state == "warn":
        assert path in found["detail"] and "joe" in found["detail"] and "subid_base" in found["fix"]


def test_a_pipe_that_closes_ends_it_quietly(cli, gantry, name):
    gantry.echo(name)
    gantry.call(name)
    with subprocess.Popen([str(BIN / "gantry"), "call", name, "/bytes?n=50000000"], env=cli.env, cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as proc:
        proc.stdout.read(10)
        proc.stdout.close()
        assert proc.wait(20 * SLOW) in (141, -signal.SIGPIPE)
        assert proc.stderr.read() == b""
