"""What a function reaches with each `network`. All in network namespaces of this module's own: this
process moves into one, which is the node; world.py is the Internet."""
import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from harness import ROOT, Background, Daemon, until
from lent import running

CLONE_NEWNET = 0x40000000
NODE4, NODE6 = "203.0.113.1", "2001:db8::1"
SITE4, SITE6, METADATA, PRIVATE = "203.0.113.10", "2001:db8::10", "169.254.169.254", "10.20.30.40"
libc = ctypes.CDLL(None, use_errno=True)
UNREACHED = ("ENETUNREACH", "EHOSTUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL")


def ip(*words):
    return subprocess.run(["ip", *" ".join(words).split()], check=True, capture_output=True, text=True).stdout


def nft(*words):
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout


def links():
    """Host ends of replicas' links."""
    return [line.split()[1].split("@")[0] for line in ip("-o link").splitlines() if ": gt" in line]


class World:
    def __init__(self):
        self.proc = subprocess.Popen(["unshare", "-n", sys.executable, str(ROOT / "tests/e2e/world.py")],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.proc.stdout.readline() == "born\n"

    def say(self, line):
        self.proc.stdin.write(line + "\n")
        self.proc.stdin.flush()
        return self.proc.stdout.readline().strip()


@pytest.fixture(scope="module")
def world():
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0, "a network namespace"
    world = None
    try:
        world = World()
        ip("link set lo up")
        ip(f"link add up0 type veth peer name w0 netns {world.proc.pid}")
        ip(f"addr add {NODE4}/24 dev up0")
        ip(f"-6 addr add {NODE6}/64 dev up0 nodad")
        ip("link set up0 up")
        assert world.say("") == "ready"
        ip(f"route add default via {SITE4}")
        ip(f"-6 route add default via {SITE6}")
        yield world
    finally:
        if world:
            world.proc.kill()
            world.proc.wait()
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


def config(tmp, text):
    path = tmp / "gantryd.conf"
    path.write_text("[agent]\ndns = " + SITE4 + "\n" + text)
    return path


def ended(daemon):
    """Nothing of the daemon is left on the node, its network included."""
    daemon.stop()
    until(lambda: not links(), "the links are gone", 30)  # the kernel takes them down when it comes to it
    assert "gantry" not in nft("list tables")
    assert "unreachable" not in ip("route") + ip("-6 route")


@pytest.fixture(scope="module")
def gantry(world, tmp_path_factory):
    daemon = Daemon(config=config(tmp_path_factory.mktemp("net"), ""))
    running.append(daemon)
    daemon.start()
    yield daemon
    running.remove(daemon)
    ended(daemon)


@pytest.fixture
def own(world, tmp_path):
    """Daemons with configurations of their own. The subnets are the module's daemon's, so it gets others."""
    made = []

    def make(text):
        daemon = Daemon(config=config(tmp_path, text))
        made.append(daemon)
        running.append(daemon)
        return daemon.start()

    yield make
    for daemon in made:
        running.remove(daemon)
        daemon.stop()


OTHER = "egress_subnet4 = 198.19.0.0/16\negress_subnet6 = fd67:616e:7472:7901::/64\n"


@pytest.fixture(scope="module")
def egress(gantry):
    gantry.probe("egress", network="egress")
    gantry.ask("egress", "/facts")
    return lambda op, arg="": gantry.attempt("egress", op, arg)


def inside(pid, *words):
    """A command in the network of a replica, with root's rights that the replica does not have."""
    return json.loads(subprocess.run(["nsenter", "-t", str(pid), "-n", *words], check=True, capture_output=True,
                                     text=True).stdout)


def address(pid):
    return inside(pid, "ip", "-j", "-4", "addr", "show", "eth0")[0]["addr_info"][0]["local"]


def listener(daemon, name):
    """Another replica, which listens at all its addresses; returns its IPv4 address."""
    daemon.put(name, {"image": "host:", "command": ["/usr/bin/python3", "-m", "http.server", "8000", "--bind", "::"],
                      "port": 8000, "network": "egress", "scale": {"min": 1}})
    return address(daemon.wait_replicas(name, 1)[0]["pid"])


@pytest.fixture(scope="module")
def neighbour(gantry):
    return listener(gantry, "neighbour")


def test_none_reaches_nothing(gantry):
    gantry.probe("none")
    for where in (f"{SITE4}:80", f"{SITE6}:80", f"{METADATA}:80", f"{NODE4}:22", "127.0.0.1:22"):
        assert gantry.attempt("none", "connect", where) in UNREACHED, where
    assert "could not resolve" in gantry.attempt("none", "fetch", "http://site.example/")
    assert gantry.attempt("none", "cat", "/etc/resolv.conf") == ""


def congestion_control(pid):
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "cat", "/proc/sys/net/ipv4/tcp_congestion_control"],
                          check=True, capture_output=True, text=True).stdout.strip()


