"""Several daemons on hosts of their own that share one PostgreSQL, which is on another one; and hosts that joined."""
import contextlib
import shutil

import postgres
from harness import Daemon
from hosts import Host, Hosts, inside, undone

TOKEN = "gty_" + "0123456789abcdef" * 4

# By which daemon each statement is that changes something, and who leads then.
NOTES = """
CREATE TABLE writes(writer text, leader text, n bigint, PRIMARY KEY(writer, leader));
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO writes VALUES(current_setting('application_name'), (SELECT holder FROM leader), 1)
    ON CONFLICT (writer, leader) DO UPDATE SET n = writes.n + 1;
  RETURN NULL; END $$;
DO $$ DECLARE t text; BEGIN
  FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('leader', 'writes') LOOP
    EXECUTE format('CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON %I EXECUTE FUNCTION note_write()', t);
  END LOOP; END $$
"""


def note_writes(database):
    database.sql(NOTES)


def noted_writes(database):
    """How many there were since, and how many of a daemon that did not lead."""
    return [int(database.sql(f"SELECT coalesce(sum(n), 0) FROM writes WHERE {which}")) for which in ("true", "writer <> leader")]


@contextlib.contextmanager
def control(database, node, lease="4s", token=TOKEN):
    """A daemon with the database as its store, and the token that all of them should have."""
    daemon = Daemon()
    daemon.state.mkdir()
    (daemon.state / "admin.token").write_text(token + "\n")
    (daemon.state / "admin.token").chmod(0o600)
    daemon.config = daemon.dir / "conf"
    url = database.url + ("&" if "?" in database.url else "?") + f"application_name={node}"
    daemon.config.write_text(f"[control]\nstore = {url}\nlease = {lease}\n"
                             f"[agent]\nnode = {node}\nlabels = host={node}\n")
    try:
        yield daemon.start(60)
    finally:
        daemon.stop()


class Several(Hosts):
    """The first `daemons` of the names run a control each, and the first of them leads at the beginning."""

    def __init__(self, names="abc", daemons=2, lease="3s", config=None):
        self.db = None
        self.lease = lease
        self.more = config or {}
        self.daemons = list(names[:daemons])
        super().__init__(names, joined=False)
        with undone(self.abandon):
            for name in names[1:daemons]:
                self.all[name].start(60)
            for name in names[daemons:]:
                self.join(name)
            self.wait_nodes("ready", timeout=30)

    def prepare(self, names):
        """Before the first host starts."""
        path = self.net.add("db")
        self.db = postgres.Postgres(address=self.net.address("db"), around=lambda: inside(path))
        self.db.start()
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
