"""A function that counts for itself how many calls it has at once.

    /work?ms=N     answers after N milliseconds
    /most          {"most": the highest number of /work at once, so far, "now": those of this moment}
    /headers       what came with the request
"""
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

lock = threading.Lock()
count = {"now": 0, "most": 0}


def work(ms):
    with lock:
        count["now"] += 1
        count["most"] = max(count["most"], count["now"])
    time.sleep(ms / 1000)
    with lock:
        count["now"] -= 1
    return {"done": True}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one piece

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/work":
            answer = work(int(parse_qs(url.query)["ms"][0]))
        elif url.path == "/headers":
            answer = {k.lower(): v for k, v in self.headers.items()}
        else:
            with lock:
                answer = dict(count)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
