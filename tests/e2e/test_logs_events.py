"""What functions print and what happened: tail, follow, resume, bounds."""
import json

from harness import crash, until


def lines(reply):
    return [json.loads(line) for line in reply.text.splitlines()]


def logs(gantry, name, query="", **more):
    reply = gantry.client.get(f"/v1/functions/{name}/logs?{query}", **more)
    assert reply.status == 200, reply
    return lines(reply)


def test_both_streams_are_kept_in_order(gantry, name):
    gantry.probe(name)
    gantry.ask(name, "/print?text=out&lines=3")
    gantry.ask(name, "/print?text=err&lines=2&err=1")
    until(lambda: len([x for x in logs(gantry, name) if x["line"].startswith(("out ", "err "))]) == 5, "five lines")
    got = [(x["stream"], x["line"]) for x in logs(gantry, name) if x["line"].startswith(("out ", "err "))]
    assert got == [("stdout", f"out {i}") for i in range(3)] + [("stderr", f"err {i}") for i in range(2)]
    all_lines = logs(gantry, name)
    seqs = [x["seq"] for x in all_lines]
    assert seqs == sorted(seqs)
    assert {x["replica"] for x in all_lines} == {gantry.replicas(name, "ready")[0]["id"]}
    only = logs(gantry, name, "stream=stderr")
    assert only and all(x["stream"] == "stderr" for x in only)


def test_tail(gantry, name):
    gantry.probe(name)
    gantry.ask(name, "/print?text=t&lines=50")
    until(lambda: len(logs(gantry, name, "tail=1000")) >= 50, "fifty lines")
    assert [x["line"] for x in logs(gantry, name, "tail=5")] == [f"t {i}" for i in range(45, 50)]


def test_plain_text_for_people(gantry, name):
    gantry.probe(name)
    gantry.ask(name, "/print?text=plain&lines=1")

    def text():
        reply = gantry.client.get(f"/v1/functions/{name}/logs", headers={"Accept": "text/plain"})
        return reply if "plain 0" in reply.text else None

    reply = until(text, "the line")
    assert reply.headers["Content-Type"].startswith("text/plain")


def test_follow_gives_history_then_what_comes(gantry, name):
    gantry.probe(name)
    gantry.ask(name, "/print?text=old&lines=2")
    until(lambda: len(logs(gantry, name)) >= 2, "history")
    with gantry.client.stream("GET", f"/v1/functions/{name}/logs?follow=1") as answer:
        got = [next_line(answer)["line"] for _ in range(2)]
        gantry.ask(name, "/print?text=new&lines=2")
        got += [next_line(answer)["line"] for _ in range(2)]
    assert got == ["old 0", "old 1", "new 0", "new 1"]


def test_logs_of_an_ended_replica_are_kept(gantry, name):
    gantry.shell(name, "echo last words; exit 1")
    assert gantry.call(name).status == 503
    assert any(x["line"] == "last words" for x in logs(gantry, name))
    replica = gantry.replicas(name, "failed")[0]["id"]
    assert logs(gantry, name, f"replica={replica}")[0]["line"] == "last words"


def test_logs_survive_a_restart_of_the_agent(gantry, name):
    gantry.probe(name)
    gantry.ask(name, "/print?text=before&lines=1")
    until(lambda: any(x["line"] == "before 0" for x in logs(gantry, name)), "the line")
    crash(gantry, "agent")
    until(lambda: gantry.call(name).status == 200, "calls work")
    gantry.ask(name, "/print?text=after&lines=1")

    def both():
        try:
            got = [x["line"] for x in logs(gantry, name)]
        except AssertionError:
            return False
        return "before 0" in got and "after 0" in got

    until(both, "both lines")


def test_long_lines_are_cut_into_pieces(gantry, name):
    gantry.shell(name, "head -c 50000 /dev/zero | tr '\\0' L; echo; exit 1")
    assert gantry.call(name).status == 503
    until(lambda: sum(len(x["line"]) for x in logs(gantry, name)) == 50000, "all of it")
    assert max(len(x["line"]) for x in logs(gantry, name)) <= 16384


def test_odd_bytes_in_logs_are_valid_json(gantry, name):
    gantry.shell(name, "printf 'a\\000b\\033[31m\\377\\r\\n'; exit 1")
    assert gantry.call(name).status == 503
    assert logs(gantry, name)


