"""A process with memory on the GPU, driven by lines: prints a line for each.

hold.py driver GIB   memory of the driver API alone
hold.py torch GIB    a tensor of PyTorch, as an engine has it
ready -> "hash" prints a checksum of the bytes on the GPU (of every 16th piece where they are many), "touch N" changes
them, "exit" ends it."""
import ctypes
import sys
import zlib

CHUNK = 64 << 20
MANY = 8 << 30


class DriverMemory:
    def __init__(self, size):
        import driver

        self.cuda = driver.Cuda()
        self.cuda.init()
        self.context = self.cuda.context()
        self.size = size
        self.at = self.cuda.alloc(size)
        self.touch(1)

    def touch(self, n):
        for i, offset in enumerate(range(0, self.size, CHUNK)):
            part = ctypes.c_uint64(self.at.value + offset)
            self.cuda.fill(part, (0x9E3779B9 * (i + 1) + n) & 0xFFFFFFFF, min(CHUNK, self.size - offset))

    def hash(self):
        crc, buffer = 0, (ctypes.c_ubyte * CHUNK)()
        for offset in range(0, self.size, CHUNK * (16 if self.size > MANY else 1)):
            self.cuda.read(self.at, offset, buffer)
            crc = zlib.crc32(buffer, crc)
        return f"{crc:08x}"


class TorchMemory:
    def __init__(self, size):
        import torch

        self.torch = torch
        torch.manual_seed(7)
        self.data = torch.randint(0, 2**31 - 1, (size // 4,), dtype=torch.int32, device="cuda")
        torch.cuda.synchronize()

    def touch(self, n):
        self.data.add_(n)
        self.torch.cuda.synchronize()

    def hash(self):
        crc = 0
        for part in self.data.split(CHUNK // 4):
            crc = zlib.crc32(part.cpu().numpy(), crc)
        return f"{crc:08x}"


def main():
    kind, size = sys.argv[1], int(float(sys.argv[2]) * 2**30) // 4 * 4
    held = {"driver": DriverMemory, "torch": TorchMemory}[kind](size)
    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "exit":
            break
        if word == "touch":
            held.touch(int(rest[0]))
            print("touched", flush=True)
        elif word == "hash":
            print(held.hash(), flush=True)


if __name__ == "__main__":
    main()
