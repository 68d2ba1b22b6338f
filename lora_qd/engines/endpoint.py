"""A hosted model behind an OpenAI-compatible endpoint, to compare one's own with.

It answers conversations as the model that it is: adapters, raw prompts and the
log-likelihoods of given texts are beyond such endpoints. Greedy decoding is asked for,
but a provider promises no equal answers.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from lora_qd.errors import EngineError, PromptTooLongError
from lora_qd.hosted import ROUTE, check_key, checked_url, open_client
from lora_qd.records import Completion, Member, Request, Swap

if TYPE_CHECKING:
    from openai import APIConnectionError

_MAX_RETRIES = 5
_LONGEST_WAIT_S = 120.0
"""Seconds that the package waits at most before a retry, where the server says so."""
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|size)"
    r"|(prompt|input) is too long|too many (input |prompt )?tokens",
    re.IGNORECASE,
)
_REMEDY_BY_STATUS = {
    401: "name the variable that holds its key: --api-key-env",
    403: "name the variable that holds its key: --api-key-env",
    404: "check the model's name, and the URL, which ends in /v1 as a rule",
    408: "repeat it later, or raise the timeout",
    429: "repeat it later, or with fewer requests in flight",
}


class ChatEndpoint:
    """Answers by ``/chat/completions``; use it as an asynchronous context manager.

    Rate limits, server errors and lost connections are tried again five times, with
    growing pauses or those that the server names.
    """

    num_restarts = 0
    """There is no server of ours to lose."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None,
        max_in_flight: int = 8,
        timeout_s: float = 120,
    ) -> None:
        """Name an endpoint; nothing is sent yet.

        Args:
            url: the API's address, with its ``/v1``.
            model: the model's name there.
            api_key: sent to ``url`` and nowhere else; no variable is read for it.
            max_in_flight: most requests at once.
            timeout_s: seconds without a byte of an answer until it counts as missing.

        Raises:
            InputError: the URL or the key cannot be sent.
            MissingExtraError: the extra ``skills`` is not installed.
            ValueError: a limit is not positive.
        """
        if max_in_flight < 1 or not timeout_s > 0:
            raise ValueError(
                "expected max_in_flight of at least 1 and timeout_s above 0, but got "
                f"{max_in_flight} and {timeout_s:g}"
            )
        check_key(api_key)
        self._url = checked_url(url)
        self._model = model
        self._key = api_key or ""
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(max_in_flight)
        self._limit = "max_tokens"
        """What the endpoint calls the most tokens of an answer."""
        self._client = open_client(
            self._url, self._key, timeout_s=timeout_s, max_retries=_MAX_RETRIES
        )

    def __repr__(self) -> str:
        return f"ChatEndpoint({self._url!r}, {self._model!r})"

    async def __aenter__(self) -> Self:
        """Open nothing yet: the first requests do."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def add(self, member: Member) -> Swap:
        """Raise a ValueError: hosted models take no adapters."""
        raise ValueError(self._no_member(member))

    async def remove(self, member: Member) -> None:
        """Raise a ValueError: hosted models take no adapters."""
        raise ValueError(self._no_member(member))

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Args:
            member: None, as nobody but the hosted model answers.
            requests: conversations; where one fails, the others are abandoned.

        Raises:
            ValueError: there is a ``member``.
            PromptTooLongError: a conversation does not fit the model's context.
            EngineError: the endpoint cannot be reached, refuses or answers nonsense,
                or a request is no conversation.
        """
        if member is not None:
            raise ValueError(self._no_member(member))
        for request in requests:
            if request.prompt or request.continuation is not None:
                raise EngineError(
                    "expected a completions endpoint for log-likelihoods and raw "
                    f"prompts, but {self._name} is a chat endpoint, which has none; "
                    "use servers of your own (loraqd serve), or leave the skill out"
                )
        tasks = [asyncio.create_task(self._answer(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _name(self) -> str:
        return f"{self._model!r} at {self._url}"

    def _no_member(self, member: Member) -> str:
        return (
            f"expected no member for {self._name}, but got {member.id!r}; hosted "
            "models take no adapters"
        )

    async def _answer(self, request: Request) -> Completion:
        async with self._slots:
            content = await self._content(request)
        try:
            return _completion(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = self._line(content.decode(errors="replace"))
            raise self._failure(
                f"an answer without choices[0].message.content: {said}",
                f"check the URL: its {ROUTE} is not OpenAI's",
            ) from None

    async def _content(self, request: Request) -> bytes:
        """Return the answer's JSON.

        No error is chained to ours: what a server repeats, and a header that cannot be
        sent, may hold the key.
        """
        from openai import APIConnectionError, APIStatusError

        limit = self._limit
        longest_s = (_MAX_RETRIES + 1) * (self._timeout_s + _LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(longest_s):
                return await self._post(request, limit)
        except APIStatusError as error:
            status, said = error.status_code, _complaint(error.body)
        except APIConnectionError as error:
            raise self._lost(error) from None
        except TimeoutError:
            raise self._failure(
                f"no end of an answer within {longest_s:g} s", "check the endpoint"
            ) from None
        if limit == "max_tokens" and "max_completion_tokens" in said:
            self._limit = "max_completion_tokens"  # OpenAI's models that reason
            return await self._content(request)
        if status in (400, 413, 422) and _TOO_LONG.search(said):
            raise PromptTooLongError(
                f"expected a conversation and an answer of {request.max_tokens} tokens "
                f"within the context of {self._name}, but got {status}: "
                f"{self._line(said)}; shorten the prompt or lower max_tokens"
            )
        otherwise = "repeat it later" if status >= 500 else "mend what it complains of"
        raise self._failure(
            f"{status}: {self._line(said)}", _REMEDY_BY_STATUS.get(status, otherwise)
        )

    async def _post(self, request: Request, limit: str) -> bytes:
        options: dict[str, object] = {limit: request.max_tokens}
        if request.stop:
            options["stop"] = list(request.stop)
        if request.temperature > 0:  # not all endpoints know a seed
            options["seed"] = request.seed
        response = await self._client.chat.completions.with_raw_response.create(
            model=self._model,
            messages=[
                {"role": turn.role, "content": _encodable(turn.content)}
                for turn in request.messages
            ],
            temperature=request.temperature,
            **options,
        )
        content: bytes = response.http_response.content
        return content

    def _lost(self, error: "APIConnectionError") -> EngineError:
        from openai import APITimeoutError

        tries = f"{_MAX_RETRIES + 1} times"
        if isinstance(error, APITimeoutError):
            return self._failure(
                f"no answer within {self._timeout_s:g} s, {tries}",
                "repeat it later, or raise the timeout",
            )
        fact = f"no connection, {tries} ({type(error.__cause__).__name__})"
        return self._failure(fact, "check the URL and the network")

    def _failure(self, fact: str, remedy: str) -> EngineError:
        return EngineError(f"expected {self._name} to answer, but got {fact}; {remedy}")

    def _line(self, text: str) -> str:
        """Return what a server says as one line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join(text[:2000].split())[:300]
        return "".join(each if each.isprintable() else "?" for each in line)


def _complaint(body: object) -> str:
    """Return what a refusal says; the package has unpacked its field ``error``."""
    if isinstance(body, dict) and body.get("message"):
        code = f" ({body['code']})" if body.get("code") else ""
        return f"{body['message']}{code}"
    return str(body or "no reason")


def _completion(body: Any) -> Completion:  # noqa: ANN401 - whatever JSON holds
    choice = body["choices"][0]
    text = choice["message"].get("content")
    if text is None:
        text = choice["message"].get("refusal") or ""
    return Completion(
        text=_encodable(text),
        num_prompt_tokens=_num_used(body, "prompt_tokens"),
        num_tokens=_num_used(body, "completion_tokens"),
        is_complete=choice.get("finish_reason") == "stop",
    )


def _num_used(body: Mapping[str, Any], what: str) -> int:
    """Return a number of the answer's ``usage``; 0 where it is missing."""
    usage = body.get("usage")
    num = usage.get(what) if isinstance(usage, dict) else None
    return num if isinstance(num, int) and 0 <= num < 2**53 else 0


def _encodable(text: str) -> str:
    """Return ``text`` with a ``?`` for what JSON can write and UTF-8 cannot."""
    return text.encode(errors="replace").decode()
