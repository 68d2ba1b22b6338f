"""A skill's YAML file; what is wrong with it is named by file, line and key."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from lora_qd.errors import InputError
from lora_qd.tasks.own.settings import DataSkill, InspectSkill, LmEvalSkill, OwnSkill

Key = tuple[str | int, ...]
"""Where a value lies in the file: keys, and places in lists."""
_SKILL: TypeAdapter[DataSkill | LmEvalSkill | InspectSkill] = TypeAdapter(OwnSkill)


def load_skill(path: Path) -> DataSkill | LmEvalSkill | InspectSkill:
    """Return the skill in a file; its paths are relative to the file.

    Raises:
        InputError: the file cannot be read, is no YAML, or says something wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"expected a skill's YAML file at {path}, but got: {reason}; check the "
            "path, docs/skills.md shows one"
        ) from error
    try:
        node, raw = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise InputError(
            f"{path}{line}: expected YAML, but got: {problem}; repair the line"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(
            f"{path}: expected keys such as data, prompt, answer and scorer, but got "
            f"{type(raw).__name__}; docs/skills.md shows a skill"
        )
    lines = dict(_lines(node))
    try:
        return _SKILL.validate_python(_placed(raw, path.parent))
    except ValidationError as error:
        raise InputError(_misfits(path, error, lines)) from error


def _placed(raw: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return the file's content with its paths as seen from the working directory."""
    placed = dict(raw)
    if isinstance(data := placed.get("data"), dict) and "path" in data:
        paths = data["path"] if isinstance(data["path"], list) else [data["path"]]
        placed["data"] = {**data, "path": [_join(directory, each) for each in paths]}
        placed.setdefault("directory", str(directory))
    elif isinstance(data, dict):
        placed.setdefault("directory", str(directory))
    lm_eval = placed.get("lm-eval")
    if isinstance(lm_eval, dict) and isinstance(lm_eval.get("include"), str):
        include = _join(directory, lm_eval["include"])
        placed["lm-eval"] = {**lm_eval, "include": include}
    inspect = placed.get("inspect")
    if isinstance(inspect, dict) and ".py@" in str(inspect.get("task")):
        placed["inspect"] = {**inspect, "task": _join(directory, inspect["task"])}
    return placed


def _join(directory: Path, path: object) -> object:
    return str(directory / path) if isinstance(path, str) else path


def _misfits(path: Path, error: ValidationError, lines: Mapping[Key, int]) -> str:
    """Return one line that names every misfit, with its line and key."""
    parts = []
    for misfit in error.errors():
        key = _without_tags(tuple(misfit["loc"]))
        above = next(key[:n] for n in range(len(key), -1, -1) if key[:n] in lines)
        name = ".".join(map(str, key)) or "the skill"
        message = misfit["msg"].removeprefix("Value error, ")
        if misfit["type"] == "extra_forbidden":
            message = "unknown key"
        if misfit["type"] == "union_tag_invalid":
            known = str(misfit["ctx"]["expected_tags"]).replace("'", "")
            message = f"expected one of {known}, but got {misfit['ctx']['tag']!r}"
            name += ".kind"
        parts.append(f"line {lines[above]}: {name}: {message}")
    return f"{path}, {'; '.join(parts)}; docs/skills.md lists the keys"


def _without_tags(key: Key) -> Key:
    """Return ``key`` without what pydantic adds to tell kinds apart."""
    if key[:1] and key[0] in {"data", "lm-eval", "inspect"}:
        key = key[1:]
    return (*key[:1], *key[2:]) if key[:1] == ("scorer",) and len(key) > 1 else key


def _lines(node: yaml.Node | None, key: Key = ()) -> Iterator[tuple[Key, int]]:
    """Yield the line of every key and list entry, the first line of the file is 1."""
    if node is None:
        return
    yield key, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            own = (*key, str(name.value))
            yield from _lines(value, own)
            yield own, name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _lines(value, (*key, place))
