"""Direct calls: cold, warm, streamed, refused, cut, and what each side sees of the other's end."""
import http.client
import os
import re
import signal
import socket
import time

import pytest

from harness import REVERSER, Background, Held, Raw, echo_spec, until


def phases(reply):
    """Server-Timing as a dict of milliseconds."""
    return {m[1]: float(m[2]) for m in re.finditer(r"(\w+);dur=([\d.]+)", reply.headers["Server-Timing"])}


def problem(reply, status, slug):
    assert reply.status == status, reply
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.slug == slug, reply
    return reply.json()


def status_of(gantry, name):
    return gantry.client.get(f"/v1/functions/{name}").json()


def wait_in_flight(gantry, name, count):
    """Of the first calls: of others control may still count some that have ended."""
    until(lambda: status_of(gantry, name)["in_flight"] == count, f"{count} calls of {name} in flight", 20)


def wait_queued(gantry, name, count):
    until(lambda: status_of(gantry, name)["queued"] == count, f"{count} calls of {name} queued")


# ---- cold and warm --------------------------------------------------------------------------
def test_cold_call_is_held_until_the_function_runs(gantry, name):
    gantry.echo(name)
    assert not gantry.running(name)
    reply = gantry.call(name, "/hello?x=1")
    assert reply.status == 200 and "/hello?x=1" in reply.text
    timing = phases(reply)
    assert set(timing) == {"queue", "start", "run"} and timing["start"] > 0
    assert reply.headers["Gantry-Revision"] == "1"
    assert reply.headers["Gantry-Replica"] == gantry.replicas(name, "ready")[0]["id"]
    assert reply.headers["X-Request-Id"]


def test_warm_call_starts_nothing(gantry, name):
    gantry.echo(name)
    first = gantry.call(name)
    second = gantry.call(name)
    assert second.headers["Gantry-Replica"] == first.headers["Gantry-Replica"]
    assert phases(second)["start"] == 0
    assert len(gantry.replicas(name)) == 1


def test_many_cold_callers_share_one_start(gantry, name):
    gantry.echo(name)
    calls = [gantry.client.background("GET", f"/f/{name}/") for _ in range(10)]
    assert [c.result().status for c in calls] == [200] * 10
    assert len(gantry.replicas(name)) == 1


def test_path_query_method_and_body_arrive(gantry, name):
    gantry.echo(name)
    reply = gantry.call(name, "/a/b%20c?d=e%26f", "POST", b"body text")
    assert "POST" in reply.text and "/a/b%20c?d=e%26f" in reply.text and "body text" in reply.text
    assert gantry.call(name, "").status == 200
    assert gantry.call(name, "/", "DELETE").status == 200


def test_gateway_headers(gantry, name):
    gantry.probe(name)
    reply = gantry.call(name, "/headers", headers={
        "X-Forwarded-For": "6.6.6.6", "Connection": "X-Drop", "X-Drop": "1", "X-Keep": "2",
        "X-Request-Id": "abc-123"})
    got = {k.lower(): v for k, v in reply.json()}
    assert got["x-keep"] == "2" and "x-drop" not in got
    assert "6.6.6.6" not in got.get("x-forwarded-for", "")
    assert got["x-forwarded-prefix"] == f"/f/{name}"
    assert "authorization" not in got, "the token is not the function's business"
    assert reply.headers["X-Request-Id"] == "abc-123"


def test_traces_go_on_through_the_gateway(gantry, name):
    gantry.probe(name)
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    reply = gantry.call(name, "/headers", headers={"traceparent": f"00-{trace}-{span}-00", "tracestate": "a=1"})
    seen = {k.lower(): v for k, v in reply.json()}
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-00", seen["traceparent"]) and span not in seen["traceparent"]
    assert seen["tracestate"] == "a=1" and reply.headers["Gantry-Trace-Id"] == trace
    reply = gantry.call(name, "/headers", headers={"traceparent": "nonsense", "tracestate": "a=1"})
    seen = {k.lower(): v for k, v in reply.json()}
    assert seen["traceparent"].split("-")[1] == reply.headers["Gantry-Trace-Id"] and "tracestate" not in seen
    for path in ("/f/no-such-function/", "/v1/functions/no-such-function"):  # the gateway's answer, control's
        reply = gantry.client.get(path, headers={"traceparent": f"00-{trace}-{span}-01"})
        assert reply.status == 404 and reply.json()["trace_id"] == trace, reply


