"""Clients and replicas that lie, stall, flood and vanish, byte by byte over real sockets. The `rig`
fixture proves after each test that the gateway holds no call and no connection of it.
What takes ten seconds or more is in tests/unit/gateway, on a clock of its own."""
import contextlib
import errno
import json
import re
import resource
import select
import signal
import socket
import ssl

import pytest

from rig import GET, OK, route
from harness import SLOW, Background, Raw, until

HEAD = b"POST /f/echo/x HTTP/1.1\r\nHost: a\r\n"
UPGRADE = (b"GET /f/echo/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GROWTH = 8 << 20 if SLOW == 1 else 256 << 20  # a sanitizer keeps what was freed
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
BLOCK = b"b" * 65536


def answer(client):
    """(status, body) of one answer whose length is told."""
    data = client.read_until(b"\r\n\r\n")
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += client.read_some()
    return int(head.split()[1]), body


def refused(client, status, slug):
    got, body = answer(client)
    assert (got, json.loads(body)["code"]) == (status, slug), body


def served(rig):
    """Somebody else's call goes through."""
    client = rig.client(GET)
    replica = rig.replica()
    replica.read_until(b"\r\n\r\n")
    replica.send(OK)
    assert answer(client) == (200, b"hi")


# ---- a client that leaves at every stage ----------------------------------------------------
# Each stage brings a call there and returns the client and the replica's end, when there is one.
def fill(peer, block=BLOCK):
    """Sends until nobody takes any more."""
    peer.sock.setblocking(False)
    room = select.poll()  # asleep meanwhile: the gateway needs the processor
    room.register(peer.sock, select.POLLOUT)
    while room.poll(200):
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
            peer.sock.send(block)
    peer.sock.settimeout(10 * SLOW)


def in_head(rig):
    return rig.client(GET[:30]), None


def in_small_body(rig):
    client = rig.client(HEAD + b"Content-Length: 100\r\n\r\nhalf of it")
    rig.wait_calls(1, 0)
    return client, None


def queued(rig):
    rig.tell(route("echo", replicas=[]))
    client = rig.client(GET)
    rig.wait_calls(1, 0)
    return client, None


def dialing(rig):
    rig.dials.clear()
    rig.dialing.clear()  # the calls before this one set it
    client = rig.client(GET)
    assert rig.dialing.wait(10 * SLOW)
    rig.wait_calls(0, 1)
    return client, None


def sent(rig):
    client = rig.client(GET)
    replica = rig.replica()
    replica.read_until(b"\r\n\r\n")
    return client, replica


def in_large_body(rig):
    client = rig.client(HEAD + b"Content-Length: 1000000\r\n\r\n" + 2 * BLOCK)
    replica = rig.replica()
    replica.read_until(BLOCK)
    return client, replica


def blocked_body(rig):
    """The replica does not read."""
    client = rig.client(HEAD + b"Content-Length: 1000000000\r\n\r\n")
    fill(client)
    return client, rig.replica()


def streaming(rig):
    client, replica = sent(rig)
    replica.send(STREAM)
    client.read_until(b"first\r\n")
    return client, replica


def blocked_answer(rig):
    """The client does not read."""
    client, replica = sent(rig)
    replica.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    fill(replica)
    return client, replica


def tunnel(rig):
    client = rig.client(UPGRADE)
    replica = rig.replica()
    replica.read_until(b"\r\n\r\n")
    replica.send(SWITCHED)
    client.read_until(b"\r\n\r\n")
    client.send(b"ping")
    assert replica.read_some() == b"ping"
    return client, replica


STAGES = [in_head, in_small_body, queued, dialing, sent, in_large_body, blocked_body, streaming,
          blocked_answer, tunnel]


WAITING = {in_head: (0, 0), in_small_body: (1, 0), queued: (1, 0)}


# A close that stands behind bytes nobody reads is not seen: test_replica_that_never_reads.
@pytest.mark.parametrize("stage,leave", [(stage, leave) for stage in STAGES for leave in (Raw.reset, Raw.close)
                                         if (stage, leave) != (blocked_body, Raw.close)],
                         ids=lambda f: f.__name__)
def test_client_that_leaves(either_rig, stage, leave):
    rig = either_rig
    client, replica = stage(rig)
    rig.wait_calls(*WAITING.get(stage, (0, 1)))
    leave(client)
    if (stage, leave) == (tunnel, Raw.close):
        assert replica.read_all() == b""  # half of the tunnel is closed; the replica closes the other
        replica.close()
    rig.wait_calls(0, 0)
    rig.dials.set()
    if replica and stage is not tunnel:
        assert replica.closed()
    rig.tell(route("echo"))
    if stage is dialing:
        rig.replica().close()  # the connection that nobody wants any more
    served(rig)


# ---- a replica that leaves at every stage ---------------------------------------------------
@pytest.mark.parametrize("leave", [Raw.reset, Raw.close], ids=["reset", "close"])
def test_replica_that_leaves_with_the_call(either_rig, leave):
    rig = either_rig
    client, replica = sent(rig)
    leave(replica)
    refused(client, 502, "replica_lost")
    rig.wait_calls(0, 0)
    served(rig)


@pytest.mark.parametrize("leave", [Raw.reset, Raw.close], ids=["reset", "close"])
def test_replica_that_leaves_inside_a_body(either_rig, leave):
    rig = either_rig
    client, replica = in_large_body(rig)
    leave(replica)
    refused(client, 502, "replica_lost")
    served(rig)


@pytest.mark.parametrize("leave", [Raw.reset, Raw.close], ids=["reset", "close"])
@pytest.mark.parametrize("head", [STREAM, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"],
                         ids=["chunked", "length"])
def test_replica_that_leaves_inside_its_answer(either_rig, head, leave):
    rig = either_rig
    client, replica = sent(rig)
    replica.send(head)
    got = client.read_until(b"first")
    leave(replica)
    got += client.read_all()
    assert b"\r\n0\r\n\r\n" not in got and got.count(b"HTTP/1.1") == 1
    served(rig)


def test_cut_answer_without_a_length_ends_in_a_reset(rig):
    """With a plain close it would look whole."""
    client, replica = sent(rig)
    replica.send(b"HTTP/1.0 200 OK\r\n\r\nfirst")
    client.read_until(b"first")
    replica.reset()
    with pytest.raises(ConnectionResetError):
        client.read_some()


@pytest.mark.parametrize("leave", [Raw.reset, Raw.close], ids=["reset", "close"])
def test_replica_that_leaves_a_tunnel(rig, leave):
    client, replica = tunnel(rig)
    leave(replica)
    client.sock.settimeout(10)
    assert client.read_all() == b""
    client.close()
    rig.wait_calls(0, 0)


# ---- half-closes ----------------------------------------------------------------------------
def test_tunnel_whose_client_closes_its_half(rig):
    client, replica = tunnel(rig)
    client.send(b"last")
    client.sock.shutdown(socket.SHUT_WR)
    assert replica.read_all() == b"last"
    for _ in range(16):  # the other half goes on
        replica.send(BLOCK)
        client.read_until(BLOCK)
    rig.wait_calls(0, 1)
    replica.send(b"bye")
    replica.sock.shutdown(socket.SHUT_WR)
    assert client.read_all() == b"bye"
    rig.wait_calls(0, 0)


def test_tunnel_whose_replica_closes_its_half(rig):
    client, replica = tunnel(rig)
    replica.send(b"last")
    replica.sock.shutdown(socket.SHUT_WR)
    assert client.read_all() == b"last"
    for _ in range(16):
        client.send(BLOCK)
        replica.read_until(BLOCK)
    rig.wait_calls(0, 1)
    client.send(b"bye")
    client.sock.shutdown(socket.SHUT_WR)
    assert replica.read_all() == b"bye"
    rig.wait_calls(0, 0)


def test_client_that_closes_its_half_has_left(rig):
    client, replica = sent(rig)
    client.sock.shutdown(socket.SHUT_WR)
    assert replica.closed()
    rig.wait_calls(0, 0)


def test_replica_that_closes_its_half_before_its_answer(rig):
    """An end of stream is the end, whatever it meant to send later."""
    client, replica = sent(rig)
    replica.sock.shutdown(socket.SHUT_WR)
    refused(client, 502, "replica_lost")
    assert replica.closed()


# ---- replicas that say too little, too early, or too slowly ----------------------------------
def test_replica_that_never_answers(rig):
    rig.tell(route("echo", first_byte_ms=200))
    client = rig.client(GET)
    refused(client, 504, "run_timeout")
    assert rig.replica().closed()  # taken now: the time may have been over before it had read the request
    rig.tell(route("echo"))
    served(rig)


def test_replica_that_never_reads(rig):
    """What waits for it is bounded; its time is the limit's."""
    rig.tell(route("echo", first_byte_ms=2500))  # longer than it takes to fill all that is between
    before = rig.rss()
    client, replica = blocked_body(rig)
    assert rig.rss() - before < GROWTH
    refused(client, 504, "run_timeout")
    assert replica.closed()


def test_replica_that_falls_silent_inside_its_answer(rig):
    rig.tell(route("echo", idle_ms=200))
    client, replica = streaming(rig)
    assert client.read_all() == b""
    assert replica.closed()


def test_replica_that_answers_before_the_body_and_reads_on(rig):
    client, replica = in_large_body(rig)
    replica.send(OK)
    assert answer(client) == (200, b"hi")
    assert client.closed(), "the rest of that body is no request"
    assert replica.closed()
    served(rig)


def test_replica_that_answers_before_the_body_and_closes(rig):
    """Its close resets the connection, as it left bytes unread; the answer arrives nevertheless."""
    for _ in range(20):
        client = rig.client(HEAD + b"Content-Length: 1000000\r\n\r\n" + 2 * BLOCK)
        replica = rig.replica()
        replica.sock.recv(100)
        replica.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        replica.close()
        assert answer(client) == (413, b"big")


def test_every_byte_by_itself(rig):
    client = rig.client()
    for byte in HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n":
        client.send(bytes([byte]))
    replica = rig.replica()
    request = replica.read_until(b"\r\n0\r\n\r\n")
    chunks = re.findall(rb"(\w+)\r\n(.*)\r\n", request.split(b"\r\n\r\n", 1)[1])
    assert b"".join(data for _, data in chunks) == b"abcde"
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello":
        replica.send(bytes([byte]))
    assert answer(client) == (200, b"hello")


# ---- a broker that fails --------------------------------------------------------------------
def test_replica_that_can_not_be_reached(rig):
    rig.dial_error = errno.ECONNREFUSED
    refused(rig.client(GET), 502, "replica_lost")
    rig.wait_calls(0, 0)


def test_replica_that_does_not_listen(rig):
    """The broker's connection exists, and fails when it is used."""
    rig.hang_up()
    refused(rig.client(GET), 502, "replica_lost")
    rig.listen()


# ---- floods ---------------------------------------------------------------------------------
def test_pipelined_requests_whose_answers_nobody_reads(rig):
    before = rig.rss()
    client = rig.client()
    fill(client, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    assert rig.rss() - before < GROWTH
    served(rig)
    client.reset()


def test_pipelined_calls_are_made_one_by_one(rig):
    client = rig.client(GET * 500)
    replica = rig.replica()
    for _ in range(500):
        assert replica.read_until(b"\r\n\r\n").count(b"GET ") == 1
        replica.send(OK)
        assert answer(client) == (200, b"hi")
    rig.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        rig.replica()


@pytest.mark.parametrize("flood", [b"X: y\r\n", b"X-%d: " % 7 + b"v" * 500 + b"\r\n", b"Cookie: a=b\r\n"],
                         ids=["short", "long", "cookies"])
def test_head_without_end(rig, flood):
    before = rig.rss()
    client = rig.client(b"GET /f/echo/ HTTP/1.1\r\nHost: a\r\n")
    sender = Background(lambda: client.send(flood * (4_000_000 // len(flood))))
    refused(client, 431, "headers_too_large")
    client.reset()
    with contextlib.suppress(OSError):
        sender.result()
    assert rig.rss() - before < GROWTH


def test_many_connections_that_begin_a_request_and_go_no_further(rig):
    slow = [rig.client(GET[:1 + i % (len(GET) - 1)]) for i in range(500)]
    slow += [rig.client(HEAD + b"Content-Length: 9\r\n\r\nx") for _ in range(90)]
    rig.wait_calls(90, 0)
    served(rig)
    for client in slow:
        client.reset()
    rig.wait_calls(0, 0)


def test_memory_of_a_flood_is_given_back(rig, many_files):
    before = rig.rss()
    head = b"GET /f/echo/ HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 7000) for i in range(4))
    slow = [rig.client(head) for _ in range(4000)]
    until(lambda: rig.rss() - before > 80 << 20, "the gateway holds all of them")
    for client in slow:
        client.reset()
    until(lambda: rig.rss() - before < 2 * GROWTH, "it gives back what they took")


def test_limit_of_descriptors_below_that_of_connections(poor_rig):
    """A call needs two: those who only sit there must leave them."""
    idle = [poor_rig.client() for _ in range(600)]
    served(poor_rig)
    assert "max_connections" in poor_rig.log()
    for raw in idle:
        raw.reset()


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12000:
        pytest.skip(f"the hard limit of descriptors is {hard}: ten thousand connections do not fit")
    resource.setrlimit(resource.RLIMIT_NOFILE, (12000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_all_connections_have_calls_the_next_waits_for_one_to_end(small_rig):
    """Each time anew: who waits at the limit finds whose connection ended, whatever happened before."""
    rig = small_rig
    rig.tell(route("echo", concurrency=9))
    clients = [rig.client(GET.replace(b"/x", b"/%d" % i)) for i in range(3)]
    heads = {}  # calls may reach the replica in another order
    for replica in [rig.replica() for _ in clients]:
        heads[replica.read_until(b"\r\n\r\n").split()[1]] = replica
    replicas = [heads[b"/%d" % i] for i in range(3)]
    rig.wait_calls(0, 3)
    for _ in range(5):
        late = rig.client(GET.replace(b"/x", b"/late"))
        replicas[0].send(OK)  # whose connection waits for a request now, and gives way
        assert b"/late" in replicas[0].read_until(b"\r\n\r\n"), "the replica's connection goes on"
        assert answer(clients[0]) == (200, b"hi")
        clients[0] = late
    for replica in replicas:
        replica.send(OK)
    assert [answer(client) for client in clients] == [(200, b"hi")] * 3


def test_who_has_said_something_does_not_give_way(small_rig):
    """More connections than there may be wait at once, and the request of none was read yet."""
    rig = small_rig
    rig.tell(route("echo", concurrency=9))
    rig.proc.send_signal(signal.SIGSTOP)
    clients = [rig.client(GET) for _ in range(4)]
    rig.proc.send_signal(signal.SIGCONT)
    replicas = [rig.replica() for _ in range(3)]
    for replica in replicas:
        replica.read_until(b"\r\n\r\n")
    for replica in replicas:
        replica.send(OK)
    assert [answer(client) for client in clients[:3]] == [(200, b"hi")] * 3


def test_ten_thousand_idle_connections(rig, many_files):
    """Most have never said a word, some have made a call. More than may be: who comes is served."""
    before = rig.rss()
    idle = [rig.client(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" if i % 10 == 0 else b"") for i in range(10050)]
    served(rig)
    assert rig.rss() - before < 2 * GROWTH
    for raw in idle:
        raw.reset()
