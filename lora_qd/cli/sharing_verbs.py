"""The verbs that share a run on the Hub; a part of ``main``, as instant to import."""

from pathlib import Path
from typing import Annotated

import typer

sharing_verbs = typer.Typer(rich_markup_mode=None)


@sharing_verbs.command()
def push(  # noqa: PLR0913 - its options
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    repository: Annotated[
        str, typer.Argument(help="owner/name on the Hub; made where it is not there.")
    ],
    private: Annotated[
        bool,
        typer.Option("--private", help="Make a repository that others do not see."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only write RUN/hub/ and show what would go."),
    ] = False,
    base_model: Annotated[
        str | None,
        typer.Option(help="The base's Hub id, where the run names a directory."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="The base's licence as the Hub writes it, like llama3."),
    ] = None,
    licence_file: Annotated[
        Path | None, typer.Option(help="Its text, where the base comes without.")
    ] = None,
) -> None:
    """Share a finished run: adapters, a model card, and the run for others to go on.

    Repeated after a cut it goes on; repeated after resume it updates the repository.
    """
    from lora_qd.cli.pushing import PushOptions, push_run

    options = PushOptions(
        is_private=private,
        is_dry=dry_run,
        base_model=base_model,
        licence=licence,
        licence_file=licence_file,
    )
    push_run(run, repository, options)


@sharing_verbs.command()
def pull(
    repository: Annotated[
        str, typer.Argument(help="owner/name[@revision], which loraqd push made.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="The run's directory to make; default: runs/NAME."),
    ] = None,
    adapters: Annotated[
        Path | None,
        typer.Option(help="Only the adapters, as PEFT directories below this one."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Its base model here: a directory, or the Hub id."),
    ] = None,
) -> None:
    """Fetch a shared run, check every file of it, and make a run that goes on."""
    from lora_qd.cli.pulling import pull_adapters, pull_run

    if adapters is not None:
        pull_adapters(repository, adapters, run=run, base=base)
    else:
        pull_run(repository, run, base=base)
