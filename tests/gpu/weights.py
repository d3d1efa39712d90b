"""Weights on a machine with a GPU: read ahead and kept by the daemon from a cold disk, then copied to the GPU.

Run by scripts/gpu-check, or alone: python3 tests/gpu/weights.py [--gib 4]. Needs root and a built gantryd."""
import argparse
import concurrent.futures
import ctypes
import glob
import json
import mmap
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import driver
from daemon import BIN, Failed, Gantry

MIB, GIB = 2**20, 2**30
TMPFS_MAGIC = 0x01021994
BENCH = [BIN / "weights", BIN / "tests/bench/gpu/weights", BIN / "plain/tests/bench/gpu/weights"]

# The function: copies its weights out of a mapping, as loaders do, when it is asked.
PROGRAM = r"""
import http.server, json, mmap, os, time
def load():
    def read_bytes():
        return int(next(l for l in open("/proc/self/io") if l.startswith("read_bytes")).split()[1])
    before, cpu, begin = read_bytes(), time.process_time(), time.monotonic()
    with open("/models/m.safetensors", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        size, window = len(m), bytearray(64 << 20)
        view = memoryview(m)
        for at in range(0, size, len(window)):
            n = min(len(window), size - at)
            window[:n] = view[at:at + n]
        view.release()
        fs = [l.split() for l in open("/proc/self/mountinfo") if l.split()[4].startswith("/models")]
        return {"s": time.monotonic() - begin, "cpu_s": time.process_time() - cpu, "bytes": size,
                "read_bytes": read_bytes() - before, "mounts": [" ".join(l[4:5] + l[l.index("-") + 1:]) for l in fs]}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps(load() if self.path == "/load" else {}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(data))); self.end_headers(); self.wfile.write(data)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


def write_model(path, gib):
    """Bytes that no file system makes smaller."""
    block = bytearray(os.urandom(64 * MIB))
    with open(path, "wb", buffering=0) as f:
        for i in range(int(gib * GIB) // len(block)):
            block[:8] = i.to_bytes(8, "little")
            f.write(block)
        os.fsync(f.fileno())


def forget(path):
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(path):
    """Bytes of it in the page cache."""
    libc, size = ctypes.CDLL(None, use_errno=True), os.path.getsize(path)
    pages = (ctypes.c_ubyte * ((size + 4095) // 4096))()
    fd = os.open(path, os.O_RDONLY)
    at = mapped(libc, fd, size, False)
    os.close(fd)
    failed = libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), pages)
    libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    return None if failed else 4096 * sum(bytes(pages).translate(bytes(i & 1 for i in range(256))))


def direct_gbps(path):
    """What the disk can, past the page cache: eight reads of 8 MiB at once. None: the file system does not do that."""
    size, piece = os.path.getsize(path), 8 * MIB
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return None
    buffers = [mmap.mmap(-1, piece) for _ in range(8)]

    def read(lane):
        for at in range(lane * piece, size, 8 * piece):
            os.preadv(fd, [buffers[lane]], at)

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    os.close(fd)
    return round(size / (time.monotonic() - begin) / 1e9, 3)


def sectors_read():
    """Of all disks, not of their partitions."""
    disks = {os.path.basename(d) for d in glob.glob("/sys/block/*")}
    return sum(int(f[5]) for f in map(str.split, open("/proc/diskstats", encoding="ascii")) if f[2] in disks)


def spec(python, folder, store, most):
    return {"image": "host:", "command": [python, "-c", PROGRAM], "port": 8000,
            "volumes": [{"host": str(folder), "path": "/models"}],
            "weights": {"paths": ["/models/m.safetensors"], "store": store},
            "resources": {"memory": "1GiB"}, "scale": {"min": most, "max": most}}


def all_ready(g, name, n):
    g.wait(lambda: len([r for r in g.replicas(name) if r["state"] == "ready"]) == n, f"{n} replicas of {name} are ready", 60)


def progress(g, name):
    return next((r["weights"] for r in g.replicas(name) if "weights" in r), None)


def ahead(g, python, folder, path, size):
    """Into the page cache, though nobody reads: how fast, and what the program finds then."""
    forget(path)
    found = {"resident_before": resident(path)}
    begin = time.monotonic()
    g.deploy("ahead", spec(python, folder, False, 1))

    def whole():
        p = progress(g, "ahead")
        return p and p.get("total") and p["bytes"] + p["resident"] == p["total"] and p

    found["told"] = g.wait(whole, "all is read ahead", 60)
    found["gbps"] = round(size / (time.monotonic() - begin) / 1e9, 3)
    found["resident_after"] = resident(path)
    all_ready(g, "ahead", 1)
    before = sectors_read()
    found["load"] = g.call("ahead", "/load")[1]
    found["sectors_read_by_load"] = sectors_read() - before
    found["node"] = g.node()["weights"]
    g.cli("rm", "ahead", "--force", check=False)
    if found["load"]["read_bytes"]:
        raise RuntimeError(f"the program read {found['load']['read_bytes']} bytes itself: {found}")
    return found


def stored(g, python, folder, path, size):
    """Into the store by the first replica; a second one reads nothing from a disk."""
    forget(path)
    begin = time.monotonic()
    g.deploy("kept", spec(python, folder, True, 1))
    all_ready(g, "kept", 1)
    found = {"first_ready_s": round(time.monotonic() - begin, 3), "fill_gbps": round(size / (time.monotonic() - begin) / 1e9, 3),
             "told": progress(g, "kept")}
    _, found["first"], first = g.call("kept", "/load")
    before, begin = sectors_read(), time.monotonic()
    g.deploy("kept", spec(python, folder, True, 2))
    all_ready(g, "kept", 2)
    found["second_ready_s"] = round(time.monotonic() - begin, 3)
    _, found["second"], by = g.call("kept", "/load")
    found["sectors_read_by_second"] = sectors_read() - before
    found["resident_of_source"] = resident(path)
    found["node"] = g.node()["weights"]
    if by == first or found["node"]["resident_bytes"] < size or found["second"]["read_bytes"]:
        raise RuntimeError(f"the second replica read from a disk, or the node does not tell what it holds: {found}")
    return found


# ---- to the GPU ----

def mapped(libc, fd, size, writable):
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    prot, flags = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0), mmap.MAP_SHARED if fd >= 0 else 0x22
    at = libc.mmap(None, size, prot, flags, fd, 0)
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return at


def touch(at, size):
    return sum((ctypes.c_ubyte * size).from_address(at)[0:size:4096])


def copy_gbps(cuda, to, at, size):
    begin = time.monotonic()
    cuda.write(to, at, size)
    return round(size / (time.monotonic() - begin) / 1e9, 2)


def registered(cuda, libc, to, fd, size, writable=False):
    """Copies of a mapping to the GPU: as it is, then registered; or with which code that is refused."""
    at = mapped(libc, fd, size, writable)
    touch(at, size)
    row = {"bytes": size, "plain_gbps": [copy_gbps(cuda, to, at, size) for _ in range(3)]}
    for name, flags in (("read_only", 8), ("default", 0)):
        try:
            begin = time.monotonic()
            cuda.register(at, size, flags)
            row[name] = {"register_ms": round((time.monotonic() - begin) * 1000, 1),
                         "gbps": [copy_gbps(cuda, to, at, size) for _ in range(3)]}
            begin = time.monotonic()
            cuda.unregister(at)
            row[name]["unregister_ms"] = round((time.monotonic() - begin) * 1000, 1)
        except driver.DriverError as e:
            row[name] = {"refused": str(e)}
    libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    return row


def registers(store_file, path, size):
    """The store's mapping, and for comparison the page cache, ordinary shared memory and a program's own."""
    cuda, libc = driver.Cuda(), ctypes.CDLL(None, use_errno=True)
    cuda.init()
    cuda.context()
    size = min(size, 2 * GIB)
    to, found = cuda.alloc(size), {}
    small = os.memfd_create("small")
    os.ftruncate(small, size)
    sources = {"store": (os.open(store_file, os.O_RDONLY), False) if store_file else None,
               "page cache": (os.open(path, os.O_RDONLY), False), "shared memory, small pages": (small, True),
               "own memory": (-1, True)}
    for name, source in sources.items():
        try:
            found[name] = registered(cuda, libc, to, source[0], size, source[1]) if source else "there is none"
        except (OSError, driver.DriverError) as e:
            found[name] = f"{type(e).__name__}: {e}"
    return found


def bench(path):
    """The bench's own program, one round of each of its ways: wall and CPU seconds, faults, bytes from disks."""
    program = next((p for p in BENCH if p.exists()), None)
    if not program:
        return "not built: make build/tests/bench/gpu/weights"
    found = {}
    for mode in ("direct", "ahead", "use", "both", "warm", "huge", "own"):
        run = subprocess.run([program, mode, path], capture_output=True, text=True, timeout=60, check=False)
        if run.returncode:
            found[mode] = run.stderr[-300:]
            continue
        wall, cpu, faults, read, huge = map(int, run.stdout.split())
        found[mode] = {"s": round(wall / 1e9, 3), "cpu_s": round(cpu / 1e9, 3), "faults": faults, "read_bytes": read, "huge_bytes": huge}
    return found


