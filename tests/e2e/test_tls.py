"""TLS in the gateway: protocols, certificates and their renewal, clients' certificates, a second listener."""
import http.client
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import warnings

import pytest

from harness import BIN, Client, Daemon, free_port, until


def openssl(*words, cwd):
    subprocess.run(["openssl", *map(str, words)], cwd=cwd, check=True, capture_output=True, timeout=30)


class Authority:
    """A CA of one's own; makes NAME.pem and NAME.key."""

    def __init__(self, where, name="ca"):
        self.dir, self.name = pathlib.Path(where), name
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", cwd=where)
        self.cert = self.dir / f"{name}.pem"

    def issue(self, name, subject):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
                "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=self.dir)
        (self.dir / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey",
                f"{self.name}.key", "-extfile", f"{name}.ext", "-out", f"{name}.pem", cwd=self.dir)
        return self.dir / f"{name}.pem", self.dir / f"{name}.key"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("tls")
    ca = Authority(where)
    ca.issue("one", "/CN=one")
    ca.issue("two", "/CN=two")
    ca.issue("client", "/O=Team, A/CN=alice")
    Authority(where, "stranger").issue("mallory", "/CN=mallory")
    return where


def configure(conf, files, cert="one", **more):
    lines = {"tls_cert": conf.parent / "cert.pem", "tls_key": conf.parent / "key.pem", **more}
    install(conf.parent, files, cert)
    conf.write_text("[gateway]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()))
    return conf


def install(where, files, cert, key=None):
    """As certbot does: the name stays, the file is another."""
    for kind, source in (("cert", f"{cert}.pem"), ("key", f"{key or cert}.key")):
        (where / "next").write_bytes((files / source).read_bytes())
        os.replace(where / "next", where / f"{kind}.pem")


def trust(files, **more):
    context = ssl.create_default_context(cafile=files / "ca.pem")
    for name, value in more.items():
        setattr(context, name, value)
    return context


def connect(address, context, **more):
    sock = socket.create_connection(address, 20)
    try:
        return context.wrap_socket(sock, server_hostname="localhost", **more)
    except BaseException:
        sock.close()
        raise


def ask(daemon, context, path, address, **more):
    return Client(address, daemon.token, context).get(path, **more)


def common_name(tls):
    return dict(x[0] for x in tls.getpeercert()["subject"])["commonName"]


@pytest.fixture(scope="module")
def daemon(files, tmp_path_factory):
    """Its only listener speaks TLS."""
    conf = configure(tmp_path_factory.mktemp("conf") / "gantryd.conf", files)
    daemon = Daemon(config=conf, tls=trust(files))
    daemon.start()
    daemon.probe("probe")
    yield daemon
    daemon.stop()


def test_calls_over_tls(daemon):
    assert daemon.url.startswith("https://")
    reply = daemon.call("probe", "/headers", headers={"X-Forwarded-Proto": "http", "Gantry-Client-Subject": "CN=root"})
    seen = {k.lower(): v for k, v in reply.json()}
    assert reply.status == 200 and seen["x-forwarded-proto"] == "https" and "gantry-client-subject" not in seen


def test_large_bodies_both_ways(daemon):
    assert daemon.call("probe", "/", "POST", os.urandom(5_000_000)).text == "5000000"
    assert len(daemon.call("probe", "/spew?mib=8").body) >= 8 << 20


def test_protocols(daemon, files):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trust(files, minimum_version=version, maximum_version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(daemon.address, context) as tls:
            assert tls.selected_alpn_protocol() == "http/1.1"
            tls.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
            session = tls.session
            while tls.recv(1000):  # to the orderly end: a cut would be an error here
                pass
            session = tls.session or session
        with connect(daemon.address, context, session=session) as tls:
            tls.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
            assert tls.session_reused, version
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = trust(files, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        connect(daemon.address, old)
    h2 = trust(files)
    h2.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)application.protocol"):
        connect(daemon.address, h2)


def test_plain_http_is_told_so(daemon):
    with socket.create_connection(daemon.address, 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        with sock.makefile("rb") as f:
            said = f.read()
    assert said.startswith(b"HTTP/1.1 400 ") and b"https://" in said


def test_counted(daemon):
    def counted():
        now = daemon.metrics()
        least = {"handshakes": 1, "resumed": 2, "failed": 3}
        return all(now.get(f'gantry_gateway_tls_{kind}_total{{gateway="gw-1"}}', 0) >= n for kind, n in least.items())

    until(counted, "all are counted")


def test_certificate_is_renewed_without_a_new_process(daemon, files):
    gateway = daemon.roles()["gateway"]
    with connect(daemon.address, trust(files)) as before:
        assert common_name(before) == "one"
        install(daemon.config.parent, files, "two")
        daemon.proc.send_signal(signal.SIGHUP)

        def served():
            with connect(daemon.address, trust(files)) as tls:
                return common_name(tls)

        until(lambda: served() == "two", "the new certificate is served")
        # One that does not load: the last good one stays, and the log says why.
        install(daemon.config.parent, files, "one", key="two")
        daemon.proc.send_signal(signal.SIGHUP)
        until(lambda: "tls_key: is not the key of tls_cert" in daemon.log(), "the log names the mistake")
        assert served() == "two"
        # Nor is anything replaced for a configuration that comes with it.
        good = daemon.config.read_text()
        daemon.config.write_text(good + "drain = 7s\n")
        daemon.proc.send_signal(signal.SIGHUP)
        until(lambda: daemon.log().count("tls_key: is not the key of tls_cert") == 2, "and again")
        assert "replacing the roles" not in daemon.log() and served() == "two"
        daemon.config.write_text(good)
        before.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")  # it never noticed
        assert before.recv(100).startswith(b"HTTP/1.1 200")
    install(daemon.config.parent, files, "one")
    daemon.proc.send_signal(signal.SIGHUP)
    until(lambda: served() == "one", "and back")
    assert daemon.roles()["gateway"] == gateway


def test_the_command_line_trusts_a_named_authority(daemon, files):
    def gantry(*words, **env):
        return subprocess.run([BIN / "gantry", *words], capture_output=True, text=True, timeout=30, check=False,
                              env={"PATH": os.environ["PATH"], "GANTRY_STATE": "/nonexistent", **env})

    host = {"GANTRY_URL": daemon.url, "GANTRY_TOKEN": daemon.token}
    refused = gantry("ls", **host)
    assert refused.returncode != 0 and "certificate" in refused.stderr, refused
    assert "probe" in gantry("ls", GANTRY_CA=str(files / "ca.pem"), **host).stdout
    assert "probe" in gantry("ls", "--ca", files / "ca.pem", **host).stdout


def test_clients_certificates_and_a_second_listener(own, files, tmp_path):
    port = free_port()
    conf = configure(tmp_path / "gantryd.conf", files, tls_listen=f"127.0.0.1:{port}", tls_client_ca=files / "ca.pem")
    daemon = own(config=conf)
    tls_at = ("127.0.0.1", port)
    daemon.probe("p")
    assert daemon.call("p", "/headers").status == 200  # plain, on the first one
    seen = dict(daemon.call("p", "/headers", headers={"Gantry-Client-Subject": "CN=root"}).json())
    assert "Gantry-Client-Subject" not in seen and seen["X-Forwarded-Proto"] == "http"

    def client(name):
        context = trust(files)
        context.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
        return context

    reply = ask(daemon, client("client"), "/f/p/headers", tls_at, headers={"Gantry-Client-Subject": "CN=root"})
    assert reply.status == 200
    assert [v for k, v in reply.json() if k.lower() == "gantry-client-subject"] == [r"CN=alice,O=Team\, A"]
    for context in (trust(files), client("mallory")):
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ask(daemon, context, "/livez", tls_at)
    configure(conf, files, tls_listen=f"127.0.0.1:{port}", tls_client_ca=files / "ca.pem", tls_client_optional="yes")
    daemon.proc.send_signal(signal.SIGHUP)

    def without():
        try:
            return ask(daemon, trust(files), "/f/p/headers", tls_at).status
        except (OSError, http.client.HTTPException):
            return None

    until(lambda: without() == 200, "who has none may come in", 30)
    with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
        ask(daemon, client("mallory"), "/livez", tls_at)


@pytest.mark.parametrize(("lines", "why"), [
    ("tls_cert = {d}/one.pem", "tls_cert and tls_key belong together"),
    ("tls_cert = one.pem\ntls_key = {d}/one.key", "no absolute path"),
    ("tls_listen = 127.0.0.1:1", "tls_listen: needs tls_cert"),
    ("tls_cert = {d}/none.pem\ntls_key = {d}/one.key", "No such file"),
    ("tls_cert = {d}/one.key\ntls_key = {d}/one.key", "tls_cert: no certificates in PEM form"),
    ("tls_cert = {d}/one.pem\ntls_key = {d}/two.key", "tls_key: is not the key of tls_cert"),
    ("tls_cert = {d}/one.pem\ntls_key = {d}/one.pem", "tls_key: no private key"),
    ("tls_cert = {d}/one.pem\ntls_key = {d}/locked.key", "tls_key: no private key without a passphrase"),
    ("tls_cert = {d}/one.pem\ntls_key = {d}/one.key\ntls_client_ca = {d}/one.key", "tls_client_ca: no certificates"),
])
def test_files_that_do_not_fit_are_named(files, tmp_path, lines, why):
    openssl("ec", "-in", "one.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key", cwd=files)
    conf = tmp_path / "gantryd.conf"
    conf.write_text("[gateway]\n" + lines.format(d=files))
    for words in (["check"], ["run", "--state", tmp_path / "s", "--listen", "127.0.0.1:0"]):
        r = subprocess.run([BIN / "gantryd", *words, "--config", conf], capture_output=True, text=True, timeout=20,
                           check=False)
        assert r.returncode != 0 and why in r.stderr, r
