"""Several daemons on hosts of their own that share one PostgreSQL, which is on another one; and hosts that joined."""
import shutil

import postgres
from hosts import Host, Hosts, inside

TOKEN = "gty_" + "0123456789abcdef" * 4


class Several(Hosts):
    """The first `daemons` of the names run a control each, and the first of them leads at the beginning."""

    def __init__(self, names="abc", daemons=2, lease="3s", config=None):
        self.db = None
        self.lease = lease
        self.more = config or {}
        self.daemons = list(names[:daemons])
        super().__init__(names, joined=False)
        try:
            for name in names[1:daemons]:
                self.all[name].start(60)
            for name in names[daemons:]:
                self.join(name)
            self.wait_nodes("ready", timeout=30)
        except BaseException:
            self.abandon()
            raise

    def prepare(self, names):
        """Before the first host starts."""
        path = self.net.add("db")
        self.db = postgres.Postgres(address=self.net.address("db"), around=lambda: inside(path)).start()
        for name in names:
            text = self.more.get(name, "")
            if name in self.daemons:
                text += f"[control]\nstore = {self.db.url}\nlease = {self.lease}\n"
            host = self.all[name] = Host(self.net, name, "run" if name in self.daemons else "agent", text)
            if name in self.daemons:
                host.state.mkdir()
                token = host.state / "admin.token"
                token.write_text(TOKEN + "\n")
                token.chmod(0o600)

    def leader(self):
        return self.db.sql("SELECT holder FROM leader")

    def blackhole(self, name):
        """Nothing that it sends arrives anywhere, and nothing arrives there."""
        for other in [*self.all, "db"]:
            if other != name:
                self.net.cut(name, other)

    def stop(self):
        try:
            super().stop()
        finally:
            self.db.stop()

    def abandon(self):
        super().abandon()
        if self.db:
            self.db.stop()
            shutil.rmtree(self.db.dir, ignore_errors=True)
