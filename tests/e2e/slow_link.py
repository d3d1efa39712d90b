"""A slow way between two ports of the bridge: each frame comes a while later. Kernels without netem have nothing for it.
The rules of the bridge lose what would go straight on (hosts.Net.slow); this process hands it over when its time has come.

usage: slow_link.py SECONDS FROM TO MAC [FROM TO MAC]...	frames that port FROM gets for MAC, or for all, go out at port TO
"""
import collections
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
EVERY_PROTOCOL = 3
HEADER = 10  # of the kernel's, before each frame: what is left to do for checksums and segments
ALL = b"\xff" * 6


def port(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # what comes before it is bound would be of any port
    for option in (PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING):
        sock.setsockopt(SOL_PACKET, option, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((name, EVERY_PROTOCOL))
    sock.setblocking(False)
    return sock


def main(delay, *ways):
    ports, routes = {}, {}
    for begin, end, mac in zip(ways[::3], ways[1::3], ways[2::3], strict=True):
        for name in (begin, end):
            ports.setdefault(name, port(name))
        routes[ports[begin]] = (ports[end], bytes.fromhex(mac.replace(":", "")))
    late = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        for sock in select.select(list(routes), [], [], wait)[0]:
            out, mac = routes[sock]
            try:
                frame = sock.recv(1 << 17)
            except BlockingIOError:  # it was lost after all
                continue
            if frame[HEADER:HEADER + 6] in (mac, ALL):
                late.append((time.monotonic() + delay, out, frame))
        while late and late[0][0] <= time.monotonic():
            _, out, frame = late.popleft()
            try:
                out.send(frame)
            except OSError:  # a port that takes no more now loses it, as a real one
                pass


main(float(sys.argv[1]), *sys.argv[2:])
