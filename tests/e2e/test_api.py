"""The management API, as its contract says: docs/openapi.yaml and docs/problems.md."""
import json
import re
import threading

import pytest

from harness import ROOT, SLOW, Background, Raw, echo_spec, until


def problem(reply, status, slug):
    assert reply.status == status, reply
    assert reply.headers["Content-Type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == status and body["title"]
    assert reply.slug == slug, reply
    return body


def put(gantry, name, body, **more):
    return gantry.client.request("PUT", f"/v1/functions/{name}", body, **more)


# ---- who may ask ----------------------------------------------------------------------------
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic YTpi", "Bearer " + "x" * 4000])
def test_without_a_valid_token(gantry, header):
    for method, path in (("GET", "/v1/functions"), ("PUT", "/v1/functions/x"), ("GET", "/v1/events"),
                         ("GET", "/metrics"), ("GET", "/f/nothing/"), ("GET", "/v1/models")):
        reply = gantry.client.request(method, path, token=None,
                                      headers={"Authorization": header} if header else {})
        assert reply.status == 401, (path, reply)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_open_paths_need_no_token(gantry):
    for path in ("/livez", "/readyz", "/v1/version"):
        assert gantry.client.get(path, token=None).status == 200, path
    version = gantry.client.get("/v1/version", token=None).json()
    assert re.match(r"\d+\.\d+\.\d+", version["version"])


def test_contract_is_served(gantry):
    reply = gantry.client.get("/openapi.yaml", token=None)
    assert reply.status == 200 and reply.body == (ROOT / "docs/openapi.yaml").read_bytes()


def test_link_between_the_roles_is_not_reachable(gantry):
    for path in ("/link/v1/gateways/x/routes", "/link/v1/nodes/local/desired", "/link", "//link/v1"):
        assert gantry.client.get(path).status == 404, path


# ---- put, get, list, delete -----------------------------------------------------------------
def test_put_creates_then_says_unchanged_then_changes(gantry, name):
    first = put(gantry, name, echo_spec())
    assert first.status == 201 and first.headers["Location"] == f"/v1/functions/{name}"
    again = put(gantry, name, echo_spec())
    assert again.status == 200 and again.json()["unchanged"] is True
    assert again.headers["ETag"] == first.headers["ETag"]
    changed = put(gantry, name, echo_spec(env={"A": "b"}))
    assert changed.status == 200 and changed.headers["ETag"] != first.headers["ETag"]
    got = gantry.client.get(f"/v1/functions/{name}").json()
    assert got["revision"] == 2 and got["spec"]["env"] == {"A": "b"}


def test_defaults_are_not_stored_but_can_be_shown(gantry, name):
    put(gantry, name, {"image": "host:", "command": ["/bin/true"], "port": 8000})
    plain = gantry.client.get(f"/v1/functions/{name}").json()["spec"]
    assert "limits" not in plain
    full = gantry.client.get(f"/v1/functions/{name}?effective=1").json()["spec"]
    assert full["limits"]["queue"] == 1000 and full["scale"]["max"] == 10


def test_same_meaning_gives_the_same_etag(gantry, name):
    a = put(gantry, name, {"image": "host:", "command": ["/bin/true"], "port": 8000,
                           "resources": {"memory": "512MiB"}})
    b = put(gantry, name, {"port": 8000, "command": ["/bin/true"], "image": "host:",
                           "resources": {"memory": 536870912}, "scale": {"min": 0}})
    assert b.json()["unchanged"] is True and a.headers["ETag"] == b.headers["ETag"]


def test_get_of_what_does_not_exist(gantry):
    problem(gantry.client.get("/v1/functions/nobody"), 404, "function_not_found")
    problem(gantry.client.get("/v1/functions/nobody/replicas"), 404, "function_not_found")
    problem(gantry.client.get("/v1/functions/nobody/revisions"), 404, "function_not_found")
    problem(gantry.client.get("/v1/functions/nobody/logs"), 404, "function_not_found")
    problem(gantry.client.request("DELETE", "/v1/functions/nobody"), 404, "function_not_found")
    problem(gantry.client.get("/v1/nothing"), 404, "not_found")
    problem(gantry.client.get("/f/nobody/"), 404, "function_not_found")


def test_unknown_method_names_the_allowed_ones(gantry):
    reply = gantry.client.request("PATCH", "/v1/functions/x")
    problem(reply, 405, "method_not_allowed")
    assert "PUT" in reply.headers["Allow"]


def test_dry_run_changes_nothing(gantry, name):
    reply = put(gantry, f"{name}?dry_run=1", echo_spec())
    assert reply.status in (200, 201), reply
    assert gantry.client.get(f"/v1/functions/{name}").status == 404
    problem(put(gantry, f"{name}?dry_run=1", {"image": "host:"}), 422, "invalid_spec")


def test_if_match_protects_against_lost_updates(gantry, name):
    etag = put(gantry, name, echo_spec()).headers["ETag"]
    second = put(gantry, name, echo_spec(env={"A": "2"}), headers={"If-Match": etag})
    assert second.status == 200
    body = problem(put(gantry, name, echo_spec(env={"A": "3"}), headers={"If-Match": etag}),
                   412, "etag_mismatch")
    assert body
    problem(put(gantry, name, echo_spec(env={"A": "4"}), headers={"If-None-Match": "*"}),
            412, "etag_mismatch")
    problem(gantry.client.request("DELETE", f"/v1/functions/{name}", headers={"If-Match": etag}),
            412, "etag_mismatch")
    assert gantry.client.get(f"/v1/functions/{name}").json()["spec"]["env"] == {"A": "2"}
    assert gantry.client.get(f"/v1/functions/{name}").headers["ETag"] == second.headers["ETag"]


def test_concurrent_writers_with_if_match_lose_nothing(gantry, name):
    """Eight writers add one each, by compare-and-set; none of the additions may vanish."""
    put(gantry, name, echo_spec(env={"N": "0"}))

    def add():
        for _ in range(200):
            got = gantry.client.get(f"/v1/functions/{name}")
            spec = got.json()["spec"]
            spec["env"]["N"] = str(int(spec["env"]["N"]) + 1)
            status = put(gantry, name, spec, headers={"If-Match": got.headers["ETag"]}).status
            if status == 200:
                return
            assert status in (409, 412)
        raise AssertionError("starved")

    writers = [Background(add) for _ in range(8)]
    for w in writers:
        w.result()
    assert gantry.client.get(f"/v1/functions/{name}").json()["spec"]["env"]["N"] == "8"


def test_revisions_are_kept_and_bounded(gantry, name):
    for i in range(25):
        put(gantry, name, echo_spec(env={"N": str(i)}))
    items = gantry.client.get(f"/v1/functions/{name}/revisions").json()["items"]
    assert [r["revision"] for r in items] == list(range(25, 5, -1))
    one = gantry.client.get(f"/v1/functions/{name}/revisions/20").json()
    assert one["spec"]["env"] == {"N": "19"}
    problem(gantry.client.get(f"/v1/functions/{name}/revisions/2"), 404, "not_found")


def test_delete_frees_the_name_and_a_new_function_starts_over(gantry, name):
    gantry.echo(name)
    assert gantry.call(name).status == 200
    gantry.delete(name)
    problem(gantry.call(name), 404, "function_not_found")
    assert put(gantry, name, echo_spec()).status == 201
    assert gantry.client.get(f"/v1/functions/{name}").json()["revision"] == 1


def test_one_model_name_has_one_function(gantry, name):
    put(gantry, name, echo_spec(serves={"openai": ["m-one"]}))
    reply = put(gantry, name + "-b", echo_spec(serves={"openai": ["m-one"]}))
    problem(reply, 409, "model_taken")
    assert name in reply.text
    models = gantry.client.get("/v1/models").json()
    assert models["object"] == "list" and "m-one" in [m["id"] for m in models["data"]]
    assert gantry.client.get("/v1/models/m-one").json()["id"] == "m-one"
    assert gantry.client.get("/v1/models/m-two").status == 404


# ---- lists ----------------------------------------------------------------------------------
def test_list_pages_cover_everything_once(gantry):
    names = [f"page-{i:03}" for i in range(25)]
    for n in names:
        put(gantry, n, {"image": "host:", "command": ["/bin/true"], "port": 8000})
    seen, path, pages = [], "/v1/functions?limit=10&prefix=page-", 0
    while path:
        reply = gantry.client.get(path)
        body = reply.json()
        seen += [f["name"] for f in body["items"]]
        pages += 1
        cursor = body["next_cursor"]
        assert bool(cursor) == ('rel="next"' in reply.headers.get("Link", "") or "rel=next" in reply.headers.get("Link", ""))
        path = f"/v1/functions?limit=10&prefix=page-&cursor={cursor}" if cursor else None
    assert seen == names and pages == 3
    everything = gantry.client.get("/v1/functions?prefix=page-", headers={"Accept": "application/x-ndjson"})
    assert everything.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line)["name"] for line in everything.text.splitlines()] == names
    for n in names:
        gantry.client.request("DELETE", f"/v1/functions/{n}")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=99999999999999999999",
                                   "cursor=%00", "cursor=!!!"])
