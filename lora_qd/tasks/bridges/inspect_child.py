"""Inspect in a process of its own: loads a task, solves and scores its samples.

Apart from us, because it wants the process for itself: one evaluation at a time, its
own display, handlers and working directory, and whatever a task's file does. It talks
over its standard input, a socket; a model's answers are asked for there.
"""

import asyncio
import copy
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspect_ai import Task, eval_async
from inspect_ai._util import appdirs
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model

from lora_qd.tasks.bridges.inspect_candidate import MANY, PROVIDER, Channel, Line
from lora_qd.tasks.bridges.inspect_loading import Refusal, by_id, described, load
from lora_qd.tasks.bridges.inspect_results import outcome


def keep_files_in(scratch: str) -> None:
    """Have Inspect write below ``scratch``, which the parent deletes.

    Otherwise its traces push the user's own out, and its cache, which names a model by
    its name, hands one candidate's answers to the next.
    """

    def data_path(package: str) -> Path:
        return Path(scratch, package)

    appdirs.user_data_path = data_path  # type: ignore[assignment, attr-defined]
    os.environ["INSPECT_CACHE_DIR"] = scratch


async def evaluate(
    task: Task,
    samples: Mapping[str, Sample],
    order: dict[str, Any],
    channel: Channel,
    settings: dict[str, Any],
) -> None:
    """Solve and score the samples of each group, and send what became of them."""
    copies = []
    for group in order["groups"]:
        mine = _copy(task, samples, group["ids"])
        if not len(mine.dataset):  # which Inspect would not take
            channel.send({"op": "scores", "group": group["group"], "scores": {}})
            continue
        mine.model = get_model(
            f"{PROVIDER}/{group['group']}",
            memoize=False,
            line=Line(channel, group["group"], settings["max_tokens"]),
        )
        copies.append(mine)
    if not copies:
        return
    results = await eval_async(
        copies,
        log_dir=f"{settings['scratch']}/logs",
        epochs=1,
        max_tasks=len(copies),
        max_samples=MANY,
        max_connections=MANY,
        max_retries=0,
        fail_on_error=True,
        continue_on_fail=False,
        log_realtime=False,
        score_display=False,
        ctl_server=False,
    )
    for log in results:
        number = int(log.eval.model.rpartition("/")[2])
        channel.send({"op": "scores", "group": number, **outcome(log, settings)})
        Path(log.location).unlink(missing_ok=True)


def _copy(task: Task, samples: Mapping[str, Sample], ids: list[str]) -> Task:
    """Return the task with the samples of these ids alone."""
    mine = copy.copy(task)
    mine.dataset = MemoryDataset(
        [samples[i].model_copy(update={"id": i}) for i in ids if i in samples]
    )
    return mine


async def serve() -> None:
    """Load the task that the first message names, then evaluate as asked."""
    connection = socket.socket(fileno=0)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    channel = Channel(reader, writer)
    settings = await channel.read()
    keep_files_in(settings["scratch"])
    try:
        task = load(settings["task"], settings["args"], is_file=settings["is_file"])
        samples = by_id(task)
    except Refusal as refusal:
        channel.send({"op": "refused", "reason": str(refusal)})
        await writer.drain()
        return
    loaded = [{"id": name, **described(each)} for name, each in samples.items()]
    channel.send({"op": "loaded", "samples": loaded})
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def work() -> None:
        while True:
            await evaluate(task, samples, await orders.get(), channel, settings)

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
