"""``loraqd chat``."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from lora_qd.engines import VllmServer
from lora_qd.errors import InputError, LoraQDError
from lora_qd.evaluation import task_group
from lora_qd.runs.run import Run
from lora_qd.runs.subjects import BASE
from lora_qd.serving.server import Access, serve_settings
from lora_qd.serving.talk import Manner, Talk

console = Console(highlight=False, soft_wrap=True, markup=False)
_MOST = 4


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command was told."""

    members: tuple[str, ...]
    url: str | None
    """Of a server that runs; None: one is started."""
    api_key: str | None
    system: str
    max_tokens: int
    temperature: float


def chat_with(path: Path, options: ChatOptions) -> None:
    """Answer questions until there are no more."""
    run = Run.open(path)
    run.directory.require_finished()
    _require_members(run, options.members)  # before half a minute goes to a server
    with ExitStack() as stack:
        client = _client(run, options, stack)
        manner = Manner(options.system, options.max_tokens, options.temperature)
        talks = [Talk(member, manner, client) for member in options.members]
        runner = stack.enter_context(asyncio.Runner())
        stack.callback(lambda: runner.run(client.aclose()))
        with suppress(KeyboardInterrupt):
            _converse(run, talks, runner)


def _require_members(run: Run, names: Sequence[str]) -> None:
    if not 1 <= len(names) <= _MOST:
        raise InputError(
            f"expected one to {_MOST} members side by side, but got {len(names)}; "
            "name others"
        )
    for name in names:
        if name != BASE:
            run.id_of(name)


def _converse(run: Run, talks: Sequence[Talk], runner: asyncio.Runner) -> None:
    """Answer until there is no question; Ctrl-C in an answer ends that answer."""
    is_person = sys.stdin.isatty()
    if is_person:
        names = ", ".join(talk.member for talk in talks)
        console.print(f"You talk to {names}. /clear forgets, /member NAME ... goes on")
        console.print("with others, /quit ends.")
    while (question := _question()) is not None and question != "/quit":
        try:
            if question == "/clear":
                for talk in talks:
                    talk.clear()
            elif question.partition(" ")[0] == "/member":
                talks = _others(run, talks, question.split()[1:])
            elif question:
                runner.run(_answer(talks, question))
        except KeyboardInterrupt:
            console.print("\n(broken off)")
        except LoraQDError as error:
            if not is_person:
                raise
            console.print(f"loraqd: {error}")


def _others(run: Run, talks: Sequence[Talk], names: Sequence[str]) -> list[Talk]:
    """Return conversations with ``names``; who was there goes on with its own."""
    _require_members(run, names)
    known = {talk.member: talk for talk in talks}
    new = replace(talks[0], said=[])
    return [known.get(name) or replace(new, member=name, said=[]) for name in names]


def _client(run: Run, options: ChatOptions, stack: ExitStack) -> httpx.AsyncClient:
    """Return what reaches the server: the given one, or one on a Unix socket."""
    if options.url:
        url = options.url.rstrip("/").removesuffix("/v1")
        key = options.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=600.0)
    if sys.stdin.isatty():
        console.print("Starting vLLM ...")
    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="loraqd-"))
    settings = serve_settings(run, Path(scratch), Access())
    return stack.enter_context(VllmServer(settings)).client()


def _question() -> str | None:
    """Return the next line of the user, or of a pipe; None at its end."""
    if sys.stdin.isatty():
        try:
            return input("\n> ").strip()
        except EOFError:
            return None
    line = sys.stdin.readline()
    return line.strip() if line else None


async def _answer(talks: Sequence[Talk], question: str) -> None:
    """Show the answers: as they come in a terminal, one after the other in a pipe."""
    texts = [""] * len(talks)
    if not sys.stdout.isatty():
        await _ask(talks, question, texts, lambda _: None)
        for talk, text in zip(talks, texts, strict=True):
            console.print(f"{talk.member}: {text}" if len(talks) > 1 else text)
    elif len(talks) == 1:
        await _ask(talks, question, texts, lambda piece: console.print(piece, end=""))
        console.print()
    else:
        with Live(console=console, refresh_per_second=12) as live:
            await _ask(
                *(talks, question, texts),
                lambda _: live.update(_side_by_side(talks, texts)),
            )


async def _ask(
    talks: Sequence[Talk],
    question: str,
    texts: list[str],
    show: Callable[[str], None],
) -> None:
    """Ask all at once; ``show`` each piece when it is in ``texts``."""

    async def collect(place: int, talk: Talk) -> None:
        async for piece in talk.ask(question):
            texts[place] += piece
            show(piece)

    async with task_group() as group:
        for place, talk in enumerate(talks):
            group.create_task(collect(place, talk))


def _side_by_side(talks: Sequence[Talk], texts: Sequence[str]) -> Columns:
    """Return the answers in panels of equal width."""
    width = max(24, (console.width - 2 * len(talks)) // len(talks))
    panels = [
        Panel(Text(text), title=Text(talk.member), width=width)
        for talk, text in zip(talks, texts, strict=True)
    ]
    return Columns(panels)
