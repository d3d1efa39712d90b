"""What a node does while control is away: what its functions' disconnect policy says."""
import os
import signal
import time

from harness import alive, echo_spec, until

STOP = {"disconnect": {"stop_after": "5s"}, "limits": {"drain": "1s"}}


def pid_of(gantry, name):
    return gantry.wait_replicas(name, 1)[0]["pid"]


def test_a_node_without_control_stops_what_asks_for_it(own):
    """Control stands still, so that its connections stay open: only what it acknowledges counts. The agent that began to
    count is killed: the next one goes on counting."""
    gantry = own()
    gantry.put("strict", echo_spec(**STOP, scale={"min": 1}))
    gantry.put("easy", echo_spec(scale={"min": 1}))
    strict, easy = pid_of(gantry, "strict"), pid_of(gantry, "easy")
    assert gantry.call("strict").status == 200 and gantry.call("easy").status == 200  # so the gateway knows both
    control = gantry.roles()["control"]
    os.kill(control, signal.SIGSTOP)
    began = time.monotonic()
    try:
        until(lambda: time.monotonic() - began > 3, "some of the time is over")
        assert alive(strict) and gantry.call("strict").status == 200
        agent = gantry.roles()["agent"]
        os.kill(agent, signal.SIGKILL)
        until(lambda: gantry.roles().get("agent") not in (None, agent), "the next agent", timeout=20)
        counts = time.monotonic()
        until(lambda: not alive(strict), "it is stopped without control", timeout=20)
        assert time.monotonic() - began > 3.5  # 5 from the last report, which was up to 1 s before
        assert time.monotonic() - counts < 4.5, "the next agent began anew"
        assert alive(easy) and gantry.call("easy").status == 200, "others serve on"
    finally:
        os.kill(control, signal.SIGCONT)
    until(lambda: [r for r in gantry.replicas("strict", "ready") if r["pid"] != strict], "it is given a new one", timeout=20)
    assert pid_of(gantry, "easy") == easy
    view = gantry.client.get("/v1/functions/strict").json()
    assert "last_failure" not in view and not view.get("failures"), view


def test_a_short_absence_stops_nothing(own):
    gantry = own()
    gantry.put("strict", echo_spec(**STOP, scale={"min": 1}))
    strict = pid_of(gantry, "strict")
    os.kill(gantry.roles()["control"], signal.SIGKILL)
    until(lambda: gantry.client.get("/v1/functions").status == 200, "control is back", timeout=20)
    assert pid_of(gantry, "strict") == strict and gantry.call("strict").status == 200


def test_a_replacement_may_not_be_asked_for_before_the_end(gantry):
    spec = echo_spec(disconnect={"stop_after": "1m", "lost_after": "30s"})
    reply = gantry.client.request("PUT", "/v1/functions/odd", spec)
    assert reply.status == 422 and reply.json()["errors"][0]["path"] == "disconnect.lost_after", reply


def test_a_replica_that_crashes_without_control_is_started_in_place(own):
    gantry = own()
    gantry.echo("f", scale={"min": 1})
    before = gantry.wait_replicas("f", 1)[0]
    assert gantry.call("f").status == 200  # so the gateway knows it
    supervisor = gantry.proc.pid
    os.kill(supervisor, signal.SIGSTOP)  # so that nobody brings control back
    try:
        os.kill(gantry.roles()["control"], signal.SIGKILL)
        for _ in range(2):  # and once more, after a pause
            pid = until(lambda: container_of(before["id"], gantry), "it runs", timeout=20)
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid), "it is dead")
            until(lambda: gantry.call("f", timeout=30).status == 200, "it serves again", timeout=30)
    finally:
        os.kill(supervisor, signal.SIGCONT)

    def same():
        now = gantry.replicas("f", "ready")
        return len(now) == 1 and now[0]["id"] == before["id"] and now[0]["pid"] != before["pid"]

    until(lambda: gantry.client.get("/v1/functions").status == 200, "control is back", timeout=20)
    until(same, "it finds the same replica with another process", timeout=20)
    assert gantry.call("f").headers["Gantry-Replica"] == before["id"]


def test_a_crash_that_control_knows_of_is_control_s(own):
    gantry = own()
    gantry.echo("f", scale={"min": 1})
    before = gantry.wait_replicas("f", 1)[0]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: [r for r in gantry.replicas("f", "ready") if r["id"] != before["id"]], "another one", timeout=20)
    assert gantry.call("f").headers["Gantry-Replica"] != before["id"]


def container_of(replica, gantry):
    """The pid that the agent has written down for it."""
    try:
        words = (gantry.state / "agent/replicas" / replica / "record").read_text().splitlines()[1].split()
    except (FileNotFoundError, IndexError):
        return None
    pid = int(words[4])
    return pid if alive(pid) else None
