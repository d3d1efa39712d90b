"""An inference engine as parking sees one: it goes to sleep and wakes when it is asked to, and can be told to fail.
While it sleeps it answers no call."""
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

state = {"asleep": False, "sleeps": 0, "wakes": 0, "fail": os.environ.get("FAIL", "")}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if state["asleep"]:
            self.answer(500, "asleep")
        else:
            self.answer(200, f"{state['sleeps']} slept, {state['wakes']} woke")

    def do_POST(self):
        if self.path == "/sleep?level=1" and state["fail"] != "sleep":
            state["asleep"] = True
            state["sleeps"] += 1
            self.answer(200, "")
        elif self.path == "/wake_up" and state["fail"] != "wake":
            state["asleep"] = False
            state["wakes"] += 1
            self.answer(200, "")
        else:
            self.answer(500, "no")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
