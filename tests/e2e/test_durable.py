"""Durable calls: accepted once and never lost, run at least once, one recorded result."""
import http.client
import json
import os
import signal
import time

import pytest

from harness import crash, until


def submit(gantry, name, body=b"x", headers=None, query=""):
    reply = gantry.client.request("POST", f"/v1/functions/{name}/calls{query}", body,
                                  {"Prefer": "respond-async", **(headers or {})})
    assert reply.status == 202, reply
    return reply.json()


def show(gantry, call, wait=None):
    reply = gantry.client.get(f"/v1/calls/{call}" + (f"?wait={wait}" if wait else ""))
    assert reply.status == 200, reply
    return reply.json()


def ended(gantry, call, state="succeeded"):
    view = show(gantry, call, "20s")
    assert view["state"] == state, view
    return view


def test_a_call_is_accepted_runs_and_has_a_result(gantry, name):
    gantry.echo(name)
    reply = gantry.client.request("POST", f"/v1/functions/{name}/calls?path=/a?b=1", b"hello",
                                  {"Prefer": "respond-async", "Content-Type": "text/x-test"})
    assert reply.status == 202, reply
    call = reply.json()
    assert reply.headers["Location"] == f"/v1/calls/{call['id']}"
    assert reply.headers["Preference-Applied"] == "respond-async" and reply.headers["Retry-After"]
    view = ended(gantry, call["id"])
    (attempt,) = view["attempts"]
    # The replica may have been ready by the time the gateway got the call: it is started by the one that is queued.
    assert attempt["status"] == 200 and attempt["revision"] == 1 and attempt["start_ms"] >= 0
    assert attempt["replica"] == gantry.replicas(name, "ready")[0]["id"]
    result = gantry.client.get(f"/v1/calls/{call['id']}/result")
    assert result.status == 200 and result.text == "POST /a?b=1\nhello"
    assert result.headers["Gantry-Call-Id"] == call["id"] and result.headers["Gantry-Attempt"] == "1"


def test_the_answer_is_waited_for(gantry, name):
    gantry.echo(name)
    reply = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"now")
    assert reply.status == 200 and reply.text.endswith("now"), reply
    slow = gantry.client.request("POST", f"/v1/functions/{name}/calls?path=/sleep?ms=60000", b"",
                                 {"Prefer": "wait=1"})
    assert slow.status == 202, slow
    assert slow.headers["Preference-Applied"] == "wait"
    early = gantry.client.get(f"/v1/calls/{slow.json()['id']}/result")
    assert early.status == 202 and early.headers["Retry-After"]
    assert gantry.client.request("DELETE", f"/v1/calls/{slow.json()['id']}").status == 200
    call = submit(gantry, name, b"late", query="?path=/sleep?ms=500")
    late = gantry.client.get(f"/v1/calls/{call['id']}/result?wait=20s")
    assert late.status == 200, late


def test_no_call_is_accepted_for_nothing(gantry, name):
    reply = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"")
    assert reply.status == 404 and reply.slug == "function_not_found"
    gantry.echo(name)
    for headers, query in (({"Prefer": "wait=soon"}, ""), ({"Gantry-Deadline": "0"}, ""),
                           ({"Gantry-Priority": "urgent"}, ""), ({"Idempotency-Key": '""'}, ""),
                           ({}, "?method=TRACE"), ({}, "?path=nowhere"), ({}, "?paht=/")):
        reply = gantry.client.request("POST", f"/v1/functions/{name}/calls{query}", b"", headers)
        assert reply.status == 400 and reply.slug == "bad_parameter", (headers, query, reply)
    for path in ("", "/result", "/events"):
        reply = gantry.client.get(f"/v1/calls/none-such{path}")
        assert reply.status == 404 and reply.slug == "call_not_found"
    assert gantry.client.request("POST", f"/v1/functions/{name}/calls", b"", token=None).status == 401


