"""What stands before every route of a served run: an ASGI middleware for vLLM.

vLLM resolves adapters by name only with its run-time LoRA routes mounted, by which
whoever reaches the port makes it read any path, and which its API key does not guard.
Here the few routes that a client needs pass, all others are 404; a key is asked for on
each; and a model that is nobody is a 404 with the reason.
"""

import asyncio
import hashlib
import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

from lora_qd.errors import LoraQDError
from lora_qd.serving.plugin import shelf

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = {("GET", "/health"), ("GET", "/ping")}
_ABOUT = {("GET", "/v1/models"), ("GET", "/version"), ("GET", "/metrics")}
_NAMING_A_MODEL = {
    ("POST", path)
    for path in (
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"),
        *("/tokenize", "/detokenize"),
    )
}
_MOST_BYTES = 16 * 2**20
"""Of a request's body."""
_MOST_CHARACTERS = 200
"""Of a member's name."""


class Guard:
    """Lets through what may pass; see the module's docstring."""

    def __init__(self, app: App) -> None:
        """Stand before ``app``; the key is vLLM's, from the environment."""
        self._app = app
        key = os.environ.get("VLLM_API_KEY", "")
        self._key = hashlib.sha256(key.encode()).digest() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        route = (scope["method"], scope["path"])
        if route not in _OPEN | _ABOUT | _NAMING_A_MODEL or scope.get("root_path"):
            await _refuse(
                send, 404, f"expected a route of OpenAI's API, but got {route[1]!r}"
            )
        elif route not in _OPEN and not self._has_key(scope):
            await _refuse(send, 401, "expected the API key as a bearer token")
        elif route in _NAMING_A_MODEL:
            await self._pass_with_member(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        if self._key is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        digest = hashlib.sha256(key).digest()
        return kind.lower() == b"bearer" and hmac.compare_digest(digest, self._key)

    async def _pass_with_member(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Hand a request on while the adapter that it names is kept."""
        body = await _body(receive)
        if body is None:
            await _refuse(send, 413, f"expected at most {_MOST_BYTES:,} bytes")
            return
        models = scope["app"].state.openai_serving_models
        name = _model_in(body)
        if name is None or _is_known(name, models):
            await self._app(scope, _replayed(body, receive), send)
            return
        with ExitStack() as kept:
            try:
                await asyncio.to_thread(_take, name, kept)
            except LoraQDError as error:
                await _refuse(send, 404, str(error), param="model")
                return
            await self._app(scope, _replayed(body, receive), send)
        shelf().forget(lambda gone: models.lora_requests.pop(gone, None))


def _take(name: str, kept: ExitStack) -> None:
    """Make the adapter of ``name`` and keep it as long as ``kept``; takes a moment."""
    if len(name) > _MOST_CHARACTERS:
        raise LoraQDError(
            f"expected a member's name, but got one of {len(name):,} characters; "
            "/v1/models has names"
        )
    kept.enter_context(shelf().using(name))


def _is_known(name: str, models: Any) -> bool:  # noqa: ANN401 - vLLM's
    """Tell whether a name is the base's, or was given at the start."""
    static = {module.name for module in models.static_lora_modules or ()}
    return name in static or models.is_base_model(name)


def _model_in(body: bytes) -> str | None:
    """Return the model that a request names; what is wrong with one vLLM says."""
    try:
        order = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = order.get("model") if isinstance(order, dict) else None
    return name if isinstance(name, str) and name else None


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body of a request; None if it is too large, or breaks off."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or sum(map(len, parts)) > _MOST_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what hands over the body once, and then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


async def _refuse(
    send: Send, status: int, message: str, *, param: str | None = None
) -> None:
    """Answer with an error as OpenAI's API has it."""
    kinds = {401: "AuthenticationError", 404: "NotFoundError"}
    kind = kinds.get(status, "BadRequestError")
    error = {"message": message, "type": kind, "param": param, "code": status}
    content = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