def test_public_function_needs_no_token(gantry, name):
    gantry.echo(name, access="public")
    assert gantry.call(name, token=None).status == 200
    gantry.echo(name, access="token")
    until(lambda: gantry.call(name, token=None).status == 401, "access is closed again")


# ---- streams --------------------------------------------------------------------------------
def test_answer_is_streamed_as_it_is_made(gantry, name):
    gantry.echo(name)
    assert gantry.call(name, "/stream?n=5&ms=20").text.count("\n") == 5
    with gantry.client.stream("GET", f"/f/{name}/stream?n=1000&ms=200") as answer:
        assert answer.readline() == b"line 0\n" and answer.readline() == b"line 1\n", "and not after minutes"


def test_request_is_streamed_both_ways(gantry, name):
    """A chunked request of unknown length, larger than any buffer, whose answer comes meanwhile."""
    gantry.echo(name, limits={"body": "64MiB"})
    size = 48 << 20
    with Raw(gantry.address) as raw:
        raw.send(f"POST /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())
        answer = Background(raw.read_all)
        for _ in range(size >> 16):
            raw.send(b"10000\r\n" + b"z" * 65536 + b"\r\n")
        raw.send(b"0\r\n\r\n")
        data = answer.result()
    assert data.startswith(b"HTTP/1.1 200 ") and data.count(b"z") == size
    assert data.endswith(b"\r\n0\r\n\r\n")


def test_large_answer_arrives_whole(gantry, name):
    gantry.echo(name)
    reply = gantry.call(name, "/bytes?n=20000000")
    assert reply.status == 200 and len(reply.body) == 20000000


def test_head_has_no_body(gantry, name):
    gantry.probe(name)
    gantry.call(name)
    with Raw(gantry.address) as raw:
        raw.send(f"HEAD /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Connection: close\r\n\r\n".encode())
        data = raw.read_all()
    assert data.endswith(b"\r\n\r\n") and data.count(b"HTTP/1.1") == 1


def test_expect_continue(gantry, name):
    gantry.echo(name)
    gantry.call(name)
    with Raw(gantry.address) as raw:
        raw.send(f"POST /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n".encode())
        assert raw.read_some().startswith(b"HTTP/1.1 100 ")
        raw.send(b"xyz")
        assert b"xyz" in raw.read_all()


def test_slow_reader_costs_the_gateway_no_memory(gantry, name):
    gantry.echo(name)
    gantry.call(name)
    gateway = gantry.roles()["gateway"]

    def rss():
        with open(f"/proc/{gateway}/statm") as f:
            return int(f.read().split()[1]) * 4096

    before = rss()
    readers = []
    for _ in range(8):
        raw = Raw(gantry.address)
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.send(f"GET /f/{name}/bytes?n=30000000 HTTP/1.1\r\nHost: a\r\n"
                 f"Authorization: Bearer {gantry.token}\r\nConnection: close\r\n\r\n".encode())
        assert raw.read_some()
        readers.append(raw)
    assert gantry.call(name).status == 200, "others are served meanwhile"
    assert rss() - before < 16 << 20
    readers[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    total = len(readers[0].read_all())
    assert total > 29000000, "and the slow one gets everything"
    for raw in readers:
        raw.close()


# ---- refusals -------------------------------------------------------------------------------
def test_full_queue_is_a_429_with_a_computed_retry_after(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1}, limits={"queue": 2})
    busy = Held(gantry.client, name).begun()
    waiting = [gantry.client.background("GET", f"/f/{name}/") for _ in range(2)]
    wait_queued(gantry, name, 2)
    reply = gantry.call(name)
    problem(reply, 429, "queue_full")
    assert 1 <= int(reply.headers["Retry-After"]) <= 300
    busy.end()
    assert [c.result().status for c in waiting] == [200] * 2, "those in the queue were served"


def test_wait_limit_is_a_504(gantry, name):
    """While its only slot is in use."""
    gantry.echo(name, scale={"min": 1, "max": 1, "concurrency": 1}, limits={"wait": "1s"})
    gantry.wait_replicas(name, 1)
    busy = Held(gantry.client, name).begun()
    begin = time.monotonic()
    reply = gantry.call(name)
    problem(reply, 504, "wait_timeout")
    assert time.monotonic() - begin > 0.9
    assert int(reply.headers["Retry-After"]) >= 1
    busy.end()


def test_deadline_header_shortens_the_wait(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1})
    busy = Held(gantry.client, name).begun()
    reply = gantry.call(name, headers={"Gantry-Deadline": "1"})
    problem(reply, 504, "wait_timeout")
    busy.end()