def test_the_same_request_is_one_call(gantry, name):
    gantry.echo(name)
    key = {"Idempotency-Key": '"build-7"'}
    first = submit(gantry, name, b"one", key)
    again = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"one",
                                  {"Prefer": "respond-async", **key})
    assert again.json()["id"] == first["id"] and again.headers["Idempotent-Replay"] == "true"
    other = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"two", key)
    assert other.status == 422 and other.slug == "idempotency_mismatch"
    ended(gantry, first["id"])
    late = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"one", key)
    assert late.status == 200 and late.text.endswith("one")
    mine = f"mine-{name}"
    for _ in range(2):
        reply = gantry.client.request("PUT", f"/v1/calls/{mine}?function={name}", b"three")
        assert reply.status == 200 and reply.headers["Gantry-Call-Id"] == mine
    reply = gantry.client.request("PUT", f"/v1/calls/{mine}?function={name}", b"four")
    assert reply.status == 422


def test_large_bodies_pass_both_ways(gantry, name):
    gantry.echo(name)
    body = os.urandom(3 << 20)
    call = submit(gantry, name, body)
    ended(gantry, call["id"])
    assert gantry.client.get(f"/v1/calls/{call['id']}/result").body.endswith(body)
    reply = gantry.client.request("POST", f"/v1/functions/{name}/calls", b"x" * ((16 << 20) + 1))
    assert reply.status == 413 and reply.json()["limit"] == 16 << 20


def test_a_batch_is_many_calls_with_an_answer_a_line(gantry, name):
    gantry.echo(name, scale={"max": 2})
    lines = [json.dumps({"body": {"n": i}, "path": f"/{i}"}) for i in range(1000)]
    lines[3] = '{"bodi": 1}'
    lines[5] = "no json"
    reply = gantry.client.request("POST", f"/v1/functions/{name}/batches", "\n".join(lines),
                                  {"Content-Type": "application/x-ndjson"})
    assert reply.status == 202, reply
    answers = [json.loads(line) for line in reply.text.splitlines()]
    end = answers.pop()
    assert end["accepted"] == 998 and end["refused"] == 2
    assert sorted(a["line"] for a in answers) == list(range(1, 1001))
    errors = {a["line"]: a["error"] for a in answers if "error" in a}
    assert errors[4]["path"] == "bodi" and errors[6]["code"] == "malformed_json"
    first = next(a["id"] for a in answers if a["line"] == 1)
    ended(gantry, first)
    result = gantry.client.get(f"/v1/calls/{first}/result")
    assert result.text == 'POST /0\n{"n":0}'

    def done():
        page = gantry.client.get(f"/v1/calls?batch={end['batch']}&state=queued,waiting,running").json()
        return not page["items"]

    until(done, "the batch is done", 60)
    seen, cursor = 0, "0"
    while cursor:
        page = gantry.client.get(f"/v1/calls?batch={end['batch']}&state=succeeded&limit=300"
                                 f"&cursor={cursor}").json()
        seen += len(page["items"])
        cursor = page["next_cursor"]
    assert seen == 998


def test_events_can_be_read_on_from_any_of_them(gantry, name):
    gantry.echo(name)
    call = submit(gantry, name)

    def events(headers=None):
        reply = gantry.client.get(f"/v1/calls/{call['id']}/events", headers=headers)
        assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
        return [b for b in reply.text.split("\n\n") if b.startswith("id:")]

    whole = events()
    kinds = [json.loads(b.split("data: ")[1])["event"] for b in whole]
    assert kinds == ["accepted", "attempt", "succeeded"]
    for n in range(4):
        assert events({"Last-Event-ID": str(n)}) == whole[n:]


def test_a_call_can_be_cancelled_and_replayed(gantry, name):
    gantry.echo(name)
    call = submit(gantry, name, query="?path=/sleep?ms=60000")
    until(lambda: gantry.client.get(f"/v1/functions/{name}").json()["in_flight"] == 1, "it runs")
    reply = gantry.client.request("DELETE", f"/v1/calls/{call['id']}")
    assert reply.status == 200 and reply.json()["state"] == "cancelled", reply
    gantry.wait_quiet(name)
    result = gantry.client.get(f"/v1/calls/{call['id']}/result")
    assert result.status == 409 and result.slug == "cancelled"
    assert gantry.client.request("DELETE", f"/v1/calls/{call['id']}").status == 409
    again = gantry.client.request("POST", f"/v1/calls/{call['id']}/replay")
    assert again.status == 202 and again.json()["state"] == "queued"
    gantry.client.request("DELETE", f"/v1/calls/{call['id']}")


