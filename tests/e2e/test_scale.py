"""From zero to one to many and back, and why."""
import csv
import json
import signal
import subprocess
import time

from harness import BIN, until


def status_of(gantry, name):
    return gantry.client.get(f"/v1/functions/{name}").json()


def test_zero_to_one_to_zero(gantry, name):
    gantry.echo(name, scale={"idle": "1s"})
    assert not gantry.running(name)
    assert gantry.call(name).status == 200
    assert len(gantry.replicas(name)) == 1
    begin = time.monotonic()
    assert gantry.call(name).status == 200
    gantry.wait_zero(name)
    assert time.monotonic() - begin > 0.5, "not before the idle window ended"
    assert status_of(gantry, name)["state"] == "idle"
    assert gantry.call(name).status == 200, "and up again"


def test_traffic_keeps_it_up(gantry, name):
    gantry.echo(name, scale={"idle": "2s"})
    first = gantry.call(name).headers["Gantry-Replica"]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert gantry.call(name, "/sleep?ms=100").headers["Gantry-Replica"] == first
    assert len(gantry.replicas(name)) == 1


def test_long_call_is_not_idleness(gantry, name):
    gantry.echo(name, scale={"idle": "500ms"})
    assert gantry.call(name, "/sleep?ms=2500").status == 200
    assert len(gantry.replicas(name)) == 1


def test_concurrency_makes_more_and_idle_makes_fewer(gantry, name):
    gantry.echo(name, scale={"max": 3, "concurrency": 1, "idle": "1s"})
    calls = [gantry.client.background("GET", f"/f/{name}/sleep?ms=1500") for _ in range(6)]
    seen = set()

    def three():
        up = gantry.running(name)
        assert len(up) <= 3, "never more than scale.max"
        seen.update(r["id"] for r in up)
        return len(gantry.replicas(name, "ready")) == 3

    until(three, "three replicas are ready")
    replies = [c.result() for c in calls]
    assert [r.status for r in replies] == [200] * 6
    assert len({r.headers["Gantry-Replica"] for r in replies}) == 3, "all of them worked"
    gantry.wait_zero(name)


def test_concurrency_limit_is_kept(gantry, name):
    """A replica with two slots never sees three calls at once."""
    gantry.probe(name, scale={"max": 1, "concurrency": 2})
    gantry.call(name)
    calls = [gantry.client.background("GET", f"/f/{name}/hang?s=0.3") for _ in range(8)]
    most = 0
    while any(c.thread.is_alive() for c in calls):
        most = max(most, status_of(gantry, name)["in_flight"])
    assert [c.result().status for c in calls] == [200] * 8
    assert most <= 2


def test_min_is_kept_without_any_call(gantry, name):
    gantry.echo(name, scale={"min": 2, "idle": "500ms"})
    up = gantry.wait_replicas(name, 2)
    time.sleep(1.5)
    assert {r["id"] for r in gantry.wait_replicas(name, 2)} == {r["id"] for r in up}


def test_min_is_restored_after_a_death(gantry, name):
    import os
    import signal
    gantry.echo(name, scale={"min": 1})
    first = gantry.wait_replicas(name, 1)[0]
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: [r for r in gantry.replicas(name, "ready") if r["id"] != first["id"]],
          "another one is ready")


def test_lower_min_lets_them_go(gantry, name):
    gantry.echo(name, scale={"min": 2, "idle": "500ms"})
    gantry.wait_replicas(name, 2)
    gantry.echo(name, scale={"min": 0, "idle": "500ms"})
    gantry.wait_zero(name)


def test_starting_replica_is_not_stopped_for_idleness(gantry, name):
    """The caller has left, the start goes on: its result serves the next one."""
    gantry.put(name, {"image": "host:", "port": 8000, "scale": {"idle": "500ms"}, "command": [
        "/bin/sh", "-c", "sleep 1.5; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT"]})
    waiting = gantry.client.open("GET", f"/f/{name}/")
    until(lambda: gantry.replicas(name, "starting"), "it starts")
    waiting.close()
    until(lambda: [e for e in gantry.events(function=name) if e["type"] == "replica.ready"], "it was ready")
    gantry.wait_zero(name)
    assert not gantry.replicas(name, "failed")


def test_events_tell_why(gantry, name):
    gantry.echo(name, scale={"idle": "500ms"})
    gantry.call(name)
    gantry.wait_zero(name)

    def types():
        return [e["type"] for e in gantry.events(function=name)]

    until(lambda: {"function.created", "scale.up", "replica.ready", "scale.down", "replica.stopped"}
          <= set(types()), "the story is told")
    by_type = {e["type"]: e for e in gantry.events(function=name)}
    assert "idle" in by_type["scale.down"]["text"]
    assert by_type["scale.up"]["text"]
    order = types()
    assert order.index("scale.up") < order.index("replica.ready") < order.index("scale.down")


