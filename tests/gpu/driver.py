"""NVML and the CUDA driver by ctypes: what the checks need of them, apart from the program's own code.

An oracle that shares nothing with src/gpu: declarations follow the public documentation of CUDA 13 and NVML."""
import ctypes
import ctypes.util
import glob
import os

ROOTS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
         "/run/nvidia/driver/usr/lib/x86_64-linux-gnu")
STATES = ("running", "locked", "checkpointed", "failed")
LOCK_MS = 10_000  # never 0, which waits for ever


class DriverError(RuntimeError):
    def __init__(self, call, code, text=""):
        super().__init__(f"{call}: {code} {text}".rstrip())
        self.call, self.code = call, code


def find(soname):
    """Where the library is: by name, then below the usual driver roots. None: it is not there."""
    try:
        ctypes.CDLL(soname)
        return soname
    except OSError:
        pass
    for root in ROOTS:
        for path in sorted(glob.glob(f"{root}/{soname}*")):
            try:
                ctypes.CDLL(path)
                return path
            except OSError:
                continue
    return None


class GpuPair(ctypes.Structure):
    _fields_ = [("old", ctypes.c_ubyte * 16), ("new", ctypes.c_ubyte * 16)]


class LockArgs(ctypes.Structure):
    _fields_ = [("timeout_ms", ctypes.c_uint), ("reserved0", ctypes.c_uint), ("reserved1", ctypes.c_uint64 * 7)]


class PlainArgs(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_uint64 * 8)]


assert ctypes.sizeof(LockArgs) == ctypes.sizeof(PlainArgs) == 64


class Cuda:
    """The driver API. init() makes no context: that is context()'s, which costs memory on the GPU."""

    def __init__(self, path=None):
        self.path = path or find("libcuda.so.1")
        if not self.path:
            raise DriverError("dlopen", 0, "libcuda.so.1 is not there")
        self.lib = ctypes.CDLL(self.path)

    def call(self, name, *args):
        try:
            function = getattr(self.lib, name)
        except AttributeError:
            raise DriverError(name, -1, "not in this driver") from None
        code = function(*args)
        if code:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorName(code, ctypes.byref(text))
            raise DriverError(name, code, (text.value or b"").decode())

    def has(self, name):
        return hasattr(self.lib, name)

    def init(self):
        self.call("cuInit", 0)

    def version(self):
        v = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(v))
        return v.value

    def count(self):
        n = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(n))
        return n.value

    def context(self, device=0):
        dev, ctx = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(dev), device)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(ctx), dev)
        self.call("cuCtxSetCurrent", ctx)
        return ctx

    def free_memory(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def alloc(self, size):
        at = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
        return at

    def free(self, at):
        self.call("cuMemFree_v2", at)

    def fill(self, at, value, size):
        self.call("cuMemsetD32_v2", at, ctypes.c_uint(value), ctypes.c_size_t(size // 4))
        self.call("cuCtxSynchronize")

    def read(self, at, offset, buffer):
        self.call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(at.value + offset), ctypes.c_size_t(len(buffer)))

    def write(self, to, at, size):
        self.call("cuMemcpyHtoD_v2", to, ctypes.c_void_p(at), ctypes.c_size_t(size))

    def register(self, at, size, flags):
        self.call("cuMemHostRegister_v2", ctypes.c_void_p(at), ctypes.c_size_t(size), ctypes.c_uint(flags))

    def unregister(self, at):
        self.call("cuMemHostUnregister", ctypes.c_void_p(at))

    # ---- checkpointing another process ----

    def state(self, pid):
        s = ctypes.c_int()
        self.call("cuCheckpointProcessGetState", pid, ctypes.byref(s))
        return STATES[s.value] if s.value < len(STATES) else str(s.value)

    def lock(self, pid, timeout_ms=LOCK_MS):
        self.call("cuCheckpointProcessLock", pid, ctypes.byref(LockArgs(timeout_ms=timeout_ms)))

    def checkpoint(self, pid):
        self.call("cuCheckpointProcessCheckpoint", pid, ctypes.byref(PlainArgs()))

    def restore(self, pid):
        self.call("cuCheckpointProcessRestore", pid, ctypes.byref(PlainArgs()))

    def unlock(self, pid):
        self.call("cuCheckpointProcessUnlock", pid, ctypes.byref(PlainArgs()))


class FieldValue(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint), ("scope", ctypes.c_uint), ("ts", ctypes.c_longlong),
                ("latency", ctypes.c_longlong), ("type", ctypes.c_uint), ("ret", ctypes.c_int),
                ("value", ctypes.c_ulonglong)]


class MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("total", ctypes.c_ulonglong), ("reserved", ctypes.c_ulonglong),
                ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class ProcessInfo(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("bytes", ctypes.c_ulonglong), ("gi", ctypes.c_uint), ("ci", ctypes.c_uint)]


class GpmSupport(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("supported", ctypes.c_uint)]


class GpmMetric(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint), ("ret", ctypes.c_int), ("value", ctypes.c_double), ("info", ctypes.c_void_p * 3)]


class GpmMetrics(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("n", ctypes.c_uint), ("old", ctypes.c_void_p), ("new", ctypes.c_void_p),
                ("metrics", GpmMetric * 1024)]


GPM_METRICS = {1: "graphics %", 5: "tensor %", 10: "memory bandwidth %", 20: "PCIe sent MiB/s", 21: "PCIe received MiB/s"}
assert ctypes.sizeof(GpmMetric) == 40 and GpmMetrics.metrics.offset == 24
assert ctypes.sizeof(FieldValue) == 40 and ctypes.sizeof(MemoryV2) == 40 and ctypes.sizeof(ProcessInfo) == 24
RECOVERY_ACTION = 230


