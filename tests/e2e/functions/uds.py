"""An HTTP server on the unix socket that GANTRY_SOCKET names."""
import http.server
import os
import socketserver

PATH = os.environ["GANTRY_SOCKET"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.path} {os.getuid()} {os.environ.get('PORT', '-')}".encode()
        self.send_response(204 if self.path == "/health" else 200)
        if self.path != "/health":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path != "/health":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "unix"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


Server(PATH, Handler).serve_forever()