def test_run_limit_is_a_504(gantry, name):
    gantry.echo(name, limits={"run": "300ms"})
    gantry.call(name)
    problem(gantry.call(name, "/sleep?ms=5000"), 504, "run_timeout")


def test_first_byte_limit_is_a_504(gantry, name):
    gantry.echo(name, limits={"first_byte": "1s"})
    gantry.call(name)
    problem(gantry.call(name, "/sleep?ms=5000"), 504, "run_timeout")
    assert gantry.call(name, "/stream?n=2&ms=1100").status == 200, "only the first byte counts"


def test_a_504_names_the_limit_and_says_when_to_come_again(gantry, name):
    gantry.echo(name, limits={"first_byte": "200ms"})
    gantry.call(name)
    reply = gantry.call(name, "/sleep?ms=5000")
    assert problem(reply, 504, "run_timeout")["errors"][0]["path"] == "limits.first_byte"
    assert len(reply.headers.get_all("Retry-After")) == 1


def test_silence_inside_an_answer_cuts_it(gantry, name):
    gantry.echo(name, limits={"idle": "1s"})
    assert gantry.call(name, "/stream?n=8&ms=150").status == 200, "slow is not silent"
    with Raw(gantry.address) as raw:
        raw.send(f"GET /f/{name}/stream?n=3&ms=5000 HTTP/1.1\r\nHost: a\r\n"
                 f"Authorization: Bearer {gantry.token}\r\n\r\n".encode())
        data = raw.read_all()
    assert data.startswith(b"HTTP/1.1 200 ") and not data.endswith(b"\r\n0\r\n\r\n"), data[-200:]
    assert b"line 0" in data and b"line 1" not in data, data[-200:]
    until(lambda: status_of(gantry, name)["in_flight"] == 0, "the slot is free")


def test_body_that_stops_frees_its_slot(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1}, limits={"idle": "1s"})
    with Raw(gantry.address) as raw:
        raw.send(f"POST /f/{name}/sleep?ms=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Content-Length: 1000000\r\n\r\n".encode() + b"x" * 100000)
        # It goes on until it is seen to have the slot.
        until(lambda: raw.send(b"x") or status_of(gantry, name)["in_flight"] == 1, "it has the slot", 20)
        assert gantry.call(name).status == 200, "it waited for the slot, and got it"
        assert raw.read_all().startswith(b"HTTP/1.1 408 ")


def test_priority_goes_first(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1})
    busy = Held(gantry.client, name).begun()
    low = Held(gantry.client, name, {"Gantry-Priority": "low"})
    wait_queued(gantry, name, 1)
    high = Held(gantry.client, name, {"Gantry-Priority": "high"})
    wait_queued(gantry, name, 2)
    busy.end()
    high.begun().end()  # it would not begin while the other one has the slot
    low.begun().end()
    problem(gantry.call(name, headers={"Gantry-Priority": "first"}), 400, "bad_parameter")