class Nvml:
    def __init__(self, path=None):
        self.path = path or find("libnvidia-ml.so.1")
        if not self.path:
            raise DriverError("dlopen", 0, "libnvidia-ml.so.1 is not there")
        self.lib = ctypes.CDLL(self.path)
        self.call("nvmlInit_v2")

    def code(self, name, *args):
        """What the call answers; None: this library has no such call."""
        function = getattr(self.lib, name, None)
        return None if function is None else function(*args)

    def call(self, name, *args):
        code = self.code(name, *args)
        if code != 0:
            raise DriverError(name, -1 if code is None else code)

    def handle(self, index=0):
        h = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(h))
        return h

    def text(self, name, *args):
        out = ctypes.create_string_buffer(128)
        self.call(name, *args, out, ctypes.c_uint(len(out)))
        return out.value.decode()

    def memory(self, handle):
        m = MemoryV2(version=40 | 2 << 24)
        self.call("nvmlDeviceGetMemoryInfo_v2", handle, ctypes.byref(m))
        return {k: getattr(m, k) for k in ("total", "reserved", "free", "used")}

    def processes(self, handle):
        n = ctypes.c_uint(1024)
        infos = (ProcessInfo * n.value)()
        self.call("nvmlDeviceGetComputeRunningProcesses_v3", handle, ctypes.byref(n), infos)
        return {infos[i].pid: infos[i].bytes for i in range(n.value)}

    def activity(self, handle, work):
        """What GPM counts while `work` is done: name -> value, or the code of a metric that is not counted."""
        support, old, new = GpmSupport(version=1), ctypes.c_void_p(), ctypes.c_void_p()
        code = self.code("nvmlGpmQueryDeviceSupport", handle, ctypes.byref(support))
        if code != 0 or not support.supported:
            return {"supported": False, "code": code}
        self.call("nvmlGpmSampleAlloc", ctypes.byref(old))
        self.call("nvmlGpmSampleAlloc", ctypes.byref(new))
        self.call("nvmlGpmSampleGet", handle, old)
        work()
        self.call("nvmlGpmSampleGet", handle, new)
        get = GpmMetrics(version=1, n=len(GPM_METRICS), old=old, new=new)
        for i, metric in enumerate(GPM_METRICS):
            get.metrics[i].id = metric
        self.call("nvmlGpmMetricsGet", ctypes.byref(get))
        return {"supported": True, **{name: round(m.value, 3) if m.ret == 0 else {"ret": m.ret}
                                      for name, m in zip(GPM_METRICS.values(), get.metrics)}}

    def answers(self, handle):
        """name -> return code of each call that the program would like to use."""
        u, ull = ctypes.c_uint(), ctypes.c_ulonglong()
        field = FieldValue(id=RECOVERY_ACTION)
        buf = ctypes.create_string_buffer(4096)
        calls = {
            "nvmlDeviceGetUtilizationRates": (handle, ctypes.byref(Utilization())),
            "nvmlDeviceGetTemperature": (handle, 0, ctypes.byref(u)),
            "nvmlDeviceGetPowerUsage": (handle, ctypes.byref(u)),
            "nvmlDeviceGetTotalEnergyConsumption": (handle, ctypes.byref(ull)),
            "nvmlDeviceGetMinorNumber": (handle, ctypes.byref(u)),
            "nvmlDeviceGetPersistenceMode": (handle, ctypes.byref(u)),
            "nvmlDeviceGetComputeMode": (handle, ctypes.byref(u)),
            "nvmlDeviceGetMigMode": (handle, ctypes.byref(u), ctypes.byref(ctypes.c_uint())),
            "nvmlDeviceGetNumaNodeId": (handle, ctypes.byref(u)),
            "nvmlDeviceGetMemoryAffinity": (handle, ctypes.c_uint(64), buf, 0),
            "nvmlDeviceGetCpuAffinity": (handle, ctypes.c_uint(64), buf),
            "nvmlDeviceGetPcieReplayCounter": (handle, ctypes.byref(u)),
            "nvmlDeviceGetPcieThroughput": (handle, 0, ctypes.byref(u)),
            "nvmlDeviceGetNvLinkState": (handle, 0, ctypes.byref(u)),
            "nvmlDeviceGetRemappedRows": (handle, *(ctypes.byref(ctypes.c_uint()) for _ in range(4))),
            "nvmlDeviceGetTotalEccErrors": (handle, 1, 0, ctypes.byref(ull)),
            "nvmlDeviceGetCurrentClocksEventReasons": (handle, ctypes.byref(ull)),
            "nvmlDeviceGetSupportedEventTypes": (handle, ctypes.byref(ull)),
            "nvmlDeviceGetFieldValues": (handle, 1, ctypes.byref(field)),
            "nvmlDeviceGetGpuFabricInfo": (handle, buf),
            "nvmlDeviceGetComputeRunningProcesses_v3": (handle, ctypes.byref(ctypes.c_uint(0)), None),
        }
        found = {name: self.code(name, *args) for name, args in calls.items()}
        found["field 230 (recovery action)"] = {"ret": field.ret, "value": field.value & 0xffffffff}
        events = ctypes.c_ulonglong()
        if self.code("nvmlDeviceGetSupportedEventTypes", handle, ctypes.byref(events)) == 0:
            found["event types"] = hex(events.value)
        return found


def rss(pid):
    """Resident and locked bytes of a process."""
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            key, _, rest = line.partition(":")
            if key in ("VmRSS", "VmPin", "VmLck", "VmSwap"):
                found[key] = int(rest.split()[0]) * 1024
    return found


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
