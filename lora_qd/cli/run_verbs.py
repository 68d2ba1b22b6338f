"""The verbs that read and audit a run; a part of ``main``, as instant to import."""

from pathlib import Path
from typing import Annotated

import typer

from lora_qd.cli.skill_verbs import Allow, Json

run_verbs = typer.Typer(rich_markup_mode=None)

RunPath = Annotated[Path, typer.Argument(help="The run's directory.")]


@run_verbs.command()
def archive(
    run: RunPath,
    skill: Annotated[
        str | None, typer.Option(help="Only the archive of this skill.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a run's archives: coverage, QD score, best, and every occupied cell.

    They are replayed from the ledger's scores, so a run may go on meanwhile.
    """
    from lora_qd.cli.archives import show_archives

    show_archives(run, skill, as_json=as_json)


@run_verbs.command()
def runs(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the runs are.")
    ] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs below a directory: how far, how good, how long, at what price."""
    from lora_qd.cli.listing import show_runs

    show_runs(directory, as_json=as_json)


@run_verbs.command()
def lineage(
    run: RunPath,
    member: Annotated[
        str, typer.Argument(help="Its id, or aggregate, balanced or a skill.")
    ],
    depth: Annotated[int, typer.Option(min=0, help="Generations to go back.")] = 4,
    as_json: Json = False,
) -> None:
    """Show a member's family tree: operators, draws and scores of every ancestor."""
    from lora_qd.cli.family import show_lineage

    show_lineage(run, member, depth=depth, as_json=as_json)


@run_verbs.command()
def verify(
    run: RunPath,
    derive: Annotated[
        bool, typer.Option("--derive", help="Breed every child anew, too.")
    ] = False,
) -> None:
    """Check a run's hashes, scores, parents, archives and files.

    Lists all that is wrong; the exit code is then 1.
    """
    from lora_qd.cli.auditing import show_verification

    show_verification(run, derive=derive)


@run_verbs.command()
def reproduce(
    run: RunPath,
    out: Annotated[
        Path | None,
        typer.Option("--run", help="Where to run it again; default: RUN-reproduced."),
    ] = None,
    allow: Allow = False,
) -> None:
    """Run a finished run again from its manifest and compare the two.

    Says "identical", or lists the first differences; the exit code is then 1.
    """
    from lora_qd.cli.reproducing import reproduce_run

    reproduce_run(run, out, allow=allow)


@run_verbs.command()
def gc(
    run: RunPath,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
) -> None:
    """Delete genomes that the run can breed again, and half-written files."""
    from lora_qd.cli.auditing import collect_garbage

    collect_garbage(run, dry_run=dry_run)


@run_verbs.command()
def report(
    run: RunPath,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures", help="Also draw each chart as PNG and SVG."
        ),
    ] = True,
) -> None:
    """Write RUN/report/index.html: archives, progress, scores, costs in one page.

    The page needs no network. Beside it lie its charts as PNG, SVG and CSV.
    """
    from lora_qd.cli.looking import report_run

    report_run(run, has_pictures=pictures)


@run_verbs.command()
def watch(
    run: RunPath,
    port: Annotated[
        int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one.")
    ] = 8100,
    allow: Allow = False,
) -> None:
    """Show a run live in a browser: archives fill, members and answers by a click.

    The run is only read; the page can be opened before, during and after it.
    """
    from lora_qd.cli.looking import watch_run

    watch_run(run, port=port, allow=allow)
