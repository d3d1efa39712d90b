"""What the daemon answers, held against the schemas of docs/openapi.yaml."""
import json

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from harness import ROOT, echo_spec

CONTRACT = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
OPERATIONS = {op["operationId"]: (path, method, op) for path, item in CONTRACT["paths"].items()
              for method, op in item.items() if method in ("get", "put", "post", "delete", "patch")}


def resolve(node):
    while "$ref" in node:
        target = CONTRACT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def check(operation, reply):
    """The status is one that the contract names, and the body has the shape it gives."""
    _, _, op = OPERATIONS[operation]
    answers = op["responses"]
    assert str(reply.status) in answers, (operation, reply)
    content = resolve(answers[str(reply.status)]).get("content", {})
    media = reply.headers["Content-Type"].split(";")[0]
    assert media in content, (operation, media)
    schema = content[media].get("schema") or content[media].get("x-item-schema")
    if not media.endswith("json") and media != "application/x-ndjson":
        return
    bodies = [json.loads(line) for line in reply.text.splitlines()] if "ndjson" in media else [reply.json()]
    for body in bodies:
        # The whole contract is the root document, so that its references resolve.
        jsonschema.Draft202012Validator({**CONTRACT, **schema}).validate(body)


@pytest.fixture(scope="module")
def busy(gantry):
    gantry.echo("busy", serves={"openai": ["org/model:1"]}, env={"A": "b"})
    assert gantry.call("busy").status == 200
    gantry.shell("failing", "echo no; exit 1")
    assert gantry.call("failing").status == 503
    return gantry


def test_answers_have_the_shape_of_the_contract(busy):
    get = busy.client.get
    replica = busy.replicas("busy", "ready")[0]["id"]
    node = get("/v1/nodes").json()["items"][0]["name"]
    for operation, reply in [
        ("listFunctions", get("/v1/functions")),
        ("listFunctions", get("/v1/functions", headers={"Accept": "application/x-ndjson"})),
        ("listFunctions", get("/v1/functions?limit=0")),
        ("getFunction", get("/v1/functions/busy")),
        ("getFunction", get("/v1/functions/failing?effective=1")),
        ("getFunction", get("/v1/functions/nobody")),
        ("putFunction", busy.client.request("PUT", "/v1/functions/busy", echo_spec(), )),
        ("putFunction", busy.client.request("PUT", "/v1/functions/new?dry_run=1", echo_spec())),
        ("putFunction", busy.client.request("PUT", "/v1/functions/new", {"port": 1})),
        ("putFunction", busy.client.request("PUT", "/v1/functions/new", "{")),
        ("listRevisions", get("/v1/functions/busy/revisions")),
        ("getRevision", get("/v1/functions/busy/revisions/1")),
        ("getRevision", get("/v1/functions/busy/revisions/99")),
        ("getRevision", get("/v1/functions/busy/revisions/x")),
        ("listReplicas", get("/v1/functions/busy/replicas")),
        ("listReplicas", get("/v1/functions/failing/replicas")),
        ("getReplica", get(f"/v1/functions/busy/replicas/{replica}")),
        ("getLogs", get("/v1/functions/failing/logs")),
        ("listEvents", get("/v1/events")),
        ("listEvents", get("/v1/events?limit=1")),
        ("listNodes", get("/v1/nodes")),
        ("getNode", get(f"/v1/nodes/{node}")),
        ("listModels", get("/v1/models")),
        ("getVersion", get("/v1/version")),
        ("getMetrics", get("/metrics")),
        ("getReady", get("/readyz")),
        ("getLive", get("/livez")),
        ("getContract", get("/openapi.yaml")),
        ("deleteReplica", busy.client.request("DELETE", f"/v1/functions/busy/replicas/{replica}")),
        ("deleteFunction", busy.client.request("DELETE", "/v1/functions/failing")),
        ("deleteFunction", busy.client.request("DELETE", "/v1/functions/failing")),
    ]:
        try:
            check(operation, reply)
        except jsonschema.ValidationError as e:
            raise AssertionError(f"{operation}: {e.json_path}: {e.message}\n{reply}") from e


