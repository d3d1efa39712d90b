"""`gantryd check` looks into PostgreSQL, as control would, and changes nothing there."""
import socket
import subprocess

import pytest

import postgres
from harness import BIN, Daemon, until
from lent import started
from several import TOKEN, control

pytestmark = pytest.mark.skipif(not postgres.programs(), reason="Debian's package postgresql is not installed")


@pytest.fixture(scope="module")
def db():
    server = postgres.Postgres()
    try:
        yield server.start()
    finally:
        server.stop()


def check(url, *more):
    return subprocess.run([BIN / "gantryd", "check", "--store", url, *more], capture_output=True, text=True, timeout=20, check=False)


def fine(url, *more):
    done = check(url, *more)
    assert done.returncode == 0 and "configuration is valid" in done.stdout, done
    return done.stdout


def refused(url):
    done = check(url)
    assert done.returncode == 1 and "configuration is valid" not in done.stdout, done
    return done.stderr


def test_what_is_there_is_said(db, tmp_path):
    stranger = db.url.replace("gantry@", "stranger@")
    db.sql("CREATE ROLE stranger LOGIN")
    said = fine(db.url)
    assert "is reachable as user gantry\n" in said and "it is empty; the first start makes its tables" in said
    assert "may not make them: GRANT CREATE" in refused(stranger)
    assert db.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == "0"

    conf = tmp_path / "gantryd.conf"
    conf.write_text(f"[control]\nstore = {db.url}\n")
    with started(Daemon(config=conf)) as daemon:
        daemon.start()
        until(lambda: daemon.client.get("/v1/nodes").status == 200, "it leads")
        said = fine(db.url)
        assert "as this program's\n" in said and f"store: node {daemon.client.get('/v1/nodes').json()['items'][0]['name']} leads, at http" in said
    assert "store: nobody leads" in fine(db.url)

    before = db.sql("SELECT * FROM leader; SELECT * FROM schema_version")
    newest = int(db.sql("SELECT version FROM schema_version"))
    assert "this user needs SELECT, INSERT, UPDATE and DELETE" in refused(stranger) and "functions" in refused(stranger)
    db.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO stranger; REVOKE DELETE ON tasks FROM stranger")
    assert "it may not do all of them on tasks\n" in refused(stranger)
    db.sql("GRANT DELETE ON tasks TO stranger")
    assert "as this program's\n" in fine(stranger)
    db.sql("UPDATE schema_version SET version = version - 1")
    assert f"its schema is {newest - 1}; this program's start makes it {newest}" in fine(db.url)
    assert f"{newest - 1} and has to become {newest}, which only the owner" in refused(stranger)
    db.sql("UPDATE schema_version SET version = 99")
    assert "its schema is 99, of a newer program, and one of schema" in fine(db.url)
    db.sql("UPDATE meta SET value = 99 WHERE key = 'min_reader'")
    assert "has schema 99, this program knows up to" in refused(db.url)
    db.sql(f"UPDATE schema_version SET version = {newest}")
    assert db.sql("SELECT * FROM leader; SELECT * FROM schema_version") == before


def test_another_token_than_that_of_who_leads_is_said(db):
    with control(db, "one") as one, control(db, "two", token="gty_" + "f" * 64) as two:
        until(lambda: "node one leads with another admin.token than this daemon's" in two.log(), "it is told why")
        assert "node one has another admin.token" in fine(db.url, "--state", two.state)
        assert "admin.token" not in fine(db.url, "--state", one.state)
        assert TOKEN not in db.sql("SELECT value FROM keys") and "f" * 64 not in two.log()
        assert two.client.get("/v1/functions").status == 401  # the leader has the last word
        two.client.token = TOKEN
        assert two.client.get("/v1/functions").status == 200
        (two.state / "admin.token").write_text(TOKEN + "\n")
        assert "admin.token" not in fine(db.url, "--state", two.state)


def test_a_server_that_is_not_there_is_said_in_time(tmp_path):
    assert "the state database is not there" in refused(f"postgresql://gantry@/postgres?host={tmp_path}")


def test_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"postgresql://gantry@127.0.0.1:{hung.getsockname()[1]}/postgres?connect_timeout=0"
        assert "PostgreSQL does not answer" in refused(url)
