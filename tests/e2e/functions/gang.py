"""A member of a gang. Rank 0 waits for the others at MASTER_ADDR:MASTER_PORT, and then serves: what it has in its
environment, whom it met, and what it reaches."""
import http.server
import json
import os
import resource
import socket
import time
import urllib.parse

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
MASTER = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
met = {}


def connect(where, tries=1000):
    while True:
        try:
            return socket.create_connection(where, 2)
        except OSError:
            tries -= 1
            if tries == 0:
                raise
            time.sleep(0.02)


def rendezvous():
    if RANK > 0:
        sock = connect(MASTER)
        sock.sendall(json.dumps(dict(os.environ)).encode() + b"\n")
        sock.settimeout(None)
        sock.recv(1)  # for as long as rank 0 lives
        raise SystemExit(1)
    with socket.create_server(MASTER) as door:
        while len(met) < SIZE - 1:
            sock, (address, _) = door.accept()
            env = json.loads(sock.makefile().readline())
            met[int(env["RANK"])] = {"address": address, "env": env, "sock": sock}


def attempt(where):
    host, port = where.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
        return "ok"
    except OSError as e:
        return type(e).__name__


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/reach":
            answer = attempt(urllib.parse.parse_qs(url.query)["where"][0])
        else:
            shm = os.statvfs("/dev/shm")
            answer = {"env": dict(os.environ), "shm": shm.f_blocks * shm.f_frsize,
                      "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
                      "met": {r: {"address": m["address"], "env": m["env"]} for r, m in met.items()}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


rendezvous()
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
