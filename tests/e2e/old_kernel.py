"""Runs a program as on a kernel that lacks something: a seccomp filter answers as such a kernel would.
usage: old_kernel.py WHAT[,WHAT] PROGRAM [ARGUMENT...]"""
import ctypes
import errno
import os
import struct
import sys

FSCONFIG = 431  # on every architecture
SET_FLAG, SET_FD = 0, 5
# Which fsconfig(2) fails, and how.
LACKS = {
    "mounts-from-files": (SET_FLAG, errno.ENOTBLK),  # before 6.12; only a layer's mount sets a flag
    "layers-by-descriptor": (SET_FD, errno.EINVAL),  # before 6.13
}


def program(lacks):
    """In classic BPF; the numbers in it are of linux/filter.h and linux/seccomp.h."""
    load, equal, end = 0x20, 0x15, 0x06
    allow, fail = 0x7fff0000, 0x00050000
    code = [(load, 0, 0, 0), (equal, 1, 0, FSCONFIG), (end, 0, 0, allow), (load, 0, 0, 24)]  # 24: args[1]
    for what in lacks:
        command, code_of_it = LACKS[what]
        code += [(equal, 0, 1, command), (end, 0, 0, fail | code_of_it)]
    return [struct.pack("HBBI", *row) for row in code + [(end, 0, 0, allow)]]


def lack(lacks):
    rows = program(lacks)
    text = ctypes.create_string_buffer(b"".join(rows))
    head = ctypes.create_string_buffer(struct.pack("HP", len(rows), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(head), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        sys.exit(f"old_kernel.py: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    lack([w for w in sys.argv[1].split(",") if w])
    os.execvp(sys.argv[2], sys.argv[2:])
