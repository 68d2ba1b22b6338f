"""Inspect in a process of its own: loads a task, solves and scores its samples.

Apart from us, because it wants the process for itself: one evaluation at a time, its
own display, handlers and working directory, and whatever a task's file does. It talks
over its standard input, a socket; a model's answers are asked for there.
"""

import asyncio
import copy
import hashlib
import json
import socket
import struct
import sys
import tempfile
from itertools import count
from typing import Any, NamedTuple

from inspect_ai import Task, eval_async
from inspect_ai._eval.loader import load_tasks
from inspect_ai._util.registry import is_registry_object, registry_info
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    get_model,
    modelapi,
)
from inspect_ai.scorer import value_to_float

from lora_qd.tasks.sandbox.peer import packed

_MANY = 100_000
_GRADERS = {"model_graded_qa", "model_graded_fact"}


class Refusal(Exception):  # noqa: N818 - what the user is told
    """The task cannot be a skill; the message follows "but"."""


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

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[Any],
        tool_choice: object,  # noqa: ARG002 - no tools
        config: GenerateConfig,
    ) -> ModelOutput:
        """Return the parent's answer to a conversation."""
        if tools or self._line is None:
            raise Refusal("it calls tools, which loraqd's engines do not")
        request = {
            "messages": [[m.role, m.text] for m in input],
            "max_tokens": config.max_tokens or self._line.max_tokens,
            "stop": list(config.stop_seqs or ()),
            "temperature": config.temperature or 0.0,
            "seed": config.seed or 0,
        }
        said = await self._line.channel.ask(self._line.group, request)
        if "error" in said:
            raise RuntimeError(said["error"])
        reason: StopReason = "stop" if said["is_complete"] else "max_tokens"
        output = ModelOutput.from_content(
            self.model_name, said["text"], stop_reason=reason
        )
        num_prompt, num = said["num_prompt_tokens"], said["num_tokens"]
        output.usage = ModelUsage(
            input_tokens=num_prompt, output_tokens=num, total_tokens=num_prompt + num
        )
        return output

    def max_connections(self) -> int:
        """Return how many answers may be under way: the engine batches them."""
        return _MANY


@modelapi(name="loraqd")
def candidate_api() -> type[ModelAPI]:
    """Return the provider under its name."""
    return Candidate


def load(spec: str, args: dict[str, Any]) -> Task:
    """Return the task.

    Raises:
        Refusal: there is none, or it cannot be a skill.
    """
    try:
        tasks = load_tasks([spec], args)
    except Exception as error:
        raise Refusal(f"got {type(error).__name__}: {_line(error)}") from error
    if len(tasks) != 1:
        names = ", ".join(str(task.name) for task in tasks) or "no task"
        raise Refusal(f"found {names}; write FILE.py@NAME")
    [task] = tasks
    _check(task)
    return task


def _check(task: Task) -> None:
    sandboxes = [task.sandbox, *(sample.sandbox for sample in task.dataset)]
    if any(each is not None and each.type == "local" for each in sandboxes):
        raise Refusal(
            "its sandbox is 'local', which runs what the model wrote on this machine; "
            "give it another sandbox"
        )
    scorers = task.scorer or []
    for scorer in scorers if isinstance(scorers, list) else [scorers]:
        name = registry_info(scorer).name if is_registry_object(scorer) else ""
        if name.rpartition("/")[2] in _GRADERS:
            raise Refusal(
                f"its scorer {name} asks a model, here the candidate itself; score it "
                "otherwise, or write a skill with scorer: {kind: judge}"
            )
    if not scorers:
        raise Refusal("it has no scorer; add one")


def described(task: Task) -> list[dict[str, str]]:
    """Return id, input and target of every sample.

    Raises:
        Refusal: one is not of text alone.
    """
    return [
        {"id": id_of(s), "input": _text(s), "target": _target(s)} for s in task.dataset
    ]


def id_of(sample: Sample) -> str:
    """Return what names a sample, in whatever order the task loads them."""
    content = [sample.id if isinstance(sample.id, str) else "", _text(sample)]
    content += [_target(sample), json.dumps(sample.choices)]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()[:16]