def run(python=sys.executable, gib=4, gpu=True, found=None):
    found = {} if found is None else found
    place = next((p for p in ("/var/tmp", "/tmp", "/root") if os.path.isdir(p) and on_disk(p)), None)
    if not place:
        raise RuntimeError("every directory here is in memory: there is no disk to read from")
    with tempfile.TemporaryDirectory(prefix="gantry-gpu-check-", dir=place) as name:
        os.chmod(name, 0o755)
        path, size = pathlib.Path(name) / "m.safetensors", int(gib * GIB)
        write_model(path, gib)
        forget(path)
        found.update({"bytes": size, "place": place, "file_system": file_system(place), "direct_gbps": direct_gbps(path)})
        # Another daemon may run beside this one: ids of its own.
        with Gantry("auto" if gpu else "none", f"weight_store = {size // MIB + 64}MiB\nsubid_base = 1616904192\n") as g:
            found["ahead"] = ahead(g, python, name, path, size)
            found["store"] = stored(g, python, name, path, size)
            kept = max(glob.glob(f"{g.state}/agent/weights/*"), key=os.path.getsize, default=None)
            if gpu:
                found["to_gpu"] = registers(kept, path, size)
        found["bench"] = bench(path)
    return found


def file_system(place):
    return subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=False).stdout.strip()


def on_disk(place):
    return file_system(place) not in ("tmpfs", "ramfs", "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--no-gpu", action="store_true")
    args = parser.parse_args()
    try:
        print(json.dumps(run(gib=args.gib, gpu=not args.no_gpu), indent=1))
    except Failed as e:
        sys.exit(json.dumps({"why": str(e), "evidence": e.evidence}, indent=1))


if __name__ == "__main__":
    main()
