"""Reads a file of weights as loaders do, through a mapping, and tells what that cost."""
import hashlib
import json
import mmap
import os
import resource
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


def read_bytes():
    """What this process had read from disks."""
    with open("/proc/self/io") as f:
        return int(dict(line.split(": ") for line in f.read().splitlines())["read_bytes"])


def mapped_huge(path):
    """Bytes of the file that are mapped 2 MiB at a time."""
    found, here = 0, False
    with open("/proc/self/smaps") as f:
        for line in f:
            if line[0] in "0123456789abcdef":
                here = line.rstrip().endswith(path)
            elif here and line.startswith(("ShmemPmdMapped", "FilePmdMapped")):
                found += int(line.split()[1]) << 10
    return found


# What of the programs' own files this needs is in memory before anything is counted.
hashlib.sha256(bytes(1 << 20)).hexdigest()
read_bytes()


def load(path):
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        before, cpu, begin = read_bytes(), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        with mmap.mmap(f.fileno(), size, prot=mmap.PROT_READ) as m:
            digest, huge = hashlib.sha256(m).hexdigest(), mapped_huge(path)
        end = resource.getrusage(resource.RUSAGE_SELF)
        st = os.fstat(f.fileno())
        return {"sha256": digest, "size": size, "read_bytes": read_bytes() - before, "dev": st.st_dev,
                "mode": st.st_mode & 0o7777, "mtime_ns": st.st_mtime_ns, "faults": end.ru_majflt - cpu.ru_majflt,
                "huge_bytes": huge, "seconds": time.monotonic() - begin}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = parse_qs(urlparse(self.path).query)
        try:
            answer = load(query["path"][0])
        except OSError as e:
            answer = {"error": str(e)}
        if "write" in query:
            try:
                with open(query["path"][0], "r+b") as f:
                    f.write(b"x")
                answer["written"] = True
            except OSError as e:
                answer["written"] = e.errno
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
