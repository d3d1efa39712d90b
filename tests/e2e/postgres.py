"""A PostgreSQL of a test's own: Debian's programs, a directory, a socket in it, an unprivileged user."""
import contextlib
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from harness import until

NOBODY = 65534


def programs():
    """Where initdb and postgres are; None: the package is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return pathlib.Path(found[-1]).parent if found else None


class Postgres:
    def __init__(self, address=None, around=contextlib.nullcontext):
        """address: of TCP, too, where the context `around` is."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gantry-pg-", dir="/tmp"))
        self.dir.chmod(0o755)  # control is another user
        os.chown(self.dir, NOBODY, NOBODY)
        self.bin = programs()
        self.proc = None
        self.address, self.around = address, around
        self.url = f"postgresql://gantry@{address}/postgres" if address else f"postgresql://gantry@/postgres?host={self.dir}"
        try:
            self.initialize()
        except BaseException:
            self.stop()
            raise

    def initialize(self):
        self.run("initdb", "-D", "data", "-A", "trust", "-U", "gantry", "-E", "UTF8", "--no-locale", "-N").check_returncode()
        if self.address:
            with open(self.dir / "data/pg_hba.conf", "a") as rules:
                rules.write("host all all samenet trust\n")

    def run(self, program, *words):
        return subprocess.run([self.bin / program, *words], cwd=self.dir, user=NOBODY, group=NOBODY, extra_groups=[],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def start(self):
        with self.around():
            self.proc = subprocess.Popen(
                [self.bin / "postgres", "-D", "data", "-k", str(self.dir), "-c", f"listen_addresses={self.address or ''}",
                 "-c", "shared_buffers=16MB", "-c", "max_connections=60"],
                cwd=self.dir, user=NOBODY, group=NOBODY, extra_groups=[], start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.run("pg_isready", "-h", str(self.dir)).returncode == 0, "PostgreSQL answers", 60)
        return self

    def crash(self):
        """As if its machine had lost power."""
        self.proc.send_signal(signal.SIGQUIT)
        self.proc.wait(30)

    def sql(self, text):
        done = self.run("psql", "-h", str(self.dir), "-U", "gantry", "-d", "postgres", "-AtXc", text)
        assert done.returncode == 0, done.stdout
        return done.stdout.decode().strip()

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.crash()
        shutil.rmtree(self.dir, ignore_errors=True)
