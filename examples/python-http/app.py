"""A web app as a Gantry function: nothing but Python's standard library.

It listens on 127.0.0.1:$PORT. One process serves many calls at once; `scale.concurrency` in the
spec says how many Gantry may send it at the same time.
"""
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

served = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global served
        with lock:
            served += 1
            n = served
        self.answer({"path": self.path, "calls_served": n, "replica": os.environ["GANTRY_REPLICA"]})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"path": self.path, "upper": body.decode("utf-8", "replace").upper()})

    def answer(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, text, *args):
        print(text % args, flush=True)  # `gantry logs` shows it


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("ready", flush=True)
server.serve_forever()
