"""The verbs that let members answer; a part of ``main``, as instant to import."""

from pathlib import Path
from typing import Annotated

import typer

serving_verbs = typer.Typer(rich_markup_mode=None)

RunPath = Annotated[Path, typer.Argument(help="The run's directory.")]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="LORAQD_API_KEY",
        help="What clients must show; better by the variable, since a command line is "
        "seen by everybody on this machine.",
    ),
]


@serving_verbs.command()
def serve(
    run: RunPath,
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1.")] = 8000,
    api_key: Key = None,
    only_print: Annotated[
        bool,
        typer.Option(
            "--print",
            help="Start nothing: write RUN/adapters and show the vllm serve line for "
            "them.",
        ),
    ] = False,
) -> None:
    """Serve a run by vLLM's OpenAI server: aggregate, balanced, one name a skill.

    Any other member answers to its id, or to its cell, like "code[3,7]".
    """
    from lora_qd.cli.serving import print_command, serve_run

    if only_print:
        print_command(run)
    else:
        serve_run(run, port=port, api_key=api_key)


@serving_verbs.command()
def chat(  # noqa: PLR0913 - its options
    run: RunPath,
    member: Annotated[
        list[str] | None,
        typer.Option(
            help="aggregate, balanced, a skill, a cell, an id or base; twice for two "
            "side by side. Default: balanced."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Of a running loraqd serve, instead of a vLLM of its own."),
    ] = None,
    api_key: Key = None,
    system: Annotated[str, typer.Option(help="What the members are told first.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.0,
) -> None:
    """Talk to a member in the terminal, or to two of them side by side.

    Lines from a pipe are questions; /clear forgets what was said, /quit ends.
    """
    from lora_qd.cli.chatting import ChatOptions, chat_with

    options = ChatOptions(
        members=tuple(member or ["balanced"]),
        url=url,
        api_key=api_key,
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
    )
    chat_with(run, options)
