"""The function of the chaos suite: it writes down each of its runs where no fault of the cluster reaches, and answers with
what it was given. One line a write, so that lines of many replicas do not mix."""
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG = os.open("/runs/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def note(*words):
    os.write(LOG, (json.dumps([time.time(), *words]) + "\n").encode())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        run = os.urandom(8).hex()
        call, attempt = self.headers.get("Gantry-Call-Id"), int(self.headers.get("Gantry-Attempt") or 0)
        note("begin", body["nonce"], call, attempt, run)
        time.sleep(body.get("ms", 0) / 1000)
        note("end", body["nonce"], call, attempt, run)
        data = json.dumps({"nonce": body["nonce"], "run": run, "pad": "x" * body.get("pad", 0)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
