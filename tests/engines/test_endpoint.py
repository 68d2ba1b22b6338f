"""A hosted model behind an OpenAI-compatible endpoint, played by a local server."""

import asyncio
import sys
import time

import pytest

from lora_qd.engines import ChatEndpoint
from lora_qd.errors import EngineError, InputError, MissingExtraError
from lora_qd.records import Member, Message, Request
from tests.engines.played_server import (
    KEY,
    answer,
    ask,
    ask_one,
    echo,
    playing,
    request,
)


def test_answers_come_in_the_order_of_the_requests():
    def late(body):
        time.sleep(0.05 * (3 - int(body["messages"][-1]["content"])))
        return echo(body)

    with playing(late) as server:
        completions = ask(server.url, *(request(str(n)) for n in range(4)))
    assert [c.text for c in completions] == [f"re: {n}" for n in range(4)]
    assert {(c.num_prompt_tokens, c.num_tokens) for c in completions} == {(7, 3)}


def test_no_requests_are_no_answers():
    with playing(echo) as server:
        assert ask(server.url) == []
    assert server.asked == []


def test_no_more_requests_are_in_flight_than_allowed():
    def slow(body):
        time.sleep(0.03)
        return echo(body)

    with playing(slow) as server:
        asked = [request(str(n)) for n in range(9)]
        assert len(ask(server.url, *asked, max_in_flight=3)) == 9
    assert server.most_in_flight == 3


def test_a_request_is_sent_as_the_api_has_it():
    messages = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    greedy = Request(messages, 5, seed=4)
    drawn = Request(messages, 5, stop=("\n",), temperature=0.7, seed=4)
    with playing(lambda body: (200, answer("4"))) as server:
        for one in (greedy, drawn):
            ask(server.url, one)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    plain = {"model": "m-1", "messages": turns, "max_tokens": 5}
    assert server.asked == [
        ("/v1/chat/completions", {**plain, "temperature": 0}),
        (
            "/v1/chat/completions",
            {**plain, "temperature": 0.7, "seed": 4, "stop": ["\n"]},
        ),
    ]
    assert {h["authorization"] for h in server.headers} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("suffix", ["/", "/chat/completions"])
def test_a_url_may_end_in_a_slash_or_in_the_route(suffix):
    with playing(echo) as server:
        (completion,) = ask(server.url + suffix, request())
    assert completion.text == "re: hello"


def test_no_variable_of_the_environment_is_read(monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "secret-of-the-user")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: secret-of-the-user")
    completion, server = ask_one(echo, api_key=None)
    assert completion.text == "re: hello"
    (headers,) = server.headers
    assert "secret" not in str(headers)
    assert not [name for name in headers if name.startswith("openai-")]
    assert headers["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    ("finish", "is_complete"), [("stop", True), ("length", False), (None, False)]
)
def test_only_an_answer_that_stopped_is_complete(finish, is_complete):
    completion, _ = ask_one(lambda body: (200, answer("4", finish)))
    assert completion.is_complete is is_complete


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": "a\ud800b"}, "a?b"),
    ],
)
def test_any_message_has_a_text(message, text):
    choice = {"message": message, "finish_reason": "stop"}
    completion, _ = ask_one(lambda body: (200, {"choices": [choice]}))
    assert completion.text == text
    assert (completion.num_prompt_tokens, completion.num_tokens) == (0, 0)


@pytest.mark.parametrize(
    "usage", [None, [], "x", {"completion_tokens": None}, {"prompt_tokens": -(10**30)}]
)
def test_tokens_that_are_not_told_count_as_none(usage):
    completion, _ = ask_one(lambda body: (200, answer("4", usage=usage)))
    assert (completion.num_prompt_tokens, completion.num_tokens) == (0, 0)


def test_a_huge_answer_arrives_whole():
    text = "many words " * 1_000_000
    completion, _ = ask_one(lambda body: (200, answer(text)))
    assert completion.text == text


def test_text_that_utf8_cannot_write_is_asked_all_the_same():
    completion, _ = ask_one(echo, request("a\udfffb"))
    assert completion.text == "re: a?b"


def test_a_model_that_reasons_is_told_the_limit_by_its_other_name():
    def reasoning(body):
        if "max_tokens" in body:
            message = "'max_tokens' is not supported. Use 'max_completion_tokens'."
            return 400, {"error": {"message": message, "param": "max_tokens"}}
        return echo(body)

    with playing(reasoning) as server:
        completions = ask(server.url, *(request(str(n)) for n in range(3)))
    assert [c.text for c in completions] == ["re: 0", "re: 1", "re: 2"]
    # A refused request may be repeated before another one is asked at all.
    limits = [b.get("max_completion_tokens") for _, b in server.asked]
    assert sorted(limit for limit in limits if limit is not None) == [16] * 3


@pytest.mark.parametrize("options", [{"prompt": "Once"}, {"continuation": ""}])
def test_what_a_chat_endpoint_cannot_do_is_refused_before_it_is_asked(options):
    with playing(echo) as server:
        unfit = Request((Message("user", "a"),), 1, **options)
        with pytest.raises(
            EngineError, match=r"expected a completions endpoint .* own"
        ):
            ask(server.url, request(), unfit)
    assert server.asked == []


def test_members_are_refused():
    member = Member("7-abc", {})

    async def main():
        async with ChatEndpoint("http://h/v1", "m", api_key=None) as engine:
            assert engine.num_restarts == 0
            for refused in (
                engine.add(member),
                engine.remove(member),
                engine.generate(member, []),
            ):
                with pytest.raises(ValueError, match="no member for 'm' at .* '7-abc'"):
                    await refused

    asyncio.run(main())


def test_the_key_is_in_no_text_of_the_engine():
    engine = ChatEndpoint("https://host/v1", "m-1", api_key=KEY)
    assert repr(engine) == str(engine) == "ChatEndpoint('https://host/v1', 'm-1')"


@pytest.mark.parametrize("key", ["", "sk-1\n", "sk 1", "schlüssel", "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_unnamed(key):
    with pytest.raises(InputError, match="expected an API key of ASCII") as caught:
        ChatEndpoint("https://host/v1", "m-1", api_key=key)
    assert key == "" or key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://host", "http://", "http://h:x/", "http://h /", "//h"]
)
def test_a_url_of_no_api_is_refused(url):
    with pytest.raises(InputError, match="expected the URL of an API such as"):
        ChatEndpoint(url, "m-1", api_key=None)


def test_a_password_in_the_url_is_refused_unnamed():
    with pytest.raises(InputError, match="without a name and password") as caught:
        ChatEndpoint("https://me:secret@host/v1", "m-1", api_key=None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("limits", [{"max_in_flight": 0}, {"timeout_s": 0}])
def test_limits_that_let_nothing_through_are_refused(limits):
    with pytest.raises(ValueError, match="max_in_flight of at least 1 and timeout_s"):
        ChatEndpoint("https://host/v1", "m-1", api_key=None, **limits)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"loraqd\[skills\]"):
        ChatEndpoint("https://host/v1", "m-1", api_key=None)