def until_running(gantry, call):
    """The events of a call up to the first that says that it runs; [] when control is not there."""
    seen = []
    try:
        with gantry.client.stream("GET", f"/v1/calls/{call}/events", timeout=10) as stream:
            while not seen or seen[-1]["event"] != "running":
                line = stream.readline()
                if not line:
                    return []
                if line.startswith(b"data: "):
                    seen.append(json.loads(line[6:]))
    except (OSError, http.client.HTTPException):
        return []
    return seen


def test_a_call_is_told_to_run_while_it_runs(gantry, name):
    gantry.echo(name)
    call = submit(gantry, name, query="?path=/sleep?ms=60000")["id"]
    seen = until_running(gantry, call)
    assert [e["event"] for e in seen] == ["accepted", "running"]
    running = seen[-1]["running"]
    assert running["attempt"] == 1 and running["replica"] == gantry.replicas(name, "ready")[0]["id"]
    # whoever comes later, and after another start of control, hears of it as well
    crash(gantry, "control")
    until(lambda: [e["running"] for e in until_running(gantry, call)[1:]] == [running], "it is told again", 20)
    assert gantry.client.request("DELETE", f"/v1/calls/{call}").status == 200


LOGGER = """print("up", flush=True)
import http.server, os, time
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        print(self.path, self.headers["Gantry-Call-Id"] if "named" in self.path else "", flush=True)
        while not os.path.exists("/gate" + self.path):
            time.sleep(0.01)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), H).serve_forever()
"""


@pytest.mark.parametrize("concurrency, scope", [(1, "attempt"), (4, "replica")])
def test_what_a_call_wrote(gantry, name, tmp_path, concurrency, scope):
    tmp_path.chmod(0o755)
    gantry.put(name, {"image": "host:", "command": ["/usr/bin/python3", "-c", LOGGER], "port": 8000,
                      "volumes": [{"host": str(tmp_path), "path": "/gate"}],
                      "scale": {"concurrency": {"target": 1, "max": concurrency}, "min": 1, "max": 1}})

    def until_read(text):
        until(lambda: text in gantry.client.get(f"/v1/functions/{name}/logs").text, f"the node has read {text}", 20)

    def run(path):
        call = submit(gantry, name, query=f"?path={path}")["id"]
        until_read(path)
        (tmp_path / path[1:]).touch()
        ended(gantry, call)
        return call

    # A line has the time at which the node read it: what a start wrote may be read when the first call has begun, and
    # what a call wrote, long after its end. So each waits for its lines.
    until_read("up")

    def lines(call, more=""):
        reply = gantry.client.get(f"/v1/calls/{call}/logs{more}")
        assert reply.status == 200, reply
        return [json.loads(line)["line"].strip() for line in reply.text.splitlines()], reply.headers

    first = run("/first")
    until(lambda: lines(first)[0] == ["/first"], "what it wrote")  # and not what came before it
    time.sleep(0.06)  # the next one begins when lines of the first have passed
    second = run("/named")
    until(lambda: lines(second, "?printed=1")[0] == [f"/named {second}"], "what it wrote")
    got, headers = lines(first)
    assert got == ["/first"] and headers["Gantry-Log-Scope"] == scope and headers["Gantry-Attempt"] == "1"
    assert lines(first, "?printed=1")[0] == []
    text = gantry.client.get(f"/v1/calls/{second}/logs?attempt=1", headers={"Accept": "text/plain"}).text
    assert text.strip() == f"/named {second}"
    events = gantry.client.get(f"/v1/calls/{second}/logs", headers={"Accept": "text/event-stream"}).text
    last = [line for line in events.splitlines() if line.startswith("id: ")][-1][4:]
    assert gantry.client.get(f"/v1/calls/{second}/logs", headers={"Last-Event-ID": last}).text == ""
    for more, slug in (("?attempt=2", "not_found"), ("?attempt=x", "bad_parameter"), ("?stream=x", "bad_parameter")):
        assert gantry.client.get(f"/v1/calls/{first}/logs{more}").slug == slug
    assert gantry.client.get("/v1/calls/none-such/logs").slug == "call_not_found"