def test_bad_list_parameters_are_named(gantry, query):
    body = problem(gantry.client.get(f"/v1/functions?{query}"), 400, "bad_parameter")
    assert query.split("=")[0] in json.dumps(body)


# ---- bad bodies: the path of the mistake is named and nothing is changed ---------------------
GOOD = {"image": "host:", "command": ["/bin/true"], "port": 8000}


@pytest.mark.parametrize("change, path", [
    ({"imaeg": "host:"}, "imaeg"),
    ({"resources": {"memroy": "1GiB"}}, "resources.memroy"),
    ({"scale": {"max": 2000}}, "scale.max"),
    ({"scale": {"min": 5, "max": 2}}, "scale"),
    ({"scale": {"concurrency": {"max": 0}}}, "scale.concurrency"),
    ({"scale": "many"}, "scale"),
    ({"port": "8000"}, "port"),
    ({"port": 0}, "port"),
    ({"port": 65536}, "port"),
    ({"port": 80.5}, "port"),
    ({"command": []}, "command"),
    ({"command": "/bin/true"}, "command"),
    ({"command": ["/bin/true", 1]}, "command[1]"),
    ({"env": {"1A": "x"}}, "env"),
    ({"env": {"GANTRY_X": "x"}}, "env"),
    ({"env": {"A": 1}}, "env.A"),
    ({"image": "nginx"}, "image"),
    ({"image": "dir:relative"}, "image"),
    ({"image": "dir:/a/../../etc"}, "image"),
    ({"volumes": [{"host": "/tmp", "path": "/proc/x"}]}, "volumes[0].path"),
    ({"volumes": [{"host": "tmp", "path": "/x"}]}, "volumes[0].host"),
    ({"volumes": [{"host": "/tmp", "path": "/x"}, {"host": "/tmp", "path": "/x"}]}, "volumes[1].path"),
    ({"tmpfs": [{"path": "/"}]}, "tmpfs[0].path"),
    ({"ready": {"timeout": "soon"}}, "ready.timeout"),
    ({"resources": {"memory": "1KiB"}}, "resources.memory"),
    ({"resources": {"cpu": -1}}, "resources.cpu"),
    ({"access": "everybody"}, "access"),
    ({"gpu": 1}, "gpu"),
    ({"gpu": "H100:0"}, "gpu"),
    ({"resources": {"gpu": {"memory": "auto"}}}, "resources.gpu.memory"),
    ({"placement": {"labels": {"zone": 1}}}, "placement.labels.zone"),
    ({"scale": {"buffer": 11}}, "scale.buffer"),
    ({"workdir": "relative"}, "workdir"),
    ({"user": "no user"}, "user"),
    ({"serves": {"openai": [""]}}, "serves.openai[0]"),
])
def test_bad_spec_names_the_path_and_changes_nothing(gantry, name, change, path):
    put(gantry, name, GOOD)
    body = problem(put(gantry, name, {**GOOD, **change}), 422, "invalid_spec")
    assert body["errors"][0]["path"].startswith(path), body
    assert gantry.client.get(f"/v1/functions/{name}").json()["revision"] == 1


