"""A conversation with a served member, its answers as they come."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from lora_qd.errors import EngineError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys: a model's answer may hold it."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are asked for."""

    system: str
    """What the member is told first; empty: nothing."""
    max_tokens: int
    temperature: float


@dataclass(slots=True)
class Talk:
    """One member's side of a conversation, with all that was said before."""

    member: str
    manner: Manner
    client: httpx.AsyncClient
    said: list[dict[str, str]] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was said."""
        self.said.clear()

    async def ask(self, question: str) -> AsyncIterator[str]:
        """Yield the answer to ``question``, piece by piece, without control characters.

        An answer that is broken off is not remembered.

        Raises:
            EngineError: the server refuses, or does not answer.
        """
        turns = [*self.said, {"role": "user", "content": question}]
        answer = ""
        async for piece in self._stream(turns):
            answer += piece
            yield piece
        self.said = [*turns, {"role": "assistant", "content": answer}]

    async def _stream(self, turns: list[dict[str, str]]) -> AsyncIterator[str]:
        manner = self.manner
        first = [{"role": "system", "content": manner.system}] if manner.system else []
        order = {
            "model": self.member,
            "messages": [*first, *turns],
            "max_tokens": manner.max_tokens,
            "temperature": manner.temperature,
            "stream": True,
        }
        route = "/v1/chat/completions"
        try:
            async with self.client.stream("POST", route, json=order) as response:
                if response.status_code != httpx.codes.OK:
                    raise EngineError(_refusal(await response.aread(), response))
                async for line in response.aiter_lines():
                    yield _CONTROL.sub("", _piece(line))
        except httpx.HTTPError as error:
            raise EngineError(
                f"expected an answer of {self.member} from {self.client.base_url}, but "
                f"got {type(error).__name__}; is the server still there?"
            ) from error


def _piece(line: str) -> str:
    """Return the text in a line of server-sent events."""
    data = line.removeprefix("data:").strip()
    if data == line or data == "[DONE]":
        return ""
    try:
        event: Any = json.loads(data)
        if "error" in event:
            raise EngineError(f"expected an answer, but got: {event['error']}")
        return str(event["choices"][0]["delta"].get("content") or "")
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _refusal(content: bytes, response: httpx.Response) -> str:
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace")
    line = _CONTROL.sub(" ", " ".join(message.split()))[:500]
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return f"{line}; set LORAQD_API_KEY"
    return line
