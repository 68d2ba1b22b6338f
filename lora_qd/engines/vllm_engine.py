"""Generation by a vLLM server: adapters are swapped in by name, requests batched."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from lora_qd.engines.adapter_check import check_adapter
from lora_qd.engines.batcher import Batcher
from lora_qd.engines.chat import ChatFormat
from lora_qd.engines.gate import Gate
from lora_qd.engines.loaded_adapters import (
    LoadedAdapter,
    LoadedAdapters,
    WriteAdapter,
)
from lora_qd.engines.server import Server
from lora_qd.engines.vllm_client import VllmClient
from lora_qd.records import Completion, Member, Request, Swap

_MAX_BATCH = 64
_NUM_PROBED = 5


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The token ids that one request sends."""

    ids: tuple[int, ...]
    num_context: int = 0
    """Where the continuation begins whose likelihood is wanted."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What requests must share to travel in one list."""

    adapter: LoadedAdapter | None
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int = 0
    is_likelihood: bool = False

    @classmethod
    def of(cls, adapter: LoadedAdapter | None, request: Request) -> "_Call":
        """Return the call that ``request`` may travel in."""
        if request.continuation is not None:
            return cls(adapter, max_tokens=1, is_likelihood=True)
        return cls(
            adapter,
            request.max_tokens,
            request.stop,
            request.temperature,
            request.seed,
        )

    @property
    def options(self) -> Mapping[str, object]:
        """What it says in the API's words."""
        options: dict[str, object] = {"max_tokens": self.max_tokens, "stop": self.stop}
        if self.is_likelihood:
            options |= {"echo": True, "logprobs": 1, "return_tokens_as_token_ids": True}
        if self.temperature:
            options |= {"temperature": self.temperature, "seed": self.seed}
        return options


class VllmEngine:
    """Answers through a vLLM server; use it as an asynchronous context manager.

    A server that dies or hangs is started again, with all adapters, and asked again:
    callers see an answer that comes late, never a half one.

    Members with equal weights share one load. The base never shares a batch with
    adapters: vLLM 0.32 on CPU would add an adapter to the base's rows.
    """

    def __init__(self, server: Server, write_adapter: WriteAdapter) -> None:
        """Bind a server that is up to the way in which members become adapters.

        Args:
            server: not owned; closing the engine leaves it up, but one that is lost
                is started again.
            write_adapter: writes a member as a PEFT directory below the given one and
                returns that directory's name, the hash of the adapter's content.
        """
        settings = server.settings
        self._max_model_len = settings.max_model_len
        self._chat = ChatFormat(settings.model)
        self._gate = Gate()
        self._adapters = LoadedAdapters(
            server,
            write=write_adapter,
            check=partial(check_adapter, settings=settings),
        )
        self._keeper = self._adapters.keeper
        self._batcher: Batcher[_Call, _Prompt, Completion] = Batcher(
            self._complete,
            max_batch=_MAX_BATCH,
            # Enough to keep the engine full, few enough for its scheduler to walk.
            max_in_flight=max(2, 2 * settings.max_num_seqs // _MAX_BATCH),
        )

    @property
    def num_restarts(self) -> int:
        """How often the server was lost, or recycled, and started again."""
        return self._keeper.num_restarts

    async def __aenter__(self) -> Self:
        """Return the engine."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the engine."""
        await self.close()

    async def close(self) -> None:
        """Abandon what is under way, unload all adapters and delete their files."""
        await self._batcher.close()
        await self._adapters.clear()
        await self._keeper.close()

    async def add(self, member: Member) -> Swap:
        """Write ``member`` as an adapter and load it; needs one ``remove``.

        Raises:
            EngineError: the adapter cannot be applied to this base in full.
        """
        return await self._adapters.add(member)

    async def remove(self, member: Member) -> None:
        """Undo one ``add``; the last one unloads the adapter and deletes its files.

        Raises:
            ValueError: ``member`` was not added.
        """
        await self._adapters.remove(member)

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Raises:
            ValueError: ``member`` was not added.
            InputError: a prompt and its answer do not fit ``max_model_len``.
            EngineError: the server refused.
            EngineLostError: it cannot be started again.
        """
        adapter = None if member is None else self._adapters.of(member)
        jobs = [
            self._batcher.submit(_Call.of(adapter, request), self._encode(request))
            for request in requests
        ]
        return list(await asyncio.gather(*jobs))

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Return, per request, the log-probabilities of the likeliest first tokens."""
        adapter = None if member is None else self._adapters.of(member)
        options = {"logprobs": _NUM_PROBED, "return_tokens_as_token_ids": True}
        probes: list[Mapping[str, float]] = []
        for request in requests:  # one at a time: equal shapes, equal rounding
            prompts = [self._encode(replace(request, continuation=None))]
            choices = await self._ask(_Call(adapter, 1), prompts, options)
            probes.append(choices[0]["logprobs"]["top_logprobs"][0])
        return probes

    def _encode(self, request: Request) -> _Prompt:
        if request.continuation is not None:
            return _Prompt(*self._chat.encode_likelihood(request, self._max_model_len))
        return _Prompt(self._chat.encode_request(request, self._max_model_len))

    async def _complete(
        self, call: _Call, prompts: Sequence[_Prompt]
    ) -> list[Completion]:
        choices = await self._ask(call, prompts, {"return_token_ids": True})
        if call.is_likelihood:
            return [
                _likelihood(prompt, choice["logprobs"])
                for prompt, choice in zip(prompts, choices, strict=True)
            ]
        return [
            Completion(
                text=choice["text"],
                num_prompt_tokens=len(prompt.ids),
                num_tokens=len(choice["token_ids"]),
                is_complete=choice["finish_reason"] == "stop",
            )
            for prompt, choice in zip(prompts, choices, strict=True)
        ]

    async def _ask(
        self, call: _Call, prompts: Sequence[_Prompt], options: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        order = {**call.options, **options}
        side = "adapters" if call.adapter else "base"
        in_use = call.adapter.in_use() if call.adapter else nullcontext()

        async def complete(client: VllmClient) -> list[dict[str, Any]]:
            model = call.adapter.name if call.adapter else client.base_name
            return await client.complete(model, [p.ids for p in prompts], order)

        async with in_use, self._gate.enter(side):
            return await self._keeper.call(complete)


def _likelihood(prompt: _Prompt, logprobs: Mapping[str, Any]) -> Completion:
    """Return the continuation's likelihood; the last token is what was generated."""
    own = logprobs["token_logprobs"][prompt.num_context : -1]
    best = logprobs["top_logprobs"][prompt.num_context : -1]
    return Completion(
        text="",
        num_prompt_tokens=len(prompt.ids),
        num_tokens=0,
        is_complete=True,
        logprob=math.fsum(own),
        is_greedy=all(
            log == max(top.values()) for log, top in zip(own, best, strict=True)
        ),
    )