def _text(sample: Sample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    for message in sample.input:
        if not isinstance(message.content, str) and any(
            part.type != "text" for part in message.content
        ):
            raise Refusal("a sample holds more than text; leave the task out")
    return "\n\n".join(message.text for message in sample.input)


def _target(sample: Sample) -> str:
    return sample.target if isinstance(sample.target, str) else "\n".join(sample.target)


async def evaluate(
    task: Task, order: dict[str, Any], channel: Channel, settings: dict[str, Any]
) -> None:
    """Solve and score the samples of each group, and send what became of them."""
    samples = {id_of(sample): sample for sample in task.dataset}
    copies = []
    for group in order["groups"]:
        mine = copy.copy(task)
        chosen = [s.model_copy(update={"id": i}) for i, s in samples.items()]
        mine.dataset = MemoryDataset([s for s in chosen if s.id in set(group["ids"])])
        mine.model = get_model(
            f"loraqd/{group['group']}",
            memoize=False,
            line=Line(channel, group["group"], settings["max_tokens"]),
        )
        copies.append(mine)
    with tempfile.TemporaryDirectory(prefix="loraqd-") as logs:
        results = await eval_async(
            copies,
            log_dir=logs,
            epochs=1,
            max_tasks=len(copies),
            max_samples=_MANY,
            max_connections=_MANY,
            max_retries=0,
            fail_on_error=True,
            log_realtime=False,
            score_display=False,
        )
        for log in results:
            number = int(log.eval.model.rpartition("/")[2])
            channel.send({"op": "scores", "group": number, **_outcome(log, settings)})


def _outcome(log: EvalLog, settings: dict[str, Any]) -> dict[str, Any]:
    if log.status != "success":
        failed = [s.error.message for s in log.samples or () if s.error]
        reason = log.error.message if log.error else log.status
        return {"error": _line(failed[0] if failed else reason)}
    try:
        return {"scores": {s.id: _score(s, settings) for s in log.samples or ()}}
    except Refusal as refusal:
        return {"error": str(refusal)}


def _score(sample: EvalSample, settings: dict[str, Any]) -> dict[str, Any]:
    scores = sample.scores or {}
    name = settings["scorer"] or next(iter(scores), "")
    if name not in scores:
        raise Refusal(f"its scorers are {', '.join(scores)}, not {name!r}")
    value = scores[name].value
    if isinstance(value, dict):
        key = settings["metric"] or next(iter(value))
        if key not in value:
            raise Refusal(f"its score has {', '.join(value)}, not {key!r}")
        value = value[key]
    usage = list(sample.model_usage.values())
    said = [m.text for m in sample.messages if m.role == "assistant"]
    return {
        "value": value_to_float()(value),
        "reason": _line(scores[name].explanation or ""),
        "answer": "\n\n".join(said) or sample.output.completion,
        "num_prompt_tokens": sum(each.input_tokens for each in usage),
        "num_tokens": sum(each.output_tokens for each in usage),
    }


def _line(what: object) -> str:
    return " ".join(str(what).split())[:300]


async def serve() -> None:
    """Load the task that the first message names, then evaluate as asked."""
    connection = socket.socket(fileno=0)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    channel = Channel(reader, writer)
    settings = await channel.read()
    try:
        task = load(settings["task"], settings["args"])
        channel.send({"op": "loaded", "samples": described(task)})
    except Refusal as refusal:
        channel.send({"op": "refused", "reason": str(refusal)})
        await writer.drain()
        return
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def work() -> None:
        while True:
            await evaluate(task, await orders.get(), channel, settings)

    worker = asyncio.create_task(work())
    while not worker.done():
        reading = asyncio.create_task(channel.read())
        await asyncio.wait({reading, worker}, return_when="FIRST_COMPLETED")
        if not reading.done():
            reading.cancel()
            break
        message = reading.result()
        if message["op"] == "answer":
            channel.answer(message)
        else:
            orders.put_nowait(message)
    worker.result()


def main() -> None:
    """Serve until the parent goes."""
    try:
        asyncio.run(serve())
    except asyncio.IncompleteReadError:
        sys.exit(0)


if __name__ == "__main__":
    main()