@pytest.mark.parametrize("member", ["image", "command", "port"])
def test_required_members(gantry, name, member):
    body = problem(put(gantry, name, {k: v for k, v in GOOD.items() if k != member}), 422, "invalid_spec")
    assert body["errors"][0]["path"] == member
    assert gantry.client.get(f"/v1/functions/{name}").status == 404


def test_near_miss_is_suggested(gantry, name):
    body = problem(put(gantry, name, {**GOOD, "resources": {"memroy": "1GiB"}}), 422, "invalid_spec")
    assert '"memory"' in body["detail"]


@pytest.mark.parametrize("text", ["", "{", '{"image": }', "[]", "null", "true", '"x"', '{"image":"host:"}}',
                                  '{"a":1,"a":2}', "\xff\xfe", '{"image":"a\\u0000b"}', "[" * 5000,
                                  '{"a":' * 200 + "1" + "}" * 200],
                         ids=lambda t: ascii(t[:20]) or "empty")
def test_malformed_json(gantry, name, text):
    reply = put(gantry, name, text.encode("latin-1"))
    assert reply.status in (400, 422), reply
    assert reply.slug in ("malformed_json", "invalid_spec")
    assert gantry.client.get(f"/v1/functions/{name}").status == 404


def test_malformed_json_says_where(gantry, name):
    body = problem(put(gantry, name, b'{\n  "image": "host:",\n  "port": 80 80\n}'), 400, "malformed_json")
    assert "line 3" in body["detail"]