def test_decisions_say_what_was_known_and_what_came_of_it(gantry, name):
    gantry.echo(name, scale={"max": 2, "concurrency": 1, "idle": "500ms"})
    path = f"/v1/functions/{name}/autoscaler/decisions"
    assert gantry.client.get(path).json()["items"] == [], "never called: nothing was decided"
    replica = gantry.call(name).headers["Gantry-Replica"]
    gantry.wait_zero(name)
    items = gantry.client.get(path).json()["items"]
    up, place = items[0], items[1]
    assert up["kind"] == "scale" and up["rule"] == "queue", up
    assert up["inputs"]["queued"] == 1 and up["inputs"]["ready"] == 0 and up["inputs"]["max"] == 2, up
    assert up["alternatives"]["queue"] == 1 and up["outcome"]["need"] == 1, up
    assert place["kind"] == "place" and place["outcome"]["replica"] == replica, place
    assert place["outcome"]["node"] == gantry.client.get("/v1/nodes").json()["items"][0]["name"]
    kept = next(d for d in items if d["kind"] == "scale" and d["outcome"]["need"] == 0)
    assert kept["outcome"]["wanted"] == 1 and kept["outcome"]["again_in_ms"] <= 500, kept
    down = items[-1]
    assert down["outcome"] == {"need": 0, "wanted": 0}, down
    assert [d["id"] for d in items] == sorted(d["id"] for d in items)

    first = gantry.client.get(f"{path}?limit=1").json()
    assert [d["id"] for d in first["items"]] == [up["id"]]
    rest = gantry.client.get(f"{path}?cursor={first['next_cursor']}").json()
    assert rest == {"items": items[1:], "next_cursor": None}
    assert gantry.client.get(f"{path}?tail=1").json()["items"] == [down]
    assert gantry.client.get("/v1/functions/nobody/autoscaler/decisions").status == 404


def test_a_candidate_is_billed_and_the_run_recorded(own, tmp_path):
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[control]\nrecord = yes\nshadow = gantry buffer=1\n")
    daemon = own(config=conf)
    daemon.echo("f", scale={"max": 2, "idle": "500ms"})
    path = "/v1/functions/f/autoscaler/shadow"
    assert daemon.client.get(path).json()["live"] == {"replica_seconds": 0, "waiting_seconds": 0, "starts": 0}
    assert daemon.call("f", "/sleep?ms=300").status == 200
    daemon.wait_zero("f")
    bills = daemon.client.get(path).json()
    assert bills["candidate"] == "gantry buffer=1", bills
    assert bills["live"]["starts"] == 1 and bills["live"]["replica_seconds"] > 0.3, bills
    assert bills["shadow"]["replica_seconds"] > bills["live"]["replica_seconds"], bills
    assert daemon.client.get("/v1/functions/nobody/autoscaler/shadow").status == 404

    record = daemon.state / "control" / "decisions.csv"
    until(lambda: any(r["need_rule"] == "queue" for r in csv.DictReader(record.open())), "the record is written")
    daemon.client.request("DELETE", "/v1/functions/f")
    until(lambda: [r["event"] for r in csv.DictReader(record.open())][-1:] == ["gone"], "and when f was forgotten")

    def replay(*words, code=0):
        done = subprocess.run([str(BIN / "gantry"), "simulate", "replay", "--record", str(record), *words],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    assert "every decision is the same" in replay()
    again = json.loads(replay("--json", "--candidate", "gantry buffer=1"))
    assert again["differing"] == 0 and again["functions"] == 1, again
    for who in ("live", "shadow"):  # the daemon's bills ended a moment earlier
        assert again[who]["starts"] == bills[who]["starts"], (again, bills)
        assert again[who]["replica_seconds"] >= bills[who]["replica_seconds"] - 1e-6, (again, bills)
    record = tmp_path / "other.csv"
    record.write_text((daemon.state / "control" / "decisions.csv").read_text().replace(",queue,", ",min,", 1))
    assert "1 decisions differ; the first at line " in replay(code=1)


def test_what_was_learned_outlives_control(own, tmp_path):
    """Found replicas keep the windows that they had, and a record of that replays from there."""
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[control]\nrecord = yes\n")
    daemon = own(config=conf)
    daemon.echo("f", scale={"idle": "60s"})
    replica = daemon.call("f").headers["Gantry-Replica"]
    directory = daemon.state / "control"

    def rows():
        return [r for r in csv.DictReader((directory / "decisions.csv").open())
                if r["function"] == "f" and r["event"] == "decide"]

    until(lambda: [(r["ready"], r["in_flight"], r["queued"]) for r in rows()][-1:] == [("1", "0", "0")],
          "control knows that the call is over")
    start_ms = status_of(daemon, "f")["start_ms"]
    assert not (directory / "decisions.learned").exists()

    def again(end):
        end()
        daemon.start()
        until(lambda: any(r["ready"] == "1" for r in rows()), "the replica is found")
        assert [r["id"] for r in daemon.running("f")] == [replica]
        assert status_of(daemon, "f")["start_ms"] == start_ms
        return {r["renew"] for r in rows()}

    def replay(*words):
        return subprocess.run([str(BIN / "gantry"), "simulate", "replay", "--record",
                               str(directory / "decisions.csv"), *words],
                              capture_output=True, text=True, timeout=60, check=False)

    assert again(lambda: daemon.signal(signal.SIGTERM)) == {"0"}, "its window goes on"
    assert "give the file" in replay().stderr
    done = replay("--learned", str(directory / "decisions.learned"))
    assert done.returncode == 0 and "every decision is the same" in done.stdout, (done.stdout, done.stderr)
    assert "1" in again(daemon.kill_everything), "nobody knows what happened: a whole window"
    daemon.signal(signal.SIGTERM)
    (directory / "learned.bin").write_bytes((directory / "learned.bin").read_bytes()[:-1])
    daemon.start()
    until(lambda: daemon.running("f"), "it is found without, too")
    assert "control/learned.bin is not used, the autoscaler learns anew" in daemon.log()
    assert not (directory / "decisions.learned").exists()


def test_no_candidate_is_no_bill(gantry, name):
    gantry.echo(name)
    answer = gantry.client.get(f"/v1/functions/{name}/autoscaler/shadow")
    assert answer.status == 404 and "shadow" in answer.json()["detail"]
    assert not (gantry.state / "control" / "decisions.csv").exists()
