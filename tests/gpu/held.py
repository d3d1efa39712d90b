"""A function that holds memory on a GPU, and says what is in it.

held.py torch|host GIB PORT    torch: a tensor on the GPU; host: memory of the host, where there is only a simulated GPU
GET /health; GET /hash answers {"hash", "n"}; GET /touch?n=N changes all of it and answers what was there "before", too."""
import http.server
import json
import sys
import time
import urllib.parse
import zlib

STEP = 64 << 20


class Torch:
    def __init__(self, size):
        import torch

        self.torch = torch
        self.data = torch.arange(size // 4, dtype=torch.int32, device="cuda")
        torch.cuda.synchronize()

    def touch(self, n):
        self.data.add_(n)
        self.torch.cuda.synchronize()

    def parts(self):
        for part in self.data.split(STEP // 4):
            yield part.cpu().numpy().tobytes()


class Host:
    def __init__(self, size):
        self.data = bytearray(size)

    def touch(self, n):
        self.data[:] = bytes([n & 255]) * len(self.data)

    def parts(self):
        yield self.data


def checksum(held):
    crc = 0
    for part in held.parts():
        crc = zlib.crc32(part, crc)
    return f"{crc:08x}"


def answer(held, url):
    query = urllib.parse.parse_qs(url.query)
    n = int(query.get("n", ["0"])[0])
    begin, found = time.monotonic(), {"n": n}
    if url.path == "/health":
        return {"ok": True}
    if url.path == "/touch":
        found["before"] = checksum(held)
        held.touch(n)
    return {**found, "hash": checksum(held), "ms": round((time.monotonic() - begin) * 1000, 1)}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held = None

    def do_GET(self):
        try:
            status, body = 200, answer(self.held, urllib.parse.urlparse(self.path))
        except Exception as e:  # the caller reports it
            status, body = 500, {"error": repr(e)}
        print(self.path, body, flush=True)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main():
    kind, size, port = sys.argv[1], int(float(sys.argv[2]) * 2**30) // 4 * 4, int(sys.argv[3])
    begin = time.monotonic()
    Handler.held = {"torch": Torch, "host": Host}[kind](size)
    print(f"{size} bytes ({kind}) after {time.monotonic() - begin:.2f} s", flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
