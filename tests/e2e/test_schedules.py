"""Calls that are made by the clock: each due time has one, over restarts; and a replica is ready for it."""
import datetime
import json
import os
import signal
import sqlite3
import time

import pytest

from harness import Daemon, until


@pytest.fixture
def plan(gantry, name):
    """Puts a schedule of the test's name; it is gone after the test."""
    made = []

    def put(spec, status=201, query="", headers=None, daemon=gantry):
        reply = daemon.client.request("PUT", f"/v1/schedules/{name}{query}", json.dumps({"function": name, **spec}),
                                      {"Content-Type": "application/json", **(headers or {})})
        assert reply.status == status, reply
        made.append(name)
        return reply.json()
    yield put
    if made:
        gantry.client.request("DELETE", f"/v1/schedules/{name}")


def ask(daemon, name, verb=""):
    method = "POST" if verb else "GET"
    return daemon.client.request(method, f"/v1/schedules/{name}{verb and '/' + verb}")


def calls(daemon, name, **query):
    more = "".join(f"&{k}={v}" for k, v in query.items())
    reply = daemon.client.get(f"/v1/calls?schedule={name}&limit=1000{more}")
    assert reply.status == 200, reply
    return reply.json()["items"]


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_schedule_makes_calls(gantry, name, plan):
    gantry.echo(name)
    made = plan({"every": "1s", "path": "/x", "body": {"n": 7}, "priority": "high", "catch_up": "all"})
    assert made["outcome"] == "created" and len(made["next"]) == 5
    until(lambda: len(calls(gantry, name, state="succeeded")) >= 3, "three calls")
    done = calls(gantry, name, state="succeeded")
    for call in done:
        assert call["schedule"] == name and call["priority"] == "high"
        due = datetime.datetime.fromtimestamp(seconds(call["scheduled"]), datetime.timezone.utc)
        assert call["id"] == f"{name}-{due:%Y%m%dT%H%M%SZ}"
    dues = sorted(seconds(call["scheduled"]) for call in calls(gantry, name))
    assert all(b - a == 1 for a, b in zip(dues, dues[1:])), dues
    answer = gantry.client.get(f"/v1/calls/{done[0]['id']}/result")
    assert answer.text == 'POST /x\n{"n":7}'
    last = ask(gantry, name).json()["last"]
    assert last["call"].startswith(name + "-2")


def test_put_is_repeatable(gantry, name, plan):
    gantry.echo(name)
    first = plan({"cron": "0 6 * * mon-fri", "zone": "Europe/Berlin"})
    again = plan({"zone": "Europe/Berlin", "cron": "0 6 * * mon-fri"}, 200)
    assert again["outcome"] == "unchanged" and again["etag"] == first["etag"]
    assert again["created_at"] == first["created_at"] and again["due"] == first["due"]
    plan({"cron": "@daily"}, 412, headers={"If-Match": '"other"'})
    plan({"cron": "@daily"}, 412, headers={"If-None-Match": "*"})
    dry = plan({"cron": "@daily"}, 200, "?dry_run=1")
    assert dry["outcome"] == "changed" and dry["dry_run"]
    assert ask(gantry, name).json()["etag"] == first["etag"]
    changed = plan({"cron": "@daily"}, 200, headers={"If-Match": f'"{first["etag"]}"'})
    assert changed["outcome"] == "changed" and changed["due"].endswith("T00:00:00.000Z"), changed
    assert name in [s["name"] for s in gantry.client.get("/v1/schedules").json()["items"]]


@pytest.mark.parametrize("spec, slug, path", [
    ({"cron": "61 * * * *"}, "invalid_schedule", "cron"),
    ({"cron": "@reboot"}, "invalid_schedule", "cron"),
    ({"cron": "@daily", "zone": "Middle/Earth"}, "invalid_schedule", "zone"),
    ({"cron": "@daily", "zone": "../../etc/passwd"}, "invalid_schedule", "zone"),
    ({"cron": "@daily", "every": "1h"}, "invalid_schedule", "every"),
    ({"every": "1h", "zone": "UTC"}, "invalid_schedule", "zone"),
    ({"every": "100ms"}, "invalid_schedule", "every"),
    ({}, "invalid_schedule", "cron"),
    ({"cron": "@daily", "catch_up": "some"}, "invalid_schedule", "catch_up"),
    ({"cron": "@daily", "body": 1, "text": "1"}, "bad_parameter", "text"),
    ({"cron": "@daily", "callback": "ftp://x"}, "invalid_schedule", "callback"),
    ({"cron": "@daily", "text": "x" * 65537}, "invalid_schedule", "text"),
    ({"cron": "@daily", "function": "none-such"}, "function_not_found", "function"),
])
def test_what_is_no_schedule(gantry, name, spec, slug, path):
    gantry.echo(name)
    reply = gantry.client.request("PUT", f"/v1/schedules/{name}", json.dumps({"function": name, **spec}))
    assert reply.slug == slug and reply.json()["errors"][0]["path"] == path, reply
    assert ask(gantry, name).slug == "schedule_not_found"