def test_congestion_is_looked_for_only_where_it_can_be(gantry, egress):
    """Every network namespace begins with that of the host's first one, which may have been set to the cheap one."""
    assert congestion_control(gantry.wait_replicas("none", 1)[0]["pid"]) == "reno"
    fresh = subprocess.run(["unshare", "-n", "cat", "/proc/sys/net/ipv4/tcp_congestion_control"], check=True,
                           capture_output=True, text=True).stdout.strip()
    assert congestion_control(gantry.wait_replicas("egress", 1)[0]["pid"]) == fresh


def test_egress_reaches_the_internet_by_both_families_and_by_name(gantry, egress):
    assert egress("fetch", f"http://{SITE4}/") == NODE4, "seen as the node: NAT"
    assert egress("fetch", f"http://[{SITE6}]/") == NODE6
    assert egress("fetch", "http://site.example/") in (NODE4, NODE6)
    assert "could not resolve" in egress("fetch", "http://other.example/")
    assert egress("fetch", f"http://{PRIVATE}/") == NODE4


def test_what_the_container_is_told(egress):
    assert egress("cat", "/etc/resolv.conf") == f"nameserver {SITE4}\n"
    assert egress("cat", "/etc/hostname") == "egress\n"
    assert "127.0.0.1\tegress\n" in egress("cat", "/etc/hosts")


def test_egress_does_not_reach_the_metadata_service(egress):
    assert egress("connect", f"{METADATA}:80") == "ECONNREFUSED", "at once, not by a time-out"


def test_egress_does_not_reach_other_replicas(gantry, egress, neighbour, world):
    answer = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://{neighbour}:8000/"],
                            capture_output=True, text=True, check=True).stdout
    assert answer == "200", "it does listen: the node itself gets there"
    assert egress("connect", f"{neighbour}:8000") == "ECONNREFUSED"
    six = f"fd67:616e:7472:7900::{int(neighbour.rsplit('.', 1)[1]):x}"
    assert egress("connect", f"{six}:8000") == "ECONNREFUSED"
    assert world.say(f"connect {neighbour} 8000") != "ok", "nor does anybody from outside"


