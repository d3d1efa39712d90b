"""OpenAI's API through the official client and raw sockets: bodies, refusals, cold and broken streams."""
import hashlib
import io
import json

import openai
import pytest

from harness import Raw, probe_spec, until


@pytest.fixture
def gate(tmp_path):
    """The replica listens once this file exists."""
    tmp_path.chmod(0o755)
    return tmp_path / "go"


@pytest.fixture
def chat(gantry, name, gate):
    gantry.put(name, probe_spec(command=["/usr/bin/python3", "/app/chat.py"], serves={"openai": [f"model-{name}"]},
                                volumes=[{"host": str(gate.parent), "path": "/gate"}], scale={"max": 1}))
    with openai.OpenAI(base_url=f"{gantry.url}/v1", api_key=gantry.token, max_retries=0, timeout=60) as client:
        client.model = f"model-{name}"
        yield client


def ask(chat, said, **more):
    return chat.chat.completions.create(model=chat.model, messages=[{"role": "user", "content": said}], **more)


def words(stream):
    for chunk in stream:
        yield chunk.choices[0].delta.content


def raw_request(gantry, path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {gantry.token}", "Connection: close",
            f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# ---- bodies ---------------------------------------------------------------------------------
def test_model_is_found_behind_a_large_prompt(chat, gate):
    gate.touch()
    answer = ask(chat, "x" * (3 << 20))
    assert answer.model == chat.model and len(answer.choices[0].message.content) == 64


def test_body_arrives_byte_for_byte_in_any_pieces(gantry, chat, gate):
    gate.touch()
    body = ('{ "messages" : [ {"role":"user","content":"\\u00e9 \\"model\\": \\\\"} ] ,\r\n\t"\\u006dodel": "%s" } \n'
            % chat.model).encode()
    request = raw_request(gantry, "/v1/chat/completions", body)
    cuts = range(len(request) - len(body), len(request), 9)
    for cut in cuts:
        with Raw(gantry.address, timeout=30) as raw:  # the first one waits for a start
            raw.send(request[:cut])
            raw.send(request[cut:])
            assert hashlib.sha256(body).hexdigest().encode() in raw.read_all()


def test_audio_goes_by_the_model_of_its_form(chat, gate):
    gate.touch()
    sound = bytes(range(256)) * 2000
    text = chat.audio.transcriptions.create(model=chat.model, file=("a.wav", io.BytesIO(sound), "audio/wav")).text
    assert len(text) == 64
    with pytest.raises(openai.NotFoundError) as e:
        chat.audio.transcriptions.create(model="none", file=("a.wav", io.BytesIO(sound), "audio/wav"))
    assert e.value.code == "model_not_found" and e.value.param == "model"


@pytest.mark.parametrize("body, place", [
    (b'{"model": "%s", "model": "%s"}', "is given twice"),
    (b'{"model": "%s", "messages": [}', "byte "),
    (b'{"model": "%s"} {}', "something follows"),
    (b'{"messages": [1, 2', "ends inside"),
])
def test_ambiguous_bodies_are_refused_with_their_place(gantry, chat, gate, body, place):
    body = body.replace(b"%s", chat.model.encode())
    with Raw(gantry.address) as raw:
        raw.send(raw_request(gantry, "/v1/chat/completions", body))
        answer = raw.read_all()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert place in error["message"] and error["code"] == "malformed_json"
    assert not gantry.running(chat.model.removeprefix("model-")), "it was never queued"


# ---- refusals -------------------------------------------------------------------------------
def test_full_queue_tells_the_client_when_to_come_again(gantry, name, chat, gate):
    spec = gantry.client.get(f"/v1/functions/{name}").json()["spec"]
    gantry.put(name, {**spec, "limits": {"queue": 1}})
    waiting = gantry.client.background("POST", "/v1/chat/completions",
                                       {"model": chat.model, "messages": [{"content": "hi"}]})
    until(lambda: gantry.client.get(f"/v1/functions/{name}").json()["queued"] == 1, "one call waits")
    with pytest.raises(openai.RateLimitError) as e:
        ask(chat, "hi")
    head = e.value.response.headers
    assert e.value.code == "queue_full" and head["x-should-retry"] == "true"
    assert int(head["retry-after-ms"]) == 1000 * int(head["retry-after"])
    gate.touch()
    assert waiting.result().status == 200


def test_other_methods_are_refused_in_the_clients_language(gantry, chat):
    reply = gantry.client.get("/v1/chat/completions")
    assert reply.status == 405 and reply.headers["Allow"] == "POST"
    assert reply.json()["error"]["code"] == "method_not_allowed" and reply.headers["X-Should-Retry"] == "false"


def test_models_show_what_they_do(gantry, chat, gate):
    def state():
        return chat.models.retrieve(chat.model).gantry["state"]

    assert state() == "idle"
    waiting = gantry.client.background("POST", "/v1/chat/completions",
                                       {"model": chat.model, "messages": [{"content": "hi"}]})
    until(lambda: state() == "starting", "it is starting")
    gate.touch()
    assert waiting.result().status == 200
    until(lambda: state() == "ready", "it is ready")
    assert chat.model in [m.id for m in chat.models.list()]


# ---- streams --------------------------------------------------------------------------------
def test_warm_stream(chat, gate):
    gate.touch()
    assert list(words(ask(chat, "hi", stream=True))) == ["one", "two", "three"]


def test_cold_stream_is_kept_alive(gantry, chat, gate):
    body = json.dumps({"model": chat.model, "stream": True, "messages": [{"content": "hi"}]}).encode()
    with Raw(gantry.address, timeout=30) as raw:
        raw.send(raw_request(gantry, "/v1/chat/completions", body))
        stream = ask(chat, "hi", stream=True)  # returns with the head, which comes before any replica
        head = raw.read_until(b": starting\n\n\r\n")
        assert not gate.exists()
        gate.touch()
        assert list(words(stream)) == ["one", "two", "three"]
        answer = head + raw.read_all()
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    assert b"\r\n: starting\n\n\r\n" in head
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and answer.count(b"HTTP/1.1") == 1


def test_refusal_after_a_cold_start_is_raised(chat, gate):
    stream = ask(chat, "refuse", stream=True)
    gate.touch()
    with pytest.raises(openai.APIError, match="not today") as e:
        list(stream)
    assert e.value.code == "mood"


def test_failed_start_is_raised_from_the_stream(chat, gate):
    stream = ask(chat, "hi", stream=True)
    word = gate.with_name("word")
    word.write_text("die")
    word.rename(gate)  # which is read as soon as it is there
    with pytest.raises(openai.APIError, match="could not be started") as e:
        list(stream)
    assert e.value.code == "start_failed"


def test_replica_that_dies_inside_its_stream(chat, gate):
    gate.touch()
    got = []
    with pytest.raises(openai.APIError) as e:
        got.extend(words(ask(chat, "die", stream=True)))
    assert e.value.code == "replica_lost" and not isinstance(e.value, openai.APIConnectionError)


def test_every_whole_event_comes_before_the_loss(gantry, chat, gate):
    gate.touch()
    body = json.dumps({"model": chat.model, "stream": True, "messages": [{"content": "die"}]}).encode()
    with Raw(gantry.address, timeout=30) as raw:
        raw.send(raw_request(gantry, "/v1/chat/completions", body))
        answer = raw.read_all()
    assert answer.count(b'"content"') == 2 and b'"obj' + b"\r" not in answer
    assert b'data: {"error":{"message":' in answer and answer.endswith(b"\n\n\r\n0\r\n\r\n")
