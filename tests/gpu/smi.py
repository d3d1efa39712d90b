"""nvidia-smi, and why it says nothing where it does. Runs on the host and, as a part of inject.py, in a container."""
import os
import shutil
import struct
import subprocess


def tried(argv, **env):
    try:
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30, env={**os.environ, **env}, check=False)
    except Exception as e:
        return {"error": repr(e)}
    return {"status": run.returncode, "stdout": run.stdout[-1500:], "stderr": run.stderr[-1500:]}


def interpreter(path):
    """The loader that an ELF file asks for, and whether it is there; None: it is no such file."""
    with open(path, "rb") as f:
        head = f.read(64)
        if head[:5] != b"\x7fELF\x02":
            return {"begins": repr(head[:32]), "size": os.path.getsize(path)}
        at, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        for i in range(count):
            f.seek(at + i * size)
            kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", f.read(40))
            if kind == 3:
                f.seek(offset)
                loader = f.read(length).rstrip(b"\0").decode()
                return {"loader": loader, "there": os.path.exists(loader)}
    return {"loader": "none: it is static"}


def smi():
    path = shutil.which("nvidia-smi")
    if not path:
        return {"path": None, "PATH": os.environ.get("PATH")}
    found = {"path": path, "real": os.path.realpath(path), "list": tried([path, "-L"])}
    try:
        found["file"] = interpreter(path)
    except OSError as e:
        found["file"] = repr(e)
    if found["list"].get("status") != 0 or not found["list"].get("stdout"):
        found["needs"] = tried([path], LD_TRACE_LOADED_OBJECTS="1")
        found["debug"] = {k: v[-3000:] if isinstance(v, str) else v
                          for k, v in tried([path, "-L"], LD_DEBUG="files").items()}
    return found


if __name__ == "__main__":
    import json
    print(json.dumps(smi(), indent=1))
