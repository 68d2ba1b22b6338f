"""The candidate as one of Inspect's models, in Inspect's process.

What it answers is asked for at the other end of the process's socket.
"""

import asyncio
import json
import struct
from collections import Counter
from itertools import count
from typing import Any, NamedTuple

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)

from lora_qd.tasks.sandbox.peer import packed

PROVIDER = "loraqd"
MANY = 100_000
"""As good as no limit: the engine batches what is asked of it."""
_ROLES = {"system", "user", "assistant"}
_OPTIONS = (
    *("best_of", "frequency_penalty", "presence_penalty", "logit_bias", "num_choices"),
    *("logprobs", "prompt_logprobs", "response_schema", "extra_body"),
)
"""What changes an answer and cannot be asked for."""
_SAMPLING_OPTIONS = ("top_p", "top_k")
"""The same, where the temperature is above 0."""


class UnsupportedRequestError(Exception):
    """A task asks for what none of our engines answers; Inspect tells why it ended."""


class Channel:
    """Messages to and from the parent."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._writer.write(packed(message))

    async def read(self) -> dict[str, Any]:
        """Return the next message."""
        (length,) = struct.unpack(">I", await self._reader.readexactly(4))
        return dict(json.loads(await self._reader.readexactly(length)))

    async def ask(self, group: int, request: dict[str, Any]) -> dict[str, Any]:
        """Return the completion of ``request`` by the candidate of ``group``."""
        call = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._calls[call] = answer
        self.send({"op": "generate", "call": call, "group": group, **request})
        completion: dict[str, Any] = await answer
        return completion

    def answer(self, message: dict[str, Any]) -> None:
        """Hand an answer to who asked for it."""
        future = self._calls.pop(message["call"], None)
        if future is not None and not future.done():
            future.set_result(message)


class Line(NamedTuple):
    """One candidate's way to the parent."""

    channel: Channel
    group: int
    max_tokens: int
    """Of an answer, where the task does not say."""


class Candidate(ModelAPI):
    """A model whose answers come from the parent."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        line: Line | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self._line = line
        self._num_asked: Counter[str] = Counter()

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[Any],
        tool_choice: object,  # noqa: ARG002 - no tools
        config: GenerateConfig,
    ) -> ModelOutput:
        """Return the parent's answer to a conversation.

        Raises:
            UnsupportedRequestError: it takes more than text, or an unknown option.
        """
        if tools or self._line is None:
            raise UnsupportedRequestError("loraqd's engines call no tools")
        _check_messages(input)
        _check_options(config)
        request = {
            "messages": [[m.role, m.text] for m in input],
            "max_tokens": config.max_tokens or self._line.max_tokens,
            "stop": list(config.stop_seqs or ()),
            "temperature": config.temperature or 0.0,
        }
        request["seed"] = self._seed(request) if config.seed is None else config.seed
        said = await self._line.channel.ask(self._line.group, request)
        if "error" in said:
            raise RuntimeError(said["error"])
        return self._output(said)

    def max_connections(self) -> int:
        """Return how many answers may be under way."""
        return MANY

    def _seed(self, request: dict[str, Any]) -> int:
        """Return how often this was asked: draws differ, those of a rerun do not."""
        asked = json.dumps(request)
        self._num_asked[asked] += 1
        return self._num_asked[asked] - 1

    def _output(self, said: dict[str, Any]) -> ModelOutput:
        reason: StopReason = "stop" if said["is_complete"] else "max_tokens"
        output = ModelOutput.from_content(
            self.model_name, said["text"], stop_reason=reason
        )
        num_prompt, num = said["num_prompt_tokens"], said["num_tokens"]
        output.usage = ModelUsage(
            input_tokens=num_prompt, output_tokens=num, total_tokens=num_prompt + num
        )
        return output


@modelapi(name=PROVIDER)
def candidate_api() -> type[ModelAPI]:
    """Return the provider under its name."""
    return Candidate


def is_text(message: ChatMessage) -> bool:
    """Return whether a message holds text alone."""
    return isinstance(message.content, str) or all(
        part.type in {"text", "reasoning"} for part in message.content
    )


def _check_messages(messages: list[ChatMessage]) -> None:
    for message in messages:
        if message.role not in _ROLES or not is_text(message):
            raise UnsupportedRequestError("loraqd's engines know conversations in text")


def _check_options(config: GenerateConfig) -> None:
    names = _OPTIONS + (_SAMPLING_OPTIONS if config.temperature else ())
    options = config.model_dump(include=set(names), exclude_none=True)
    neutral = {"num_choices": 1, "best_of": 1}
    for name, value in options.items():
        if value and value != neutral.get(name):
            raise UnsupportedRequestError(f"loraqd's engines know no {name}")
