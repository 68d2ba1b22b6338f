"""What a conversation sends, what it remembers, and what reaches the terminal."""

import asyncio
import json

import httpx
import pytest

from lora_qd.errors import EngineError
from lora_qd.serving.talk import Manner, Talk


def events(*pieces):
    lines = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines)
    return f": a comment\n\n{text}data: [DONE]\n\n"


def talk(answer, asked, system=""):
    def handle(request):
        asked.append(json.loads(request.content))
        return answer(request) if callable(answer) else answer

    client = httpx.AsyncClient(
        transport=httpx.MockTransport(handle), base_url="http://served"
    )
    return Talk("code", Manner(system, 32, 0.5), client)


def answers(talk, *questions):
    async def ask():
        return ["".join([p async for p in talk.ask(q)]) for q in questions]

    return asyncio.run(ask())


def test_what_was_said_is_remembered_until_it_is_cleared():
    asked = []
    one = talk(httpx.Response(200, text=events("he", "llo")), asked, system="Be brief")
    assert answers(one, "a", "b") == ["hello", "hello"]
    first, second = asked
    assert first["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "a"},
    ]
    assert [m["content"] for m in second["messages"]] == ["Be brief", "a", "hello", "b"]
    assert (first["model"], first["temperature"], first["max_tokens"]) == (
        "code",
        0.5,
        32,
    )
    one.clear()
    answers(one, "c")
    assert [m["content"] for m in asked[-1]["messages"]] == ["Be brief", "c"]


def test_what_a_terminal_would_obey_is_left_out():
    hostile = "\x1b[2J\x1b]0;title\x07red\x9b31m\r\ntab\tkept\n"
    (answer,) = answers(talk(httpx.Response(200, text=events(hostile)), []), "x")
    assert answer == "[2J]0;titlered31m\ntab\tkept\n"


@pytest.mark.parametrize(
    ("response", "match"),
    [
        (
            httpx.Response(404, json={"error": {"message": "expected a\n member"}}),
            "^expected a member$",
        ),
        (httpx.Response(401, json={"error": {"message": "key"}}), "set LORAQD_API_KEY"),
        (httpx.Response(500, text="<html>\x1b[2J"), "<html>"),
    ],
)
def test_a_refusal_is_one_line_and_forgotten(response, match):
    one = talk(response, [])
    with pytest.raises(EngineError, match=match):
        answers(one, "a")
    assert one.said == []


def test_a_server_that_is_gone_is_one_line():
    def gone(request):
        raise httpx.ConnectError("no")

    with pytest.raises(EngineError, match="ConnectError; is the server still there"):
        answers(talk(gone, []), "a")
