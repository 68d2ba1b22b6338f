"""Generation by transformers in this process: many members in one batch."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from lora_qd.engines.answer import Answer
from lora_qd.engines.chat import ChatFormat
from lora_qd.errors import EngineError
from lora_qd.records import Completion, Member, Request, Swap

if TYPE_CHECKING:  # they bring torch
    from lora_qd.engines.batch_rows import Row
    from lora_qd.engines.core_layers import Placed
    from lora_qd.factors import CoreSpace

MAX_ROWS = 128
"""Sequences decoded at once by default; docs/benchmarks.md has the curve."""
_NUM_PROBED = 5
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What to load in this process."""

    model: str
    """The base: a directory, or a Hub id that is in the local cache."""
    rank: int
    """That every member is truncated to."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    quantization: Literal["none", "nf4"] = "none"
    """``nf4`` is doubly quantised, as in training and in vLLM."""
    max_model_len: int = 2048
    """Most tokens of prompt and answer together."""
    max_rows: int = MAX_ROWS
    """Most sequences that are decoded at once."""


class TransformersEngine:
    """Answers as members of one core space; use it as an asynchronous context manager.

    For platforms without vLLM and models that vLLM does not serve. Requests of all
    members, and of the base, are rows of one batch, which they enter and leave as they
    come. Members with equal cores share their place.
    """

    num_restarts = 0
    """There is no server to lose."""

    def __init__(self, settings: LocalSettings, space: "CoreSpace") -> None:
        """Name what to load; it is loaded when the block is entered.

        Args:
            settings: the base and the batch.
            space: in which the members lie.
        """
        self._settings = settings
        self._space = space
        self._chat = ChatFormat(settings.model)
        self._thread = ThreadPoolExecutor(1)  # the model knows one caller
        self._name_by_member: dict[str, str] = {}
        self._placed: dict[str, Placed] = {}
        self._num_adds: Counter[str] = Counter()
        self._waiting: deque[tuple[Row, asyncio.Future[Completion]]] = deque()
        self._futures: dict[int, asyncio.Future[Completion]] = {}
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Load the base.

        Raises:
            InputError: there is no such model, or it has no chat template.
            EngineError: it lacks a layer that the members change.
        """
        await self._run(self._load)
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
        """Abandon what waits; return when what is under way has ended."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        for future in [*self._futures.values(), *(f for _, f in self._waiting)]:
            future.cancel()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def add(self, member: Member) -> Swap:
        """Put ``member`` where the model runs; needs one ``remove``.

        Raises:
            EngineError: its cores are not finite, or not of the engine's space.
        """
        from lora_qd.factors import content_hash

        seconds = 0.0
        if member.id not in self._name_by_member:
            start = time.perf_counter()
            name = content_hash(member.cores)
            if name not in self._placed:
                self._placed[name] = await asyncio.to_thread(
                    self._layers.place, member.cores
                )
            self._name_by_member[member.id] = name
            seconds = time.perf_counter() - start
        self._num_adds[member.id] += 1
        return Swap(materialise_s=seconds, load_s=0.0)

    async def remove(self, member: Member) -> None:
        """Undo one ``add``; the last one frees what ``member`` occupies.

        Raises:
            ValueError: ``member`` was not added.
        """
        self._of(member)
        self._num_adds -= Counter([member.id])
        if member.id in self._num_adds:
            return
        name = self._name_by_member.pop(member.id)
        if name not in self._name_by_member.values():
            del self._placed[name]  # rows under way keep it

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Raises:
            ValueError: ``member`` was not added.
            InputError: a prompt and its answer do not fit ``max_model_len``.
            EngineError: the model failed, for instance for want of memory.
        """
        placed = self._of(member)
        jobs = [self._answer(placed, request) for request in requests]
        try:
            return list(await asyncio.gather(*jobs))
        finally:
            for job in jobs:
                job.cancel()

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Return, per request, the log-probabilities of the likeliest first tokens."""
        import torch

        placed = self._of(member)
        probes: list[Mapping[str, float]] = []
        for request in requests:
            prompt = self._chat.encode_request(request, self._settings.max_model_len)
            logits = await self._run(partial(self._rows.logits, placed, prompt, 1))
            top = torch.log_softmax(logits[-1].float(), dim=-1).topk(_NUM_PROBED)
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            probes.append({f"token_id:{token}": value for token, value in pairs})
        return probes

    def _load(self) -> None:
        from lora_qd.engines.batch_rows import BatchRows
        from lora_qd.engines.core_layers import CoreLayers
        from lora_qd.engines.local_model import end_tokens_of, load_base
        from lora_qd.engines.quantization import check_checkpoint

        settings = self._settings
        check_checkpoint(settings.model, settings.quantization)
        base = load_base(settings.model, settings.dtype, settings.quantization)
        self._layers = CoreLayers(base, self._space, settings.rank)
        self._rows = BatchRows(base, self._layers)
        self._ends = end_tokens_of(base) | {self._chat.tokenizer.eos_token_id}

    def _answer(
        self, placed: "Placed | None", request: Request
    ) -> asyncio.Future[Completion]:
        if request.continuation is not None:
            return asyncio.ensure_future(self._weigh(placed, request))
        from lora_qd.engines.batch_rows import Row

        prompt = self._chat.encode_request(request, self._settings.max_model_len)
        answer = Answer(request, len(prompt), self._ends, self._chat.decoder(prompt))
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((Row(placed, prompt, request, answer), future))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return future

    async def _serve(self) -> None:
        """Decode until nobody waits."""
        while self._waiting or self._futures:
            entering = self._entering()
            try:
                done = await self._run(partial(self._rows.turn, entering))
            except RuntimeError as error:  # such as no memory; all rows share it
                self._fail(error)
                continue
            for row in done:
                future = self._futures.pop(id(row))
                if not future.done():
                    future.set_result(row.answer.completion)
            for row in self._rows.rows:
                row.is_dropped = self._futures[id(row)].done()

    def _entering(self) -> "list[Row]":
        """Return who may enter: some at a time, since reading prompts holds all up."""
        num_free = self._settings.max_rows - len(self._futures)
        if num_free < min(len(self._waiting), max(1, self._settings.max_rows // 4)):
            return []
        entering: list[Row] = []
        while self._waiting and len(entering) < num_free:
            row, future = self._waiting.popleft()
            if not future.done():
                self._futures[id(row)] = future
                entering.append(row)
        return entering

    def _fail(self, error: Exception) -> None:
        reason = " ".join(str(error).split())[:300]
        for future in self._futures.values():
            if not future.done():
                future.set_exception(
                    EngineError(
                        f"expected the model to decode {len(self._futures)} sequences, "
                        f"but got: {reason}; lower max_rows"
                    )
                )
        self._futures.clear()
        self._rows.clear()

    async def _weigh(self, placed: "Placed | None", request: Request) -> Completion:
        """Return the likelihood of a continuation."""
        import torch

        limit = self._settings.max_model_len
        ids, num_context = self._chat.encode_likelihood(request, limit)
        num = len(ids) - num_context
        logits = await self._run(lambda: self._rows.logits(placed, ids, num + 1)[:-1])
        logs = torch.log_softmax(logits.float(), dim=-1)
        own = logs[torch.arange(num), torch.tensor(ids[num_context:])]
        is_greedy = bool((own == logs.max(dim=-1).values).all())
        return Completion("", len(ids), 0, True, float(own.sum()), is_greedy)

    def _run(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Call ``work`` in the model's thread."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _of(self, member: Member | None) -> "Placed | None":
        if member is None:
            return None
        if member.id not in self._name_by_member:
            raise ValueError(
                f"expected a member that was added, but got {member.id!r}; add it first"
            )
        return self._placed[self._name_by_member[member.id]]
