"""A hosted model's endpoint that fails, refuses, lies or is silent."""

import threading
import time

import pytest

from lora_qd.engines import endpoint
from lora_qd.errors import EngineError, PromptTooLongError
from tests.engines.played_server import (
    KEY,
    PlayedHandler,
    ask,
    ask_one,
    echo,
    playing,
    request,
)

SOON = {"retry-after-ms": "1"}


def failure(play, kind=EngineError, **options):
    """Return the message of the error, which is one line without the key."""
    with playing(play) as server, pytest.raises(kind, match="expected") as caught:
        ask(server.url, request(), **options)
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line
    assert f"'m-1' at {server.url}" in line
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return line.replace(server.url, "URL")


@pytest.mark.parametrize(
    "fault", [(429, {}, {"Retry-After": "0"}), (500, {}, SOON), (408, {}, SOON), None]
)
def test_a_fault_that_passes_is_tried_again(fault):
    faults = [fault]
    completion, server = ask_one(lambda b: faults.pop() if faults else echo(b))
    assert completion.text == "re: hello"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(500, "repeat it later"), (429, "repeat it later, or with fewer requests")],
)
def test_a_fault_that_stays_is_an_error_after_six_tries(status, remedy):
    tries = []

    def broken(body):
        tries.append(body)
        return status, {"error": {"message": "no\ncapacity"}}, SOON

    line = failure(broken)
    assert f"'m-1' at URL to answer, but got {status}: no capacity; {remedy}" in line
    assert len(tries) == 6


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, f"Incorrect API key: {KEY}", "key: --api-key-env"),
        (403, "Not for you", "name the variable that holds its key: --api-key-env"),
        (404, "No model m-1", "check the model's name, and the URL"),
        (400, "temperature does not support 0", "mend what it complains of"),
    ],
)
def test_a_refusal_is_an_error_at_once(status, message, remedy):
    tries = []

    def refuse(body):
        tries.append(body)
        return status, {"error": {"message": message, "code": None}}

    line = failure(refuse)
    assert f"but got {status}: {message.replace(KEY, '***')}; " in line
    assert line.endswith(remedy) or remedy in line
    assert len(tries) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "Too long.", "code": "context_length_exceeded"}},
        {"error": {"message": "This model's maximum context length is 8 tokens."}},
        {"error": "prompt is too long: 9 tokens > 8 maximum"},
        {"message": "the input exceeds the context window", "object": "error"},
        b"too many tokens",
    ],
)
def test_a_prompt_beyond_the_context_is_too_long(refusal):
    line = failure(lambda body: (400, refusal), PromptTooLongError)
    assert "an answer of 16 tokens within the context of 'm-1'" in line
    assert line.endswith("shorten the prompt or lower max_tokens")


def test_a_rate_limit_on_tokens_is_no_long_prompt(monkeypatch):
    monkeypatch.setattr(endpoint, "_MAX_RETRIES", 0)
    refusal = {"error": {"message": "too many tokens per minute"}}
    assert "429: too many tokens" in failure(lambda body: (429, refusal, SOON))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"<html>Welcome to the proxy</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        {"choices": []},
        {"choices": None},
        {"choices": {"0": 1}},
        {"choices": ["text"]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": ["a"]}}]},
        {"choices": [{"text": f"a completion for {KEY}"}]},
    ],
)
def test_an_answer_in_another_form_is_an_error(content):
    line = failure(lambda body: (200, content))
    assert "but got an answer without choices[0].message.content: " in line
    assert line.endswith("check the URL: its /chat/completions is not OpenAI's")
    assert len(line) < 700


@pytest.mark.parametrize("num_retries", [0, 1])
def test_an_endpoint_that_never_answers_is_an_error(monkeypatch, num_retries):
    monkeypatch.setattr(endpoint, "_MAX_RETRIES", num_retries)
    is_over = threading.Event()
    try:
        line = failure(lambda body: is_over.wait(5) and None, timeout_s=0.1)
    finally:
        is_over.set()
    assert f"no answer within 0.1 s, {num_retries + 1} times; repeat it later" in line


def test_an_answer_without_an_end_is_an_error(monkeypatch):
    monkeypatch.setattr(endpoint, "_MAX_RETRIES", 0)
    monkeypatch.setattr(endpoint, "_LONGEST_WAIT_S", 0.0)
    is_over = threading.Event()

    def dribble(handler, *_):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not is_over.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    monkeypatch.setattr(PlayedHandler, "do_POST", dribble)
    try:
        line = failure(echo, timeout_s=0.2)
    finally:
        is_over.set()
    assert "no end of an answer within 0.2 s; check the endpoint" in line


def test_connections_that_drop_are_an_error(monkeypatch):
    monkeypatch.setattr(endpoint, "_MAX_RETRIES", 1)
    line = failure(lambda body: None)
    assert "no connection, 2 times (RemoteProtocolError); check the URL" in line


def test_an_endpoint_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(endpoint, "_MAX_RETRIES", 0)
    with playing(echo) as server:
        pass
    with pytest.raises(EngineError, match=r"no connection, 1 times \(ConnectError\)"):
        ask(server.url, request())


def test_when_one_request_fails_the_others_are_abandoned():
    is_over = threading.Event()

    def play(body):
        if body["messages"][0]["content"] == "bad":
            return 404, {"error": {"message": "no such model"}}
        is_over.wait(10)
        return echo(body)

    start = time.monotonic()
    try:
        with (
            playing(play) as server,
            pytest.raises(EngineError, match="no such model"),
        ):
            ask(server.url, request("slow"), request("bad"), request("slow"))
    finally:
        is_over.set()
    assert time.monotonic() - start < 5
