"""The Internet of test_network.py, in a network namespace of its own: a web site, a cloud's metadata
service, a host in a private network, a name server. Started by `unshare -n`; configures itself once
its end of the link is there, which a line on standard input tells."""
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SITE4, SITE6, METADATA, PRIVATE = "203.0.113.10", "2001:db8::10", "169.254.169.254", "10.20.30.40"
RECORDS = {(b"site.example", 1): socket.inet_pton(socket.AF_INET, SITE4),
           (b"site.example", 28): socket.inet_pton(socket.AF_INET6, SITE6)}


heard = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """Tells who asked: the address behind which a replica is."""
        data = self.client_address[0].removeprefix("::ffff:").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    name = b".".join(labels).lower()
    data = RECORDS.get((name, kind))
    code = 0 if data or any(n == name for n, _ in RECORDS) else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if data else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data if data else b""
    return head + query[12:at + 5] + record


def serve_names(sock):
    while True:
        query, peer = sock.recvfrom(512)
        heard.append(query)
        sock.sendto(answer(query), peer)


def run(*commands):
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


print("born", flush=True)
sys.stdin.readline()
run("link set lo up", f"addr add {SITE4}/24 dev w0", f"-6 addr add {SITE6}/64 dev w0 nodad",
    f"addr add {METADATA}/32 dev lo", f"addr add {PRIVATE}/32 dev lo", "link set w0 up",
    "route add 198.18.0.0/16 via 203.0.113.1")
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((SITE4, 53))
threading.Thread(target=serve_names, args=(names,), daemon=True).start()
for server in (ThreadingHTTPServer(("0.0.0.0", 80), Handler), Server6((SITE6, 80), Handler)):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
# Later lines: "connect HOST PORT", and tells how that went; "heard WORD", in a query for a name.
for line in sys.stdin:
    words = line.split()
    if words[0] == "heard":
        print("yes" if any(words[1].encode() in query for query in heard) else "no", flush=True)
        continue
    try:
        socket.create_connection((words[1], int(words[2])), 1).close()
        print("ok", flush=True)
    except OSError as e:
        print(type(e).__name__, flush=True)