def test_a_cancel_stops_no_later_attempt(gantry, name):
    """Replayed at once, while the gateway hears of the end: the order to stop names the attempt."""
    gantry.echo(name, scale={"max": 1, "concurrency": 8})
    calls = []
    for _ in range(5):
        calls.append(submit(gantry, name, query="?path=/sleep?ms=3000")["id"])
        until(lambda: show(gantry, calls[-1])["state"] == "running", "it runs")
        for _ in range(3):
            assert gantry.client.request("DELETE", f"/v1/calls/{calls[-1]}").status == 200
            assert gantry.client.request("POST", f"/v1/calls/{calls[-1]}/replay").status == 202
    for call in calls:
        ended(gantry, call)


def test_a_call_that_does_not_run_in_time_expires(gantry, name):
    gantry.shell(name, "exit 3")
    call = submit(gantry, name, headers={"Gantry-Deadline": "2"})
    ended(gantry, call["id"], "expired")
    result = gantry.client.get(f"/v1/calls/{call['id']}/result")
    assert result.status == 504 and result.slug == "deadline_passed"


def test_calls_wait_through_a_crash_loop(gantry, name):
    gantry.shell(name, "exit 3")
    call = submit(gantry, name)
    until(lambda: gantry.client.get(f"/v1/functions/{name}").json()["state"] == "failing", "it fails", 20)
    assert show(gantry, call["id"])["state"] in ("queued", "running", "waiting")
    gantry.echo(name)
    view = ended(gantry, call["id"])
    assert [a["status"] for a in view["attempts"]] == [200]


def test_retries_by_policy(gantry, name):
    gantry.probe(name, retry={"max": 2, "on": ["503"], "backoff": {"first": "10ms", "most": "50ms"}})

    def run(path):
        return submit(gantry, name, b"", {"Gantry-Deadline": "60"}, f"?method=GET&path={path}")["id"]

    flaky = ended(gantry, run("/flaky?key=a%26n=2%26code=503"))
    assert [a["status"] for a in flaky["attempts"]] == [503, 503, 200]
    result = gantry.client.get(f"/v1/calls/{flaky['id']}/result").json()
    assert result["call"] == flaky["id"] and result["attempt"] == "3"
    spent = ended(gantry, run("/flaky?key=b%26n=9%26code=503"), "failed")
    assert [a["status"] for a in spent["attempts"]] == [503, 503, 503]
    other = ended(gantry, run("/flaky?key=c%26n=9%26code=500"), "failed")
    assert [a["status"] for a in other["attempts"]] == [500]
    crash = ended(gantry, run("/exit?code=3"), "failed")
    assert [a["reason"] for a in crash["attempts"]] == ["replica_lost"]
    result = gantry.client.get(f"/v1/calls/{crash['id']}/result")
    assert result.status == 502 and result.slug == "replica_lost"


def test_what_failed_can_be_listed(gantry, name):
    gantry.probe(name)
    call = submit(gantry, name, b"", query="?method=GET&path=/status?code=500")
    view = ended(gantry, call["id"], "failed")
    assert view["status"] == 500
    dead = gantry.client.get(f"/v1/functions/{name}/calls?state=failed,expired").json()["items"]
    assert [c["id"] for c in dead] == [call["id"]]
    result = gantry.client.get(f"/v1/calls/{call['id']}/result")
    assert result.status == 500


@pytest.mark.parametrize("role", ["control", "gateway", "agent"])
def test_calls_survive_the_end_of_a_role(gantry, name, role):
    gantry.echo(name, scale={"max": 1, "concurrency": 4})
    calls = [submit(gantry, name, str(i).encode(), query="?path=/sleep?ms=200")["id"] for i in range(20)]
    until(lambda: show(gantry, calls[0])["state"] != "queued", "the first one runs")
    before = gantry.roles()[role]
    os.kill(before, signal.SIGKILL)
    until(lambda: gantry.roles().get(role) not in (None, before), "it is back", 20)

    def view(call):
        try:
            return show(gantry, call)
        except (OSError, http.client.HTTPException, AssertionError):
            return {"state": "unknown"}

    until(lambda: all(view(c)["state"] == "succeeded" for c in calls), "all calls are done", 40)
    assert all(sum(a.get("status") == 200 for a in show(gantry, c)["attempts"]) == 1 for c in calls)
