"""The verbs about skills: ``evaluate`` and ``skills check``."""

from pathlib import Path
from typing import Annotated

import typer

skill_verbs = typer.Typer(rich_markup_mode=None)
skills = typer.Typer(
    help="The skills of a config, or of your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
skill_verbs.add_typer(skills, name="skills")

Allow = Annotated[
    bool,
    typer.Option(
        "--allow",
        help="Consent to Python that skills run and to URLs that they send data to.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Base = Annotated[
    str | None, typer.Option(help="The base model: a directory or Hub id.")
]
Config = Annotated[Path | None, typer.Option(help="An experiment's YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A config value, like engine.max_model_len=512."),
]


@skill_verbs.command()
def evaluate(  # noqa: PLR0913 - its options
    subjects: Annotated[
        list[str],
        typer.Argument(
            help="Rows: base, PEFT directories, Hub ids, RUN:MEMBER, URL#MODEL. All "
            "others are compared with the first."
        ),
    ],
    skills: Annotated[
        list[str] | None,
        typer.Option(
            help="A name, a skill's YAML file, lm-eval:TASK or inspect:TASK; "
            "repeat for more, or separate by commas. Default: the config's."
        ),
    ] = None,
    retention: Annotated[
        list[str] | None,
        typer.Option(
            help="Skills kept apart from the mean, as a ratio to base; 'language' "
            "is a set."
        ),
    ] = None,
    base: Base = None,
    config: Config = None,
    split: Annotated[
        str, typer.Option(help="search, validation, test or all.")
    ] = "test",
    out: Annotated[
        Path, typer.Option(help="Where to write, and go on after a stop.")
    ] = Path("evaluation"),
    api_key_env: Annotated[
        list[str] | None,
        typer.Option(
            help="The environment variable with the key of URLs, or HOST=VARIABLE."
        ),
    ] = None,
    overrides: Set = None,
    allow: Allow = False,
    as_json: Json = False,
) -> None:
    """Score adapters, run members, the base and hosted models in one table.

    With 95 % intervals and the paired difference from the first row. Every sample's
    score is in OUT/samples.jsonl; what is there is not asked again.
    """
    from lora_qd.cli.evaluating import EvaluateOptions
    from lora_qd.cli.evaluating import evaluate as run

    options = EvaluateOptions(
        config=config,
        base=base,
        skills=_split(skills),
        retention=_split(retention),
        split=split,
        out=out,
        overrides=tuple(overrides or ()),
        keys=tuple(api_key_env or ()),
        allow=allow,
        as_json=as_json,
    )
    run(subjects, options)


@skills.command("check")
def check_skills(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Skills' YAML files, or lm-eval:TASK, inspect:TASK; with --config "
            "its values to change, like benchmarks.mbpp.path=mbpp.jsonl."
        ),
    ] = None,
    config: Config = None,
    base: Annotated[
        str | None, typer.Option(help="Also score this base model on each skill.")
    ] = None,
    overrides: Set = None,
    allow: Allow = False,
    as_json: Json = False,
) -> None:
    """Validate skills: three prompts, gold and empty answers, and the base's scores.

    Shows what is left out, and what does not score as it should; exits with 1 then.
    """
    from lora_qd.cli.skills import CheckOptions, check

    options = CheckOptions(
        files=tuple(files or ()),
        config=config,
        base=base,
        overrides=tuple(overrides or ()),
        allow=allow,
        as_json=as_json,
    )
    check(options)


def _split(values: list[str] | None) -> tuple[str, ...]:
    """Return what was repeated or separated by commas."""
    parts = [part.strip() for value in values or () for part in value.split(",")]
    return tuple(part for part in parts if part)
