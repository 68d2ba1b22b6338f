"""Generation by transformers and PEFT in this process: slow, plain, without vLLM."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar, TypeVarTuple

from lora_qd.engines.answer import Answer
from lora_qd.engines.chat import ChatFormat
from lora_qd.engines.loaded_adapters import WriteAdapter
from lora_qd.engines.local_model import LocalModel
from lora_qd.records import Completion, Member, Request, Swap

_NUM_PROBED = 5
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class PeftEngine:
    """Answers one request at a time; use it as an asynchronous context manager.

    For any adapter, of a core space or not, and what the answers of the other engines
    are compared with. Members with equal weights share one load.
    """

    num_restarts = 0
    """There is no server to lose."""

    def __init__(
        self,
        model: str,
        write_adapter: WriteAdapter,
        *,
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        quantization: Literal["none", "nf4"] = "none",
        max_model_len: int = 2048,
    ) -> None:
        """Name what to load; it is loaded when the block is entered.

        Args:
            model: the base: a directory, or a Hub id that is in the local cache.
            write_adapter: writes a member as a PEFT directory below the given one and
                returns that directory's name, the hash of the adapter's content.
            dtype: number format of the base.
            quantization: ``nf4`` is doubly quantised, as in training and in vLLM.
            max_model_len: most tokens of prompt and answer together.
        """
        self._open = lambda: LocalModel(model, dtype=dtype, quantization=quantization)
        self._write = write_adapter
        self._max_model_len = max_model_len
        self._chat = ChatFormat(model)
        self._thread = ThreadPoolExecutor(1)  # the model and PEFT know one caller
        self._lock = asyncio.Lock()
        self._name_by_member: dict[str, str] = {}
        self._num_adds: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        """Load the base.

        Raises:
            InputError: there is no such model, or it has no chat template.
        """
        self._model = await self._run(self._open)
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
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def add(self, member: Member) -> Swap:
        """Write ``member`` as an adapter and load it; needs one ``remove``.

        Raises:
            EngineError: the adapter cannot be applied to this base in full.
        """
        async with self._lock:
            swap = Swap(materialise_s=0.0, load_s=0.0)
            if member.id not in self._name_by_member:
                name, swap = await self._run(self._load, member)
                self._name_by_member[member.id] = name
            self._num_adds[member.id] += 1
            return swap

    async def remove(self, member: Member) -> None:
        """Undo one ``add``; the last one drops the adapter.

        Raises:
            ValueError: ``member`` was not added.
        """
        async with self._lock:
            name = self._name_of(member)
            self._num_adds -= Counter([member.id])
            if member.id in self._num_adds:
                return
            del self._name_by_member[member.id]
            if name not in self._name_by_member.values():
                await self._run(self._model.unload, name)

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Raises:
            ValueError: ``member`` was not added.
            InputError: a prompt and its answer do not fit ``max_model_len``.
        """
        name = None if member is None else self._name_of(member)
        jobs = [self._answer(name, request) for request in requests]
        return list(await asyncio.gather(*jobs))

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Return, per request, the log-probabilities of the likeliest first tokens."""
        name = None if member is None else self._name_of(member)
        probes: list[Mapping[str, float]] = []
        for request in requests:
            prompt = self._chat.encode_request(request, self._max_model_len)
            top = await self._run(self._model.likeliest, name, prompt, _NUM_PROBED)
            probes.append({f"token_id:{token}": top[token] for token in top})
        return probes

    def _answer(self, name: str | None, request: Request) -> asyncio.Future[Completion]:
        if request.continuation is not None:
            ids, num = self._chat.encode_likelihood(request, self._max_model_len)
            return self._run(self._weigh, name, ids, num)
        prompt = self._chat.encode_request(request, self._max_model_len)
        return self._run(self._complete, name, prompt, request)

    def _run(
        self, work: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> asyncio.Future[Result]:
        """Queue ``work`` at once, so that a later ``remove`` comes after it."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, work, *arguments)

    def _name_of(self, member: Member) -> str:
        if member.id not in self._name_by_member:
            raise ValueError(
                f"expected a member that was added, but got {member.id!r}; add it first"
            )
        return self._name_by_member[member.id]

    def _load(self, member: Member) -> tuple[str, Swap]:
        """Write and load ``member``; return the adapter's name."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="loraqd-") as directory:
            name = self._write(member, Path(directory))
            written = time.perf_counter()
            if name not in self._name_by_member.values():
                self._model.load(name, Path(directory) / name)
        return name, Swap(written - start, time.perf_counter() - written)

    def _weigh(
        self, name: str | None, ids: tuple[int, ...], num_context: int
    ) -> Completion:
        """Return the likelihood of the tokens after the first ``num_context``."""
        logprob, is_greedy = self._model.likelihood(name, ids, num_context)
        return Completion("", len(ids), 0, True, logprob, is_greedy)

    def _complete(
        self, name: str | None, prompt: tuple[int, ...], request: Request
    ) -> Completion:
        """Decode until a token or a text ends the turn, or ``max_tokens`` does."""
        ends = self._model.end_tokens | {self._chat.tokenizer.eos_token_id}
        answer = Answer(request, len(prompt), ends, self._chat.decoder(prompt))
        tokens = self._model.tokens(
            name, prompt, temperature=request.temperature, seed=request.seed
        )
        for token in tokens:
            if answer.take(token):
                break
        return answer.completion
