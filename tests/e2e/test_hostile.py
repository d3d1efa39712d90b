"""Bytes no client library would send."""
import json
import re

import pytest

from harness import ROOT, Raw, until

VECTORS = json.loads((ROOT / "tests/data/http-vectors.json").read_text())["vectors"]
REJECTED = [v for v in VECTORS if v["verdict"] == "reject"]
ACCEPTED = [v for v in VECTORS if v["verdict"] != "reject"]
SMUGGLED = b"GET /f/%s/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def target(gantry):
    gantry.echo("target", access="public")
    gantry.call("target")
    return "target"


@pytest.fixture(scope="module")
def at_zero(gantry):
    """A function nobody may reach: had it been, it would run."""
    gantry.echo("at-zero", access="public")
    return "at-zero"


def bytes_of(vector, function):
    """The vector's request with its target moved below the function."""
    raw = vector["request"].encode("latin-1")
    return re.sub(rb"^((?:\r\n)*\w+[ \t]+)/", rb"\1/f/" + function.encode() + b"/", raw, count=1)


@pytest.mark.parametrize("vector", REJECTED, ids=lambda v: v["name"])
def test_ambiguous_request_is_refused_once_and_the_connection_ends(gantry, target, vector):
    with Raw(gantry.address, 15) as raw:
        raw.send(bytes_of(vector, target) + SMUGGLED % target.encode())
        data = raw.read_all()
    heads = re.findall(rb"HTTP/1\.1 (\d{3}) ", data)
    if vector["request"].startswith("\x16"):  # the greeting of a host of the cluster: no HTTP is spoken with it
        assert not heads, data[:500]
    else:
        assert len(heads) == 1 and heads[0][0:1] in b"45", data[:500]
    assert b"/smuggled" not in data


@pytest.mark.parametrize("vector", [v for v in REJECTED if "chunked\r\n\r\n" not in v["request"]],
                         ids=lambda v: v["name"])
def test_refused_request_starts_nothing(gantry, at_zero, vector):
    with Raw(gantry.address, 15) as raw:
        raw.send(bytes_of(vector, at_zero))
        raw.sock.shutdown(1)
        raw.read_all()
    assert not gantry.replicas(at_zero)


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda v: v["name"])
def test_odd_but_valid_request_is_served(gantry, target, vector):
    with Raw(gantry.address, 20) as raw:
        raw.send(bytes_of(vector, target))
        data = raw.read_until(b"Gantry-Replica")
    assert re.match(rb"HTTP/1\.1 \d{3} ", data), data[:300]


def test_pipelined_requests_are_answered_in_order(gantry, target):
    with Raw(gantry.address, 20) as raw:
        raw.send(b"".join(b"GET /f/target/n%d HTTP/1.1\r\nHost: a\r\n%s\r\n" % (
            i, b"Connection: close\r\n" if i == 9 else b"") for i in range(10)))
        data = raw.read_all()
    assert data.count(b"HTTP/1.1 200") == 10
    places = [data.index(b"/n%d" % i) for i in range(10)]
    assert places == sorted(places)


def test_header_flood_is_refused(gantry, target):
    with Raw(gantry.address, 10) as raw:
        raw.send(b"GET /f/target/ HTTP/1.1\r\nHost: a\r\n")
        try:
            for i in range(20000):
                raw.send(b"X-Flood-%d: %s\r\n" % (i, b"x" * 100))
        except OSError:
            pass
        data = raw.read_all()
    assert data == b"" or data.startswith(b"HTTP/1.1 431 "), data[:200]
    assert gantry.call("target").status == 200


def test_one_endless_header(gantry, target):
    with Raw(gantry.address, 10) as raw:
        try:
            raw.send(b"GET /f/target/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 4_000_000)
        except OSError:
            pass
        data = raw.read_all()
    assert data == b"" or data.startswith(b"HTTP/1.1 431 ")


def test_endless_request_line(gantry, target):
    with Raw(gantry.address, 10) as raw:
        try:
            raw.send(b"GET /f/target/" + b"a" * 4_000_000)
        except OSError:
            pass
        data = raw.read_all()
    assert data == b"" or data.startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("first", [b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
                                   b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
                                   b"GET http://evil/f/target/ HTTP/1.1\r\nHost: a\r\n\r\n",
                                   b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 100,
                                   b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000])
def test_requests_of_other_forms(gantry, target, first):
    with Raw(gantry.address, 12) as raw:
        raw.send(first)
        raw.sock.shutdown(1)
        data = raw.read_all()
    alert = first[:1] == b"\x16" and data.startswith(b"\x15\x03")  # of TLS, which hosts of the cluster speak here
    assert data == b"" or alert or re.match(rb"HTTP/1\.1 [245]\d\d ", data), data[:200]
    assert data.count(b"HTTP/1.1") <= 1
    assert gantry.call("target").status == 200


@pytest.mark.parametrize("path", ["/f/target/../other", "/f/../v1/functions", "/f/target/%2e%2e/x",
                                  "/f//", "/f/", "/f", "//f/target/", "/f/target%2fx", "/f/TARGET/",
                                  "/F/target/", "/f/target%00/"])
def test_odd_paths_reach_no_other_resource(gantry, target, path):
    with Raw(gantry.address, 20) as raw:
        raw.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        data = raw.read_all()
    status = int(re.match(rb"HTTP/1\.1 (\d{3})", data)[1])
    if status == 200:  # the function's own path space is its own business
        assert path.startswith("/f/target/") and b"Gantry-Replica" in data
    else:
        assert 300 <= status < 500, data[:300]


def test_head_that_never_ends_times_out(gantry, target):
    """A connection that sends a byte now and then is dropped; it holds up no one."""
    with Raw(gantry.address, 20) as raw:
        raw.send(b"GET /f/target/ HTTP/1.1\r\nHost: a\r\n")
        assert gantry.call("target").status == 200
        data = raw.read_all()
    assert data == b"" or data.startswith(b"HTTP/1.1 408 ")


def test_slow_upload_holds_no_slot(gantry, name):
    gantry.echo(name, scale={"max": 1, "concurrency": 1})
    gantry.call(name)
    with Raw(gantry.address) as raw:
        raw.send(f"POST /f/{name}/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gantry.token}\r\n"
                 "Content-Length: 10\r\nConnection: close\r\n\r\nabc".encode())
        assert gantry.call(name).status == 200, "the only slot is free"
        raw.send(b"defghij")
        assert b"abcdefghij" in raw.read_all()


def test_connections_that_say_nothing(gantry, target):
    idle = [Raw(gantry.address) for _ in range(200)]
    try:
        assert gantry.call("target").status == 200
    finally:
        for raw in idle:
            raw.close()


def test_resets_in_every_phase_leak_no_descriptor(gantry, target):
    gateway = gantry.roles()["gateway"]

    def fds():
        import os
        return len(os.listdir(f"/proc/{gateway}/fd"))

    gantry.call("target")
    before = fds()
    request = b"POST /f/target/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    for cut in range(0, len(request), 3):
        raw = Raw(gantry.address)
        raw.send(request[:cut])
        raw.reset()
    assert gantry.call("target").status == 200
    until(lambda: fds() <= before + 2, "descriptors are back")