def test_one_that_is_paused_makes_none_and_runs_at_once(gantry, name, plan):
    gantry.echo(name)
    plan({"every": "1s"})
    until(lambda: calls(gantry, name), "a call")
    paused = ask(gantry, name, "pause").json()
    assert paused["paused"] and "due" not in paused
    reply = gantry.client.request("POST", f"/v1/schedules/{name}/run", b"", {"Idempotency-Key": "k"})
    assert reply.status == 202 and reply.json()["schedule"] == name
    same = gantry.client.request("POST", f"/v1/schedules/{name}/run", b"", {"Idempotency-Key": "k"})
    assert same.json()["id"] == reply.json()["id"] and same.headers["Idempotent-Replay"]
    end = gantry.client.get(f"/v1/calls/{reply.json()['id']}?wait=20s").json()
    assert end["state"] == "succeeded", end
    before, since = {c["id"] for c in calls(gantry, name)}, time.time() // 0.001 / 1000  # the daemon counts in ms
    resumed = ask(gantry, name, "resume").json()
    made = until(lambda: [c for c in calls(gantry, name) if c["id"] not in before], "a call after it was resumed")
    assert all(seconds(c["scheduled"]) >= since for c in made), (resumed, made)
    gone = gantry.client.request("DELETE", f"/v1/schedules/{name}")
    assert gone.json() == {"name": name, "deleted": True}
    for verb in ("", "pause", "resume", "run"):
        assert ask(gantry, name, verb).slug == "schedule_not_found"


@pytest.fixture
def own():
    daemon = Daemon()
    daemon.start()
    daemon.echo("f")
    yield daemon
    daemon.stop()


def say(daemon, name, **spec):
    reply = daemon.client.request("PUT", f"/v1/schedules/{name}", json.dumps({"function": "f", **spec}))
    assert reply.status == 201, reply
    return reply.json()


def answers(daemon):
    try:
        return daemon.client.get("/v1/schedules").status == 200
    except OSError:
        return False


def test_no_time_is_missed_or_made_twice_over_restarts(own):
    """catch_up all: control dies between any two instructions, and every due time has one call."""
    first = seconds(say(own, "tick", every="1s", catch_up="all")["due"])
    until(lambda: calls(own, "tick"), "the first call")
    kills = 0
    while kills < 5 or len(calls(own, "tick")) < 5:
        kills += 1
        before = own.roles()["control"]
        os.kill(before, signal.SIGKILL)
        until(lambda: own.roles().get("control") not in (None, before) and answers(own), "another control")
    ask(own, "tick", "pause")
    dues = sorted(seconds(c["scheduled"]) for c in calls(own, "tick"))
    assert dues == [first + i for i in range(len(dues))], (kills, dues)


def test_missed_times_are_made_up_for_once(own):
    """The daemon was away for an hour, by what its database says."""
    for name in ("none", "one", "all"):
        say(own, name, every="1m", catch_up=name)
        say(own, f"{name}-paused", every="1m", catch_up=name)
        ask(own, f"{name}-paused", "pause")
    own.kill_everything()
    with sqlite3.connect(own.state / "control" / "gantry.db") as db:
        db.execute("UPDATE schedules SET next_ms = next_ms - 3600000")
    db.close()
    own.start()
    until(lambda: len(calls(own, "all")) >= 60, "those that were missed")
    ask(own, "all-paused", "resume")
    assert 60 <= len(calls(own, "all")) <= 61 and len(calls(own, "one")) == 1
    until(lambda: "passed" in ask(own, "one").json(), "the others were passed")
    now = time.time()
    assert all(now - seconds(c["scheduled"]) < 62 for c in calls(own, "one") + calls(own, "none"))
    assert ask(own, "one").json()["passed"]["reason"] == "missed"
    due = seconds(ask(own, "all-paused").json()["due"])
    until(lambda: seconds(ask(own, "all-paused").json()["due"]) > now, f"it goes on behind {due}")
    assert not calls(own, "all-paused") and not calls(own, "one-paused")


def test_one_without_a_function_passes(own):
    say(own, "tick", every="1s")
    own.delete("f")
    until(lambda: ask(own, "tick").json().get("passed", {}).get("reason") == "function_not_found", "it passed")
    were = len(calls(own, "tick"))
    own.echo("f")
    until(lambda: len(calls(own, "tick")) > were, "a call of the new one")


def test_a_replica_is_ready_ahead_of_the_call(gantry, name, plan):
    gantry.probe(name, command=["/bin/sh", "-c", "sleep 0.7; exec /usr/bin/python3 /app/probe.py"],
                 scale={"idle": "0s"})
    plan({"every": "5s"})
    done = {}

    def four():
        done.update({c["id"]: c for c in calls(gantry, name, state="succeeded")})
        return len(done) >= 4
    until(four, "four calls", timeout=40)
    asked = {e["replica"]: e for e in gantry.events(function=name) if e["type"] == "replica.pending"}
    for call in done.values():
        attempts = gantry.client.get(f"/v1/calls/{call['id']}").json()["attempts"]
        event = asked[attempts[-1]["replica"]]
        assert event["text"].endswith("schedule") and seconds(event["ts"]) < seconds(call["scheduled"]), (event, call)
    rules = [d.get("rule") for d in
             gantry.client.get(f"/v1/functions/{name}/autoscaler/decisions").json()["items"]]
    assert "schedule" in rules, rules
    cold = plan({"every": "5s", "warm": False}, 200)
    assert cold["spec"]["warm"] is False