def test_log_size_is_capped(gantry, name):
    gantry.probe(name, limits={"log": "256KiB"})
    for i in range(10):
        gantry.ask(name, f"/print?text={i}" + "x" * 1000 + "&lines=200")
    last = "9" + "x" * 1000 + " 199"  # after it no file of it comes or goes
    until(lambda: [x["line"] for x in logs(gantry, name, "tail=1")] == [last], "the newest line is there")
    size = sum(f.stat().st_size for f in (gantry.state / "agent/logs" / name).rglob("*"))
    assert size <= 2 * 256 * 1024, "old ones made room"


def test_flood_of_output_does_not_stop_the_function(gantry, name):
    gantry.probe(name, limits={"log": "1MiB"})
    gantry.ask(name, "/print?text=" + "f" * 100 + "&lines=200000")
    assert gantry.call(name).status == 200


def test_bad_log_parameters(gantry, name):
    gantry.echo(name)
    for query in ("tail=-1", "tail=x", "stream=both", "replica=../x", "tail=999999"):
        reply = gantry.client.get(f"/v1/functions/{name}/logs?{query}")
        assert reply.status in (400, 404), (query, reply)


# ---- events ---------------------------------------------------------------------------------
def test_events_are_ordered_and_paged(gantry, name):
    gantry.echo(name)
    gantry.call(name)
    items = gantry.events(function=name)
    ids = [int(e["id"]) for e in items]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert items[0]["type"] == "function.created" and items[0]["function"] == name
    seen, cursor = [], None
    while True:
        path = f"/v1/events?limit=2&function={name}" + (f"&after={cursor}" if cursor else "")
        body = gantry.client.get(path).json()
        seen += [int(e["id"]) for e in body["items"]]
        cursor = body["next_cursor"]
        if not cursor or not body["items"]:
            break
    assert seen[:len(ids)] == ids


def sse(answer):
    """One event of the stream as a dict of its fields; comments are skipped."""
    fields = {}
    while True:
        line = answer.readline().decode()
        assert line, "the stream ended"
        line = line.rstrip("\r\n")
        if line.startswith(":"):
            continue
        if not line:
            if fields:
                return fields
            continue
        key, _, value = line.partition(":")
        fields[key] = value.removeprefix(" ")


def test_events_follow_and_resume(gantry, name):
    headers = {"Accept": "text/event-stream"}
    gantry.echo(name)
    with gantry.client.stream("GET", f"/v1/events?follow=1&tail=10&function={name}", headers=headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        first = sse(answer)
        assert json.loads(first["data"])["type"] == "function.created"
        gantry.call(name)
        second = sse(answer)
    with gantry.client.stream("GET", f"/v1/events?follow=1&tail=10&function={name}",
                              headers={**headers, "Last-Event-ID": first["id"]}) as answer:
        assert sse(answer)["id"] == second["id"], "nothing is missed, nothing comes twice"


def next_line(answer):
    """Empty lines keep a quiet stream alive."""
    while True:
        line = answer.readline()
        assert line, "the stream ended"
        if line.strip():
            return json.loads(line)


def test_events_follow_as_lines(gantry, name):
    gantry.echo(name)
    with gantry.client.stream("GET", f"/v1/events?follow=1&tail=10&function={name}") as answer:
        assert next_line(answer)["type"] == "function.created"
        gantry.call(name)
        assert next_line(answer)["function"] == name


def test_cursor_that_is_too_old(gantry):
    reply = gantry.client.get("/v1/events?after=1")
    assert reply.status in (200, 410), reply
    if reply.status == 410:
        assert reply.slug == "cursor_gone"


def test_slow_follower_does_not_hold_up_others(gantry, name):
    gantry.echo(name)
    with gantry.client.stream("GET", "/v1/events?follow=1"):
        for i in range(30):
            gantry.echo(name, env={"N": str(i)})
        assert gantry.call(name).status == 200


def test_followers_leave_nothing_behind(gantry, name):
    import os
    gantry.echo(name)
    control = gantry.roles()["control"]

    def fds():
        return len(os.listdir(f"/proc/{control}/fd"))

    before = fds()
    for _ in range(20):
        with gantry.client.stream("GET", f"/v1/events?follow=1&tail=10&function={name}") as answer:
            answer.readline()
    until(lambda: fds() <= before + 2, "descriptors are back")
