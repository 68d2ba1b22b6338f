"""What passes the guard, what does not, and what is kept meanwhile."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from lora_qd.errors import InputError, StoreError
from lora_qd.serving import guard as module
from lora_qd.serving.guard import Guard
from lora_qd.serving.shelf import Shelf

CHAT = "/v1/chat/completions"


class Served:
    """vLLM behind the guard, as far as the guard sees it."""

    def __init__(self, tmp_path, monkeypatch, key=None):
        if key:
            monkeypatch.setenv("VLLM_API_KEY", key)
        else:
            monkeypatch.delenv("VLLM_API_KEY", raising=False)
        self.clock = 0.0
        self.asked = []
        self.in_use = []
        self.shelf = Shelf(
            self.make, tmp_path / "shelf", capacity=1, clock=lambda: self.clock
        )
        monkeypatch.setattr(module, "shelf", lambda: self.shelf)
        static = [SimpleNamespace(name="balanced")]
        self.models = SimpleNamespace(
            static_lora_modules=static,
            is_base_model=lambda name: name == "base",
            lora_requests={"balanced": "static"},
        )
        self.state = SimpleNamespace(openai_serving_models=self.models)
        self.guard = Guard(self.app)

    def make(self, name, directory):
        if name == "tampered":
            raise StoreError("expected whole cores in x, but got y; restore the file")
        if not name.startswith("m"):
            raise InputError(f"expected a member, but got {name!r}; it has m1")
        return directory

    async def app(self, scope, receive, send):
        body = b""
        if scope["type"] == "http":
            body = (await receive())["body"]
        name = json.loads(body)["model"] if body[:1] == b"{" else None
        self.asked.append((scope["path"], body))
        if isinstance(name, str) and name.startswith("m"):
            self.in_use.append(self.shelf._places[name].num_users)
            self.models.lora_requests[name] = "on demand"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})

    def request(self, method, path, body=b"", headers=(), **scope):
        sent = []
        parts = [body[i : i + 7] for i in range(0, len(body), 7)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": part is not parts[-1]}
            for part in parts
        ]
        messages[-1]["more_body"] = False

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": list(headers),
            "app": SimpleNamespace(state=self.state),
            **scope,
        }
        asyncio.run(self.guard(scope, receive, send))
        if sent[0]["type"] == "websocket.close":
            return sent[0]["code"], ""
        return sent[0]["status"], sent[1]["body"].decode()

    def ask(self, model, **options):
        return self.request(
            "POST", CHAT, json.dumps({"model": model}).encode(), **options
        )


@pytest.fixture
def served(tmp_path, monkeypatch):
    return Served(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/x"),
        ("POST", "/invocations"),
        ("POST", "//v1/load_lora_adapter"),
        ("POST", "/v1//load_lora_adapter"),
        ("POST", "/v1/load_lora_adapter/"),
        ("POST", "/v1/./load_lora_adapter"),
        ("POST", "/health/../v1/load_lora_adapter"),
        ("POST", "/v1/models/../load_lora_adapter"),
        ("POST", "/V1/LOAD_LORA_ADAPTER"),
        ("POST", "/v1/load_lora_adapter\x00"),
        ("POST", "/health"),
        ("PUT", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", CHAT),
        ("GET", CHAT),
        ("GET", "/docs"),
        ("GET", "/"),
        ("GET", ""),
        ("POST", "/pause"),
        ("POST", "/v1/embeddings"),
    ],
)
def test_all_other_routes_are_not_there(served, method, path):
    status, answer = served.request(method, path, b'{"lora_path": "/etc"}')
    assert status == 404
    assert json.loads(answer)["error"]["type"] == "NotFoundError"
    assert served.asked == []


def test_other_protocols_and_prefixes_do_not_pass(served):
    assert served.request("GET", "/v1/models", type="websocket")[0] == 1008
    assert served.request("GET", "/v1/models", root_path="/x")[0] == 404
    assert served.asked == []


@pytest.mark.parametrize("path", ["/health", "/ping", "/v1/models", "/version"])
def test_what_a_client_needs_passes(served, path):
    assert served.request("GET", path) == (200, "answered")


def test_a_body_arrives_as_it_was_sent(served):
    body = json.dumps({"model": "base", "messages": ["ä" * 50]}).encode()
    assert served.request("POST", CHAT, body)[0] == 200
    assert served.asked == [(CHAT, body)]


def test_a_member_is_kept_while_it_answers(served):
    assert served.ask("m1")[0] == 200
    assert served.in_use == [1]
    assert served.shelf._places["m1"].num_users == 0


def test_an_idle_member_is_forgotten_by_both(served):
    served.ask("m1")
    served.clock += 1000
    served.ask("m2")
    assert set(served.models.lora_requests) == {"balanced", "m2"}
    assert len(served.shelf) == 1


def test_who_was_given_at_the_start_is_never_made(served):
    assert served.ask("balanced")[0] == served.ask("base")[0] == 200
    assert len(served.shelf) == 0


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("../../etc", "got '../../etc'"),
        ("nobody", "got 'nobody'; it has m1"),
        ("tampered", "expected whole cores"),
        ("m" * 500, "one of 500 characters"),
        ("\udc80", "expected a member"),
    ],
)
def test_nobody_is_a_404_with_the_reason(served, model, reason):
    status, answer = served.ask(model)
    error = json.loads(answer)["error"]
    assert status == error["code"] == 404
    assert error["param"] == "model"
    assert reason in error["message"]
    assert served.asked == []


@pytest.mark.parametrize("body", [b"", b"no json", b"[" * 9999, b"[]", b'{"model": 3}'])
def test_what_names_no_model_is_for_vllm_to_refuse(served, body):
    assert served.request("POST", CHAT, body)[0] == 200
    assert served.asked == [(CHAT, body)]


def test_a_huge_body_is_refused(served, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    assert served.request("POST", CHAT, b"x" * 200)[0] == 413
    assert served.asked == []


def test_a_key_guards_everything_but_health(tmp_path, monkeypatch):
    served = Served(tmp_path, monkeypatch, key="secret")
    right = [(b"authorization", b"Bearer secret")]
    for path in ("/v1/models", "/metrics", "/version"):
        assert served.request("GET", path)[0] == 401
        assert served.request("GET", path, headers=right)[0] == 200
    for wrong in (b"Bearer secre", b"Bearer  secret", b"secret", b"Basic secret", b""):
        headers = [(b"authorization", wrong)]
        assert served.ask("m1", headers=headers)[0] == 401
    for path in ("/tokenize", "/detokenize", CHAT, "/v1/completions"):
        assert served.request("POST", path, b"{}")[0] == 401
    assert len(served.shelf) == 0  # nobody without a key makes us work
    assert served.ask("m1", headers=right)[0] == 200
    assert served.request("GET", "/health")[0] == 200
    assert served.request("POST", "/adapters", headers=right)[0] == 404
