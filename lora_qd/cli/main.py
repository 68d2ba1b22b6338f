"""The ``loraqd`` command: its verbs, and the one place where errors become a line.

Each verb imports what it needs when it runs, so that ``loraqd --help`` is instant.
"""

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lora_qd.cli.run_verbs import run_verbs
from lora_qd.cli.serving_verbs import serving_verbs
from lora_qd.cli.sharing_verbs import sharing_verbs
from lora_qd.cli.skill_verbs import Allow, Json, skill_verbs
from lora_qd.errors import InputError, LoraQDError

app = typer.Typer(
    name="loraqd",
    help="Evolve LoRA adapters: several skills in, one adapter good at all of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tiny = typer.Typer(
    help="The shipped tiny Llama.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(tiny, name="tiny")
app.add_typer(run_verbs)
app.add_typer(skill_verbs)
app.add_typer(serving_verbs)
app.add_typer(sharing_verbs)

Config = Annotated[Path, typer.Option(help="The experiment's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Config values to change, like search.children=600."),
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="vllm, transformers or ray; default: the config's."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Of the Ray cluster: auto, or HOST:PORT."),
]
Adapters = Annotated[
    list[str],
    typer.Argument(help="PEFT directories, or Hub ids as owner/name[/folder][@rev]."),
]
METHODS_HELP = (  # a test holds it to the table of methods, whose import is slow
    "linear, task-arithmetic, cat, slerp, ties, dare, dare-ties, della, breadcrumbs, "
    "knots, tsv-m or iso-c."
)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole trace of an error.")
    ] = False,
) -> None:
    if debug:
        os.environ["LORAQD_DEBUG"] = "1"


@app.command("train-experts")
def train_experts(
    config: Config,
    overrides: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train again what is already trained.")
    ] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Train although the data contain samples of validation or test.",
        ),
    ] = False,
    allow: Allow = False,
) -> None:
    """Train one LoRA expert per skill with TRL."""
    from lora_qd.cli.training import TrainOptions, train

    options = TrainOptions(force=force, allow_overlap=allow_overlap, allow=allow)
    train(config, overrides or [], options)


@app.command()
def evolve(  # noqa: PLR0913 - its options
    config: Config,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option(help="Where to write; default: the config's run.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run there.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what it needs, takes and costs."),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="Of --dry-run: cpu, rtx4090, l40s, a100, h100 or h200; default: "
            "what is here."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the --dry-run as JSON.")
    ] = False,
    engine: EngineOption = None,
    address: AddressOption = None,
    allow: Allow = False,
) -> None:
    """Breed the experts by CycleQD and show the final table.

    Where the same run was interrupted, it goes on.
    """
    if dry_run:
        from lora_qd.cli.planning import PlanOptions, show_plan

        planned = PlanOptions(device=device, as_json=as_json, allow=allow)
        show_plan(config, overrides or [], planned)
        return
    if device or as_json:
        raise InputError(
            "expected --device and --json with --dry-run only, but it is not there; "
            "add it, or leave them out"
        )
    from lora_qd.cli.evolving import Where, start

    where = Where(engine, address)
    start(
        config,
        overrides or [],
        run=run,
        overwrite=overwrite,
        where=where,
        allow=allow,
    )


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    children: Annotated[
        str | None,
        typer.Option(help="+200 for so many more children, or 1400 for all together."),
    ] = None,
    engine: EngineOption = None,
    address: AddressOption = None,
    allow: Allow = False,
) -> None:
    """Go on with an interrupted run, or extend a finished one."""
    from lora_qd.cli.evolving import Where, go_on

    go_on(run, children=children, where=Where(engine, address), allow=allow)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    out: Annotated[Path, typer.Option(help="The PEFT directory to write.")],
    member: Annotated[
        str, typer.Option(help="aggregate, balanced, a skill, a cell or an id.")
    ] = "aggregate",
) -> None:
    """Write one member as a PEFT adapter directory."""
    from lora_qd.cli.exporting import export_member

    export_member(run, member=member, out=out)


@app.command()
def merge(  # noqa: PLR0913 - its options
    adapters: Adapters,
    out: Annotated[Path, typer.Option(help="The PEFT directory to write.")],
    weights: Annotated[
        str | None, typer.Option(help="One per adapter, like 0.6,0.4; default: equal.")
    ] = None,
    method: Annotated[str, typer.Option(help=METHODS_HELP)] = "linear",
    rank: Annotated[
        int | None, typer.Option(help="Of the result; default: the adapters' largest.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep everything, at whatever rank.")
    ] = False,
    density: Annotated[
        float | None,
        typer.Option(help="Share of entries kept (ties, dare, della ...)."),
    ] = None,
    gain: Annotated[
        float | None, typer.Option(help="Factor on the result (ties, knots, della).")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Share of singular directions kept (tsv-m).")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="Spread of the drop probability (della).")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Share of largest entries cut (breadcrumbs).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of dare, dare-ties and della.")] = 0,
    dtype: Annotated[
        str, typer.Option(help="bfloat16, float16 or float32.")
    ] = "bfloat16",
    force: Annotated[
        bool, typer.Option("--force", help="Merge although the bases' names differ.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Merge adapters into one adapter: no base model, no GPU, no dense matrices."""
    from lora_qd.cli.merging import chosen, parse_weights, show_merge
    from lora_qd.store.merging import MergeOrder

    given = {"density": density, "gain": gain, "share": share}
    order = MergeOrder(
        method=method,
        weights=parse_weights(weights, len(adapters)),
        parameters=chosen({**given, "epsilon": epsilon, "gamma": gamma}),
        rank=rank,
        is_exact=exact,
        dtype=dtype,
        seed=seed,
        is_forced=force,
    )
    show_merge(adapters, out, order, as_json=as_json)


@app.command()
def inspect(adapters: Adapters, as_json: Json = False) -> None:
    """Measure adapters, alone and against each other: norms, ranks, likeness."""
    from lora_qd.cli.merging import show_inspection

    show_inspection(adapters, as_json=as_json)


@tiny.command("build")
def tiny_build(
    out: Annotated[Path, typer.Option(help="The directory to write.")],
    seed: Annotated[int, typer.Option(help="Seed of weights and corpus.")] = 0,
) -> None:
    """Train the tiny Llama from scratch on generated text (about 15 minutes)."""
    from lora_qd.cli.training import build_tiny

    build_tiny(out, seed=seed)


def main() -> None:
    """Run the command line; a ``LoraQDError`` is one line and exit code 2.

    So is whatever else the operating system refuses.
    """
    try:
        app()
    except LoraQDError as error:
        _fail(str(error))
    except OSError as error:
        remedy = "raise the limit, like: ulimit -n 4096"
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            remedy = "--debug shows where"
        _fail(f"expected the system to go along, but got: {error}; {remedy}")


def _fail(line: str) -> NoReturn:
    if os.environ.get("LORAQD_DEBUG"):
        traceback.print_exc()
    print(f"loraqd: {line}", file=sys.stderr)
    sys.exit(2)
