"""A real engine with real weights, through the official client."""
import json
import subprocess

import openai
import pytest

from harness import ROOT, until

MODEL = "gemma3-270m"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def llm(gantry, tmp_path_factory):
    spec = tmp_path_factory.mktemp("llm") / "llm.json"
    subprocess.run([ROOT / "examples/llm/setup.sh", spec], check=True)
    body = json.loads(spec.read_text())
    body["scale"]["idle"] = "3s"
    gantry.put("llm", body)
    with openai.OpenAI(base_url=f"{gantry.url}/v1", api_key=gantry.token, max_retries=0, timeout=120) as client:
        yield client


def ask(llm, **more):
    return llm.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12, temperature=0, **more)


def test_model_is_listed_at_zero(gantry, llm):
    assert not gantry.running("llm")
    assert MODEL in [m.id for m in llm.models.list()]
    assert llm.models.retrieve(MODEL).id == MODEL


def test_cold_chat_completion(gantry, llm):
    gantry.wait_zero("llm")
    answer = ask(llm)
    assert "Paris" in answer.choices[0].message.content
    assert answer.model == MODEL and answer.usage.completion_tokens > 0


def test_streamed_chat_completion(llm):
    pieces = [c.choices[0].delta.content or "" for c in ask(llm, stream=True) if c.choices]
    assert len(pieces) > 1 and "Paris" in "".join(pieces)


def test_text_completion(llm):
    answer = llm.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0)
    assert answer.choices[0].text


def test_two_at_once(gantry, llm):
    from harness import Background
    calls = [Background(lambda: ask(llm)) for _ in range(2)]
    assert all("Paris" in c.result(60).choices[0].message.content for c in calls)


def test_unknown_model_is_told_in_the_clients_language(llm):
    with pytest.raises(openai.NotFoundError) as e:
        llm.chat.completions.create(model="gpt-none", messages=QUESTION)
    assert e.value.code == "model_not_found"


def test_wrong_key(gantry):
    with (openai.OpenAI(base_url=f"{gantry.url}/v1", api_key="wrong", max_retries=0) as client,
          pytest.raises(openai.AuthenticationError)):
        client.chat.completions.create(model=MODEL, messages=QUESTION)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages":[]}', b'{"model":7}', b'{"model":""}'])
def test_body_without_a_model(gantry, llm, body):
    reply = gantry.client.request("POST", "/v1/chat/completions", body)
    assert 400 <= reply.status < 500, reply
    assert reply.json()["error"]["message"]


def test_error_of_the_engine_passes_through(gantry, llm):
    reply = gantry.client.request("POST", "/v1/chat/completions", {"model": MODEL, "messages": "no list"})
    assert 400 <= reply.status < 600 and "error" in reply.json()


def test_goes_back_to_zero_and_stays_listed(gantry, llm):
    gantry.wait_zero("llm", 30)
    until(lambda: gantry.client.get("/v1/functions/llm").json()["state"] == "idle", "it is idle")
    assert MODEL in [m.id for m in llm.models.list()]