def test_sessions_stay_where_they_are(gantry, name):
    gantry.echo(name, scale={"min": 3, "max": 3}, affinity={"header": "X-Session-Id"})
    gantry.wait_replicas(name, 3)
    gantry.call(name)
    where = {}
    for _ in range(3):
        for session in map(str, range(60)):
            reply = gantry.call(name, headers={"x-session-id": session})
            where.setdefault(session, set()).add(reply.headers["Gantry-Replica"])
    assert all(len(replicas) == 1 for replicas in where.values()), where
    assert len(set.union(*where.values())) == 3, "all three by chance, but for one run in ten thousand million"


def test_body_over_the_limit_by_its_length(gantry, name):
    gantry.echo(name, limits={"body": "1KiB"})
    reply = gantry.call(name, "/", "POST", b"x" * 1025)
    problem(reply, 413, "body_too_large")
    assert gantry.call(name, "/", "POST", b"x" * 1024).status == 200


def test_body_over_the_limit_while_it_streams(gantry, name):
    gantry.echo(name, limits={"body": "100KiB"})
    gantry.call(name)
    with Raw(gantry.address) as raw:
        raw.send(f"POST /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(40):
                raw.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            pass  # it may have closed already
        data = raw.read_all()
    # echo answers while it reads: when its answer has begun, all that is left is to cut it.
    assert data == b"" or data.startswith(b"HTTP/1.1 413 ") or not data.endswith(b"\r\n0\r\n\r\n"), data[:200]


# ---- ends -----------------------------------------------------------------------------------
def test_replica_that_exits_during_a_call_is_a_502_with_the_reason(gantry, name):
    gantry.probe(name)
    gantry.call(name)
    reply = gantry.call(name, "/exit?code=7", "GET")
    problem(reply, 502, "replica_lost")
    assert gantry.call(name).status == 200, "the next call finds a new replica"
    ended = until(lambda: gantry.replicas(name, "failed"), "its end is told")
    assert ended[0]["end"]["exit_code"] == 7, ended


def test_replica_killed_during_a_call(gantry, name):
    gantry.echo(name)
    call = gantry.client.background("POST", f"/f/{name}/sleep?ms=5000", b"x")
    wait_in_flight(gantry, name, 1)
    os.kill(gantry.replicas(name, "ready")[0]["pid"], signal.SIGKILL)
    problem(call.result(), 502, "replica_lost")
    assert gantry.call(name).status == 200


def test_idempotent_call_survives_its_replica(gantry, name):
    gantry.echo(name, idempotent=True)
    call = gantry.client.background("POST", f"/f/{name}/sleep?ms=3000", b"x")
    wait_in_flight(gantry, name, 1)
    first = gantry.replicas(name, "ready")[0]
    os.kill(first["pid"], signal.SIGKILL)
    reply = call.result()
    assert reply.status == 200, reply
    assert reply.headers["Gantry-Replica"] != first["id"]


def test_replica_that_dies_in_the_middle_of_an_answer_cuts_it(gantry, name):
    """An answer that is not whole must never look whole."""
    gantry.echo(name)
    gantry.call(name)
    pid = gantry.replicas(name, "ready")[0]["pid"]
    with gantry.client.stream("GET", f"/f/{name}/stream?n=50&ms=100") as answer:
        assert answer.read1(100)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_client_that_leaves_the_queue_is_forgotten(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1})
    busy = Held(gantry.client, name).begun()
    waiting = gantry.client.open("GET", f"/f/{name}/exit?code=1")
    wait_queued(gantry, name, 1)
    waiting.close()
    wait_queued(gantry, name, 0)
    assert status_of(gantry, name)["in_flight"] == 1, "the other call goes on"
    busy.end()
    assert len(gantry.replicas(name)) == 1, "the absent client's call never ran"