def test_durable_calls_have_the_shape_of_the_contract(busy):
    request, get = busy.client.request, busy.client.get
    lines = {"Content-Type": "application/x-ndjson"}
    made = request("POST", "/v1/functions/busy/calls", b"x", {"Prefer": "respond-async"})
    call = made.json()["id"]
    slow = request("POST", "/v1/functions/busy/calls?path=/sleep?ms=9000", b"x", {"Prefer": "respond-async"})
    late = slow.json()["id"]
    for operation, reply in [
        ("createCall", made),
        ("createCall", request("POST", "/v1/functions/nobody/calls", b"x")),
        ("createBatch", request("POST", "/v1/functions/busy/batches", '{"body": 1}\n{"x": 1}\n', lines)),
        ("createBatch", request("POST", "/v1/functions/nobody/batches", '{"body": 1}\n', lines)),
        ("getCall", get(f"/v1/calls/{call}?wait=10s")),
        ("getCall", get("/v1/calls/none")),
        ("getCallResult", get(f"/v1/calls/{late}/result")),
        ("cancelCall", request("DELETE", f"/v1/calls/{late}")),
        ("cancelCall", request("DELETE", f"/v1/calls/{late}")),
        ("getCallResult", get(f"/v1/calls/{late}/result")),
        ("replayCall", request("POST", f"/v1/calls/{late}/replay")),
        ("replayCall", request("POST", f"/v1/calls/{call}/replay")),
        ("listCalls", get("/v1/calls?limit=2")),
        ("listCalls", get("/v1/calls?state=done")),
        ("listFunctionCalls", get("/v1/functions/busy/calls?state=succeeded")),
        ("putCall", request("PUT", "/v1/calls/my-own?function=busy", b"x", {"Prefer": "respond-async"})),
        ("putCall", request("PUT", "/v1/calls/my-own?function=busy", b"y")),
        ("followCall", get(f"/v1/calls/{call}/events")),
    ]:
        try:
            check(operation, reply)
        except jsonschema.ValidationError as e:
            raise AssertionError(f"{operation}: {e.json_path}: {e.message}\n{reply}") from e
    request("DELETE", f"/v1/calls/{late}")


def test_model_with_a_slash_in_its_name(gantry):
    gantry.echo("slash", serves={"openai": ["org/slashed:1"]})
    reply = gantry.client.get("/v1/models/org%2Fslashed:1")
    check("getModel", reply)
    assert reply.json()["id"] == "org/slashed:1" and reply.json()["gantry"]["function"] == "slash"
    check("getModel", gantry.client.get("/v1/models/none"))


@pytest.mark.parametrize("path", ["/v1/functions?limt=3", "/v1/functions/x?efective=1", "/v1/events?folow=1",
                                  "/v1/nodes?x=1"])
def test_unknown_query_parameter_is_refused(gantry, path):
    reply = gantry.client.get(path)
    assert reply.status == 400 and reply.slug == "bad_parameter", reply


def test_every_problem_is_documented(gantry):
    page = (ROOT / "docs/problems.md").read_text()
    table = (ROOT / "include/gantry/model/problem.tbl").read_text()
    for line in table.splitlines():
        if line.startswith("GT_PROBLEM("):
            slug = line[len("GT_PROBLEM("):].split(",")[0]
            assert slug in page, slug


MEMBERS = ["image", "command", "port", "env", "volumes", "tmpfs", "ready", "resources", "scale", "limits", "serves",
           "workdir", "user", "access", "network", "min", "max", "memory", "openai", "path", "host", "timeout",
           "gpu", "count", "models", "share", "placement", "labels", "isolation", "buffer", "delay_price", "policy",
           "weights", "paths", "store"]
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(max_size=20)
    | some.sampled_from(["host:", "/x", "1s", "1MiB", "a", "any:1", "exclusive", "kpa", ["/bin/true"], 8000]),
    lambda inner: some.lists(inner, max_size=4)
    | some.dictionaries(some.sampled_from(MEMBERS) | some.text(max_size=8), inner, max_size=6), max_leaves=12)


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # by a clock
@given(spec=some.dictionaries(some.sampled_from(MEMBERS), VALUES, max_size=8),
       valid=some.booleans())
def test_any_json_is_answered_and_a_refusal_says_where(gantry, spec, valid):
    """Whatever a client declares, the answer is a plan or a named mistake, never an internal error."""
    if valid:
        spec = {**spec, "image": "host:", "command": ["/bin/true"], "port": 8000}
    reply = gantry.client.request("PUT", "/v1/functions/any?dry_run=1", spec)
    assert reply.status in (200, 400, 409, 413, 422), reply
    if reply.status == 422:
        assert reply.json()["errors"][0]["path"], reply
    assert gantry.client.get("/v1/functions/any").status == 404