def test_egress_does_not_reach_the_node(gantry, egress):
    for listener in (f"{NODE4}", f"{NODE6}", "198.18.0.1"):
        assert egress("connect", f"{listener}:{gantry.address[1]}") in UNREACHED
    everywhere = subprocess.Popen([sys.executable, "-m", "http.server", "8099", "--bind", "::"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert "8099" in everywhere.stdout.readline()
        assert subprocess.run(["curl", "-sSo", "/dev/null", f"http://{NODE4}:8099/"], check=False).returncode == 0
        assert egress("connect", f"{NODE4}:8099") == "ECONNREFUSED"
        assert egress("connect", f"{NODE6}:8099") == "ECONNREFUSED"
    finally:
        everywhere.kill()
        everywhere.wait()


def test_a_replica_has_no_rights_over_its_link(gantry, egress):
    assert egress("raw") != "ok"
    assert egress("write", "/proc/sys/net/ipv4/ip_forward") in ("EROFS", "EACCES")


FORGER = """
import json, socket, subprocess
def ask(name, source=""):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    sock.bind((source, 0))
    head = bytes.fromhex("000101000001000000000000")
    sock.sendto(head + bytes([len(name)]) + name + bytes.fromhex("0000010001"), ("%s", 53))
    return sock
for address in ("198.18.200.1", "10.9.8.7"):
    subprocess.run(["ip", "addr", "add", address + "/32", "dev", "lo"], check=True)
    ask(b"from" + address.replace(".", "-").encode(), address)
ask(b"fromitself").recv(512)  # on the same way, behind the others
print(json.dumps("answered"))
""" % SITE4


def test_a_forged_source_goes_nowhere(gantry, egress, world):
    """By root in the replica's network: the replica could not even try."""
    pid = gantry.replicas("egress", "ready")[0]["pid"]
    assert inside(pid, sys.executable, "-c", FORGER) == "answered"
    assert world.say("heard fromitself") == "yes"
    assert world.say("heard from198-18-200-1") == "no"
    assert world.say("heard from10-9-8-7") == "no"


def test_no_link_is_made_on_the_path_of_a_call(gantry, egress):
    """A start takes a link that is there; the next one is made afterwards."""
    gantry.probe("second", network="egress", scale={"max": 1})
    until(lambda: len(links()) >= 3, "links are staged ahead")
    before = set(links())
    gantry.ask("second", "/facts")
    pid = gantry.replicas("second", "ready")[0]["pid"]
    number = inside(pid, "ip", "-j", "link", "show", "eth0")[0]["link_index"]
    mine = [line for line in ip("-o link").splitlines() if line.startswith(f"{number}:")]
    assert mine and mine[0].split()[1].split("@")[0] in before


def test_addresses_survive_the_agent(gantry, egress):
    before = gantry.replicas("egress", "ready")[0]["pid"]
    os.kill(gantry.roles()["agent"], signal.SIGKILL)

    def gets_out():  # a call that comes before the next agent is refused
        reply = gantry.call("egress", f"/try?op=fetch&arg=http://{SITE4}/")
        return reply.status == 200 and reply.json() == NODE4

    until(gets_out, "the adopted replica has its way out")
    assert gantry.wait_replicas("egress", 1)[0]["pid"] == before
    gantry.probe("third", network="egress")
    assert gantry.attempt("third", "fetch", f"http://{SITE4}/") == NODE4
    pids = [gantry.wait_replicas(f, 1)[0]["pid"] for f in ("egress", "third")]
    assert len(set(map(address, pids))) == 2
    assert egress("connect", f"{METADATA}:80") == "ECONNREFUSED"


def test_host_network_is_refused_unless_allowed(gantry, own):
    gantry.probe("host", network="host", limits={"wait": "20s"})
    reply = gantry.call("host", "/facts")
    assert reply.status == 503 and reply.json()["cause"] == "network_not_allowed", reply
    assert "allow_host_network" in reply.text
    allowing = own(OTHER + "allow_host_network = yes\n")
    allowing.probe("host", network="host", port=8123)
    assert "up0" in allowing.ask("host", "/facts")["interfaces"]
    assert allowing.attempt("host", "fetch", f"http://{METADATA}/") == NODE4, "as the node itself"


def test_the_operator_blocks_and_allows(own):
    daemon = own(OTHER + f"egress_private = no\negress_block = {SITE4}\negress_allow = {METADATA}\n")
    daemon.probe("f", network="egress")
    assert daemon.attempt("f", "connect", f"{PRIVATE}:80") == "ECONNREFUSED"
    assert daemon.attempt("f", "connect", f"{SITE4}:80") == "ECONNREFUSED"
    assert daemon.attempt("f", "fetch", f"http://{METADATA}/") == NODE4
    assert daemon.attempt("f", "fetch", "http://site.example/") == NODE6, "its name server answers, blocked or not"


def test_a_second_daemon_with_the_same_subnet_says_so(gantry, egress, own):
    second = own("")
    second.probe("f", network="egress", limits={"wait": "20s"})
    reply = second.call("f")
    assert reply.status == 503 and "egress_subnet4" in reply.text and "another gantryd?" in reply.text
    second.probe("g")
    assert second.call("g").status == 200


def test_a_reload_changes_the_rules_of_replicas_that_run(own):
    daemon = own(OTHER)
    daemon.probe("f", network="egress")
    assert daemon.attempt("f", "connect", f"{SITE4}:80") == "ok"
    pid = daemon.replicas("f", "ready")[0]["pid"]
    daemon.config.write_text(f"[agent]\n{OTHER}egress_block = {SITE4}\n")
    daemon.proc.send_signal(signal.SIGHUP)
    until(lambda: f"ip daddr {SITE4} goto refuse" in nft("list ruleset"), "the new rule is there")
    assert daemon.attempt("f", "connect", f"{SITE4}:80") == "ECONNREFUSED"
    assert daemon.wait_replicas("f", 1)[0]["pid"] == pid  # the next control has to hear of it first


def test_a_name_server_on_the_node_is_reached_at_its_port_alone(own):
    daemon = own(OTHER + f"dns = {NODE4}\n")
    daemon.probe("f", network="egress")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((NODE4, 53))
        server.settimeout(20)
        asking = Background(lambda: daemon.attempt("f", "fetch", "http://some.example/"))
        assert b"some" in server.recvfrom(512)[0]
        assert daemon.attempt("f", "connect", f"{NODE4}:22") == "ECONNREFUSED"
    asking.result()


def test_no_exception_opens_other_replicas(own):
    daemon = own(OTHER + "egress_allow = 0.0.0.0/0 ::/0\n")
    daemon.probe("f", network="egress")
    assert daemon.attempt("f", "fetch", f"http://{METADATA}/") == NODE4
    other = listener(daemon, "neighbour")
    assert daemon.attempt("f", "connect", f"{other}:8000") == "ECONNREFUSED"


def traces(subnet):
    return ([line for line in (ip("route") + ip("-6 route")).splitlines() if subnet in line]
            + re.findall("gantry-[0-9a-f]+", nft("list tables")))


def test_int_leaves_nothing_and_term_what_replicas_need(world, gantry, tmp_path):
    # The kernel takes down networks of the test before when it comes to it.
    until(lambda: not any("198.19." in line for line in traces("198.19.")), "nothing is there before", 30)
    before = traces("198.19.")
    daemon = Daemon(config=config(tmp_path, OTHER))
    running.append(daemon)
    try:
        daemon.start()
        daemon.probe("f", network="egress", scale={"min": 1})
        pid = daemon.wait_replicas("f", 1)[0]["pid"]
        assert daemon.signal(signal.SIGTERM) == 0
        # Asked from inside its network, as the replica itself is not reachable without a daemon.
        curl = ["nsenter", "-t", str(pid), "-n", "curl", "-sS", "-m", "5"]
        assert subprocess.run([*curl, f"http://{SITE4}/"], capture_output=True, text=True, check=True).stdout == NODE4
        assert subprocess.run([*curl, f"http://{METADATA}/"], capture_output=True, check=False).returncode == 7
        daemon.start()
        daemon.wait_replicas("f", 1)
        assert daemon.signal(signal.SIGINT) == 0
        until(lambda: traces("198.19.") == before, f"gone: {traces('198.19.')}, but for {before}", 30)
    finally:
        running.remove(daemon)
        daemon.stop()


def test_the_machine_itself_was_left_alone(gantry):
    assert pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
    assert pathlib.Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "0\n"
