"""More than there is room for: what is refused is told when to come again, what was accepted is kept, and whoever asks
for health is answered. How fast is measured by `make bench-faults`."""
import contextlib
import resource

import pytest

from harness import SLOW, Raw, until

QUEUE = 30
HELD_MS = 200  # how long a call has a slot, by what the function's first one took
CONTROL_MAX = 900  # requests that control has at once
HELD_BYTES = 64 << 20  # of the calls that wait for one function
BUDGET = 256 << 20  # of the gateway
SHADOW = 1 if SLOW == 1 else 4  # the thread sanitizer notes four bytes for each


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 12000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def request(daemon, method, path, head="", body=b""):
    return (f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {daemon.token}\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


@contextlib.contextmanager
def sent(daemon, requests):
    """A connection for each, which has sent it; all are closed in the end."""
    made = []
    try:
        for data in requests:
            made.append(Raw(daemon.address, 60))
            made[-1].send(data)
        yield made
    finally:
        for raw in made:
            raw.close()


def refused(reply, code, least_s=1):
    """As it must be: with the seconds after which it may be otherwise."""
    assert reply.status == {"queue_full": 429, "overloaded": 503}[code] and reply.slug == code, reply
    assert least_s <= int(reply.headers["Retry-After"]) <= 300, reply
    assert reply.json()["retryable"] and reply.json()["retry_after_s"] == int(reply.headers["Retry-After"])


def healthy(daemon):
    for path in ("/livez", "/readyz"):
        reply = daemon.client.get(path, token=False)
        assert reply.status == 200, reply


def view(daemon, name):
    return daemon.client.get(f"/v1/functions/{name}").json()


def rss(daemon, role):
    with open(f"/proc/{daemon.roles()[role]}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def busy(daemon, name):
    """Its one slot is held until this ends."""
    hold = Raw(daemon.address, 60)
    hold.send(request(daemon, "GET", f"/f/{name}/sleep?ms=60000"))
    until(lambda: view(daemon, name)["in_flight"] == 1, "its slot is held")
    try:
        yield
    finally:
        hold.close()


def test_a_full_queue(gantry, name):
    gantry.echo(name, scale={"min": 1, "max": 1, "concurrency": {"target": 1, "max": 1}}, limits={"queue": QUEUE})
    gantry.wait_replicas(name, 1)
    assert gantry.call(name, f"/sleep?ms={HELD_MS}").status == 200
    with sent(gantry, []) as waiting:
        with busy(gantry, name):
            waiting += [Raw(gantry.address, 60) for _ in range(QUEUE)]
            for raw in waiting:
                raw.send(request(gantry, "GET", f"/f/{name}/x", "Connection: close\r\n"))
            until(lambda: view(gantry, name)["queued"] == QUEUE, "all wait")
            for _ in range(20):
                # Those that wait, and itself, each for as long as one takes: at least.
                refused(gantry.call(name, "/x"), "queue_full", -(-(QUEUE + 1) * HELD_MS // 1000))
                healthy(gantry)
            kept = [gantry.client.request("POST", f"/v1/functions/{name}/calls?path=/x", b"x", {"Prefer": "respond-async"})
                    for _ in range(20)]
            assert [r.status for r in kept] == [202] * len(kept)
            assert view(gantry, name)["queued"] >= QUEUE
        answers = [raw.read_all() for raw in waiting]
    assert [a.split(b" ")[1] for a in answers] == [b"200"] * QUEUE
    for reply in kept:
        call = gantry.client.get(f"/v1/calls/{reply.json()['id']}?wait=30s").json()
        assert call["state"] == "succeeded", call


def test_bodies_that_wait(gantry, name):
    """The queue has room for more of them than the gateway has memory for."""
    gantry.echo(name, scale={"min": 1, "max": 1, "concurrency": {"target": 1, "max": 1}}, limits={"queue": 10000})
    gantry.wait_replicas(name, 1)
    post = request(gantry, "POST", f"/f/{name}/x", "", b"x" * 60000)
    before = rss(gantry, "gateway")

    def turned_away():
        return sum(v for k, v in gantry.metrics().items()
                   if k.startswith("gantry_calls_refused_total") and f'"{name}"' in k and '"overloaded"' in k)

    with busy(gantry, name), sent(gantry, [post] * (HELD_BYTES // 60000 + 50)):
        until(turned_away, "there is no room for all of them", 30)
        late = gantry.call(name, "/x", "POST", b"x" * 60000)
        refused(late, "overloaded")
        assert "hold all the memory" in late.text
        healthy(gantry)
        until(lambda: view(gantry, name)["queued"] > HELD_BYTES // 61000, "those before have theirs")
        assert rss(gantry, "gateway") - before < BUDGET // 2 * SHADOW
    gantry.wait_quiet(name)


def test_control_has_enough_to_do(gantry, name):
    """Watches hold all the requests that it takes: one more is told so, and does not wait behind them."""
    gantry.echo(name, scale={"min": 1})
    gantry.wait_replicas(name, 1)
    watch = request(gantry, "GET", "/v1/events?follow=1")
    with sent(gantry, [watch] * CONTROL_MAX) as watches:
        assert all(raw.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ") for raw in watches)
        refused(gantry.client.get("/v1/functions"), "overloaded")
        refused(gantry.client.request("POST", f"/v1/functions/{name}/calls", b"x", {"Prefer": "respond-async"}), "overloaded")
        healthy(gantry)
        assert gantry.call(name, "/x").status == 200
    until(lambda: gantry.client.get("/v1/functions").status == 200, "there is room")