def test_no_start_for_an_absent_client(gantry, name):
    """Its starts fail and back off; meanwhile the only client leaves: no further start may follow."""
    gantry.shell(name, "exit 1")
    problem(gantry.call(name), 503, "start_failed")
    starts = len(gantry.replicas(name))
    time.sleep(1.5)  # longer than the first backoff: a start for nobody would happen in it
    assert len(gantry.replicas(name)) == starts


def test_client_that_leaves_while_served_cancels_the_work(gantry, name):
    gantry.probe(name)
    call = gantry.client.open("GET", f"/f/{name}/hang?s=20")
    wait_in_flight(gantry, name, 1)
    call.close()
    until(lambda: gantry.ask(name, "/aborted"), "the replica sees the end of the connection")
    wait_in_flight(gantry, name, 0)


def test_client_that_is_reset_while_served(gantry, name):
    gantry.probe(name)
    raw = Raw(gantry.address)
    raw.send(f"GET /f/{name}/hang?s=20 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n\r\n".encode())
    wait_in_flight(gantry, name, 1)
    raw.reset()
    until(lambda: gantry.ask(name, "/aborted"), "the replica sees the end of the connection")


def test_deploy_while_calls_run_loses_none(gantry, name):
    gantry.echo(name, env={"V": "1"})
    calls = [Held(gantry.client, name) for _ in range(4)]
    for call in calls:
        call.begun()
    gantry.echo(name, env={"V": "2"})
    for call in calls:
        call.end()
    until(lambda: gantry.call(name).headers["Gantry-Revision"] == "2", "the new revision serves")


def test_delete_lets_calls_finish(gantry, name):
    gantry.echo(name)
    call = Held(gantry.client, name).begun()
    assert gantry.client.request("DELETE", f"/v1/functions/{name}").status in (200, 202)
    call.end()


def test_websocket_upgrade_is_a_pipe(gantry, name):
    """Whatever the replica speaks after its 101 passes untouched."""
    gantry.put(name, {"image": "host:", "command": ["/usr/bin/python3", "-c", REVERSER], "port": 8000})
    with Raw(gantry.address, 30) as raw:
        raw.send(f"GET /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        assert raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        for word in (b"abc", b"\x00\xff\x01", b"HTTP/1.1"):
            raw.send(word)
            assert raw.read_some() == word[::-1]


def test_keep_alive_carries_many_calls(gantry, name):
    gantry.echo(name)
    gantry.call(name)
    conn = http.client.HTTPConnection(*gantry.address, timeout=10)
    conn.connect()
    first = conn.sock
    for i in range(200):
        conn.request("GET", f"/f/{name}/{i}", headers={"Authorization": f"Bearer {gantry.token}"})
        answer = conn.getresponse()
        assert answer.status == 200 and f"/{i}" in answer.read().decode()
    assert conn.sock is first
    conn.close()


def test_answer_that_is_not_http_is_a_502(gantry, name):
    gantry.put(name, {"image": "host:", "port": 8000, "command": ["/usr/bin/python3", "-c", (
        "import os,socket\n"
        "s=socket.socket();s.setsockopt(1,2,1);s.bind(('127.0.0.1',int(os.environ['PORT'])));s.listen(16)\n"
        "while True:\n"
        " c,_=s.accept();c.recv(4096);c.sendall(b'SSH-2.0-x\\r\\n\\r\\n');c.close()\n")]})
    reply = gantry.call(name, method="POST", body=b"x")
    problem(reply, 502, "bad_gateway")


def test_queue_is_fair_and_in_order(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1})
    calls = [Held(gantry.client, name).begun()]
    for i in range(5):
        calls.append(Held(gantry.client, name))
        wait_queued(gantry, name, i + 1)
    calls[0].end()
    for call in calls[1:]:  # it would not begin while another one has the slot
        call.begun().end()


def test_spec_of_the_examples_is_accepted(gantry, name):
    assert gantry.put(f"{name}?dry_run=1", echo_spec()).status in (200, 201)
