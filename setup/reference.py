"""Write docs/config.md and docs/cli.md from the code: ``make docs``.

A test fails when they drift.
"""

import sys
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lora_qd.cli.main import app
from lora_qd.runs.config import RunConfig

DOCS = Path(__file__).parent.parent / "docs"


def config_page() -> str:
    """Return docs/config.md."""
    lines = [
        "# Every setting of a config",
        "",
        "One YAML file per experiment; unknown keys are errors. Any value can be",
        "changed behind a command, as in",
        "`loraqd evolve --config configs/tiny.yaml search.children=300`.",
        "Paths are relative to the directory that the command runs in.",
        "",
    ]
    seen: set[type[BaseModel]] = set()
    _describe(RunConfig, "The file", lines, seen)
    return "\n".join(lines)


def cli_page() -> str:
    """Return docs/cli.md."""
    lines = ["# Every command", ""]
    command = typer.main.get_command(app)
    _help(command, "loraqd", lines)
    return "\n".join(lines)


def _describe(
    model: type[BaseModel], title: str, lines: list[str], seen: set[type[BaseModel]]
) -> None:
    if model in seen:
        return
    seen.add(model)
    lines += [f"## {title}", "", _first_line(model), ""]
    lines += ["| key | default | meaning |", "|---|---|---|"]
    below: list[tuple[type[BaseModel], str]] = []
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        default = "" if field.is_required() else _default(field)
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{name}` | {default} | {meaning} |")
        below += [(m, f"`{name}`") for m in _models(field.annotation)]
    lines.append("")
    for nested, key in below:
        _describe(nested, f"{key}: {nested.__name__}", lines, seen)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return ""
    text = getattr(value, "value", value)
    if "\n" in str(text):
        return f"{len(str(text).splitlines())} lines of text"
    return f"`{list(text) if isinstance(text, tuple) else text}`"


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        return [m for part in get_args(annotation) for m in _models(part)]
    return []


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _help(
    command: typer.core.TyperCommand | typer.core.TyperGroup,
    name: str,
    lines: list[str],
) -> None:
    context = typer.Context(
        command, info_name=name, terminal_width=79, max_content_width=79
    )
    lines += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    for child, sub in sorted(getattr(command, "commands", {}).items()):
        _help(sub, f"{name} {child}", lines)


def main() -> None:
    """Write both pages."""
    for name, page in (("config.md", config_page()), ("cli.md", cli_page())):
        (DOCS / name).write_text(page)
        sys.stdout.write(f"wrote docs/{name}\n")


if __name__ == "__main__":
    main()