def test_oversized_spec(gantry, name):
    reply = put(gantry, name, {**GOOD, "env": {f"A{i}": "x" * 30000 for i in range(10)}})
    body = problem(reply, 413, "body_too_large")
    assert "262144" in json.dumps(body) or "256" in json.dumps(body)
    assert gantry.client.get(f"/v1/functions/{name}").status == 404


def test_wrong_content_type_names_the_fix(gantry, name):
    reply = put(gantry, name, json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    problem(reply, 415, "unsupported_media_type")
    assert "application/json" in reply.text


@pytest.mark.parametrize("bad", ["UPPER", "-dash", "dash-", "dot.dot", "x" * 64, "a_b", "%00", "a%2Fb", ".."])
def test_bad_function_names(gantry, bad):
    reply = put(gantry, bad, GOOD)
    assert 400 <= reply.status < 500, reply


# ---- status, nodes, metrics -----------------------------------------------------------------
def test_function_status_tells_state_and_why(gantry, name):
    gantry.echo(name)
    got = gantry.client.get(f"/v1/functions/{name}").json()
    assert got["name"] == name and got["state"] == "idle"
    assert gantry.call(name).status == 200
    got = gantry.client.get(f"/v1/functions/{name}").json()
    assert got["state"] == "ready"


def test_replica_shows_where_its_start_went(gantry, name):
    gantry.echo(name)
    assert gantry.call(name).status == 200
    replica = gantry.replicas(name, "ready")[0]
    assert replica["node"] and replica["revision"] == 1 and replica["pid"] > 1
    timings = replica["timings"]
    assert {"sandbox_ms", "root_ms", "exec_ms", "ready_ms"} <= set(timings)
    # No longer than the call may have waited for it.
    assert all(v >= 0 for v in timings.values()) and sum(timings.values()) < 30000 * SLOW
    one = gantry.client.get(f"/v1/functions/{name}/replicas/{replica['id']}").json()
    assert one["id"] == replica["id"]
    problem(gantry.client.get(f"/v1/functions/{name}/replicas/01ARZ3NDEKTSV4RRFFQ69G5FAV"), 404, "not_found")


def test_replica_can_be_deleted(gantry, name):
    gantry.echo(name)
    assert gantry.call(name).status == 200
    replica = gantry.replicas(name, "ready")[0]["id"]
    gantry.wait_quiet(name)
    reply = gantry.client.request("DELETE", f"/v1/functions/{name}/replicas/{replica}")
    assert reply.status in (200, 202, 204), reply
    gantry.wait_zero(name)
    assert gantry.call(name).headers["Gantry-Replica"] != replica


def test_long_poll_waits_for_a_state(gantry, name):
    gantry.echo(name)
    waiting = gantry.client.background("GET", f"/v1/functions/{name}?wait=20s&until=ready")
    assert gantry.call(name).status == 200
    assert waiting.result().json()["reached"] is True
    expired = gantry.client.get(f"/v1/functions/{name}?wait=1s&until=idle")
    assert expired.status == 200 and expired.json()["reached"] is False


def test_nodes(gantry):
    items = until(lambda: gantry.client.get("/v1/nodes").json()["items"], "the node is known")
    assert len(items) == 1
    node = items[0]
    one = gantry.client.get(f"/v1/nodes/{node['name']}").json()
    assert one["name"] == node["name"]
    assert gantry.client.get("/v1/nodes/none").status == 404


def test_metrics_are_valid_and_count(gantry, name):
    gantry.echo(name)
    for _ in range(3):
        assert gantry.call(name).status == 200
    text = gantry.client.get("/metrics").text
    helped = set(re.findall(r"^# HELP (\S+)", text, re.M))
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.M))
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        match = re.fullmatch(r'(gantry_[a-z0-9_]+)(\{([a-z_]+="[^"\\]*",?)*\})? -?[0-9.e+]+', line)
        assert match, line
        base = re.sub(r"_(bucket|sum|count)$", "", match[1])
        assert {match[1], base} & helped and {match[1], base} & set(typed), line
    until(lambda: any(f'function="{name}"' in k and v == 3 for k, v in gantry.metrics().items()),
          "three calls are counted")
    assert gantry.client.get(f"/f/{name}/", token=False).status == 401
    label = f'gateway="gw-1",function="{name}"'
    until(lambda: gantry.metrics().get(f'gantry_call_seconds_count{{{label}}}') == 3, "their times are counted")
    m = gantry.metrics()
    assert m[f'gantry_call_seconds_bucket{{{label},le="+Inf"}}'] == 3
    assert m[f'gantry_call_wait_seconds_count{{{label}}}'] == 3
    until(lambda: gantry.metrics().get('gantry_gateway_refused_total{gateway="gw-1",cause="unauthorized"}', 0) >= 1,
          "the refusal is counted")
    with Raw(gantry.address):
        until(lambda: gantry.metrics()['gantry_gateway_connections{gateway="gw-1"}'] >= 1, "a connection is open")


def test_a_replica_tells_what_it_uses(gantry, name):
    gantry.echo(name, scale={"min": 1})

    def used():
        replicas = [r for r in gantry.replicas(name, "ready") if r.get("usage", {}).get("cpu_ms")]
        return replicas[0] if replicas else None

    replica = until(used, "the node has looked", timeout=20)
    usage = replica["usage"]
    assert usage["pids"] >= 1 and usage["memory_bytes"] > 0
    assert usage["oom_kills"] == 0
    pids = f'gantry_replica_pids{{function="{name}",replica="{replica["id"]}"}}'
    # Asked anew each time: the node looks again, also between the two questions.
    until(lambda: gantry.metrics().get(pids) == used()["usage"]["pids"], "the metrics say the same")


def test_status_of_the_api_under_load(gantry, name):
    """Management stays quick while calls flow."""
    gantry.echo(name)
    stop = threading.Event()

    def load():
        while not stop.is_set():
            gantry.call(name)

    workers = [Background(load) for _ in range(4)]
    try:
        for _ in range(20):
            assert gantry.client.get("/v1/functions", timeout=10).status == 200
    finally:
        stop.set()
    for w in workers:
        w.result()
