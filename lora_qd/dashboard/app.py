"""The web application of ``loraqd watch``: reads only, for this machine only.

Whoever asks under another host's name (DNS rebinding) or from another page is refused.
What a page may load is named in a strict policy: only what this server sends.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from lora_qd.dashboard.board import LOOK_EVERY_S, Board
from lora_qd.dashboard.page import SCRIPTS, STYLE, asset, live_page, plain_json
from lora_qd.dashboard.people import answers_of, describe_member
from lora_qd.dashboard.prompts import Prompts
from lora_qd.errors import LoraQDError
from lora_qd.records import Split
from lora_qd.store.ledger import Ledger

HOST = "127.0.0.1"
_SILENCE_S = 15.0
"""After so long without news a comment keeps the connection open."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src "
    "'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action "
    "'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def application(board: Board, prompts: Prompts, *, port: int) -> Starlette:
    """Return the application that shows what ``board`` holds.

    Args:
        board: the run as it is now.
        prompts: the questions of its samples.
        port: on which it will listen; other names of a host are refused.
    """
    views = _Views(board, prompts)
    files = [
        Route(f"/{name}", partial(_file, name), name=name) for name in (*SCRIPTS, STYLE)
    ]
    routes = [
        Route("/", views.page),
        Route("/events", views.events),
        Route("/members/{member:str}", views.member),
        Route("/members/{member:str}/samples", views.samples),
        *files,
    ]
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    return Starlette(routes=routes, middleware=[Middleware(_Guard, hosts=hosts)])


class _Guard:
    """Refuses strangers, and sends the policy with every answer."""

    def __init__(self, app: ASGIApp, hosts: set[str]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = {f"http://{name}" for name in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self._app if self._is_ours(Headers(scope=scope)) else self._refusal()
        await app(scope, receive, send_guarded)

    def _is_ours(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        is_own_page = origin is None or origin in self._origins
        return headers.get("host") in self._hosts and is_own_page

    def _refusal(self) -> Response:
        names = " or ".join(sorted(self._hosts))
        text = f"expected a request to {names} from its own page\n"
        return Response(text, status_code=403, media_type="text/plain")


async def _file(name: str, _: Request) -> Response:
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    return Response(asset(name), media_type=kind)


class _Views:
    """The answers to what a page asks."""

    def __init__(self, board: Board, prompts: Prompts) -> None:
        self._board = board
        self._prompts = prompts

    async def page(self, _: Request) -> Response:
        return Response(live_page(self._board.head), media_type="text/html")

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self._news(request), media_type="text/event-stream")

    async def member(self, request: Request) -> Response:
        snapshot, id_ = self._board.snapshot, request.path_params["member"]
        about = describe_member(snapshot, id_)
        if about is None:
            return _json({"error": f"there is no member {id_!r} in this run"}, 404)
        try:
            with Ledger(snapshot.directory.ledger) as ledger:
                about["splits"] = ledger.measured(id_)
        except LoraQDError as error:
            return _json({"error": str(error)}, 503)
        return _json(about)

    async def samples(self, request: Request) -> Response:
        member = request.path_params["member"]
        skill = request.query_params.get("skill", "")
        try:
            split = Split(request.query_params.get("split", ""))
        except ValueError:
            splits = ", ".join(Split)
            return _json({"error": f"expected a split out of {splits}"}, 404)
        try:
            return _json(await asyncio.to_thread(self._samples, member, split, skill))
        except LoraQDError as error:
            return _json({"error": str(error)}, 503)

    def _samples(self, member: str, split: Split, skill: str) -> dict[str, Any]:
        snapshot = self._board.snapshot
        if snapshot.story is None:
            return {"samples": [], "note": "Nobody has been scored yet."}
        prompts, note = self._prompts.of(snapshot.story.config, skill, split)
        with Ledger(snapshot.directory.ledger) as ledger:
            samples = answers_of(ledger, member, split, skill, prompts)
        return {"samples": samples, "note": note}

    async def _news(self, request: Request) -> AsyncIterator[str]:
        number, silence_s = 0, 0.0
        yield "retry: 1000\n\n"
        while not await request.is_disconnected():
            update = self._board.since(number)
            if update:
                number, silence_s = update.number, 0.0
                yield f"event: update\ndata: {update.data}\n\n"
            elif silence_s >= _SILENCE_S:
                silence_s = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_EVERY_S / 2)
            silence_s += LOOK_EVERY_S / 2


def _json(data: object, status: int = 200) -> Response:
    return Response(plain_json(data), status, media_type="application/json")
