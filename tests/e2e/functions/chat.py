"""Speaks enough of OpenAI's API to tell what arrived, and misbehaves when the last message says so. It
listens once /gate/go exists, or ends when that says "die"."""
import hashlib
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"ok": True})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = hashlib.sha256(body).hexdigest()
        if self.path == "/v1/audio/transcriptions":
            self.answer(200, {"text": digest})
            return
        asked = json.loads(body)
        said = asked["messages"][-1]["content"]
        if said == "refuse":
            self.answer(400, {"error": {"message": "not today", "type": "invalid_request_error", "code": "mood"}})
        elif asked.get("stream"):
            self.stream(asked["model"], said)
        else:
            self.answer(200, {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": digest}}]})

    def stream(self, model, said):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in ("one", "two", "three"):
            event = json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [
                {"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            self.piece(f"data: {event}\n\n")
            if word == "two" and said == "die":
                self.piece('data: {"id": "1", "obj')
                os._exit(9)
        self.piece("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, text):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))
        self.wfile.flush()

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


gate = Path("/gate/go")
while not gate.exists():
    time.sleep(0.02)
if gate.read_text() == "die":
    os._exit(3)
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
