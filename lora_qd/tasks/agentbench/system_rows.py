"""Entries of AgentBench's OS interaction as samples.

``Sample.checks`` holds ``image``; ``init`` and ``start``, the scripts that prepare;
``match`` or ``check``, which judge; and ``example``, the benchmark's own solution. A
script is ``[language, code]``; in ``check`` it may also be ``["named", name]`` or
``["example", ""]``.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Sample
from lora_qd.tasks.agentbench.system_checks import check_named
from lora_qd.tasks.rows import Row
from lora_qd.tasks.task import sample_id

_LANGUAGES = ("bash", "python", "c", "c++")


class NoScriptError(Exception):
    """A sample names a script by its file, and the config names no scripts."""


def system_sample(row: Row, name: str, scripts: Path | None) -> Sample:
    """Return the sample of an entry; its id is the hash of the entry and its scripts.

    Raises:
        InputError: a field is missing or wrong, or a script's file is not there.
        NoScriptError: a script's file is needed, and ``scripts`` is None.
    """
    create = row.fields.get("create") or {}
    if isinstance(create, list):  # one published entry has its checks there
        create = {}
    create = _mapping(row, "create", create)
    evaluation = _mapping(row, "evaluation", row.value("evaluation"))

    def script(value: object) -> list[str]:
        return _script(row, value, scripts)

    checks: dict[str, Any] = {
        "image": str(create.get("local", "default")),
        "init": [script(each) for each in _list(create.get("init"))],
        "start": script(row.fields["start"]) if row.fields.get("start") else None,
        "match": None,
        "check": None,
        "example": None,
    }
    if evaluation.get("example"):
        checks["example"] = script(evaluation["example"])
    if "match" in evaluation:
        checks["match"] = _match(row, evaluation["match"])
    elif "check" in evaluation:
        checks["check"] = _checks(row, evaluation["check"], script)
        if ["example", ""] in checks["check"] and not checks["example"]:
            raise InputError(
                f"{row.where}: expected 'example' for the check that is null, but "
                "there is none; repair the entry"
            )
    else:
        raise InputError(
            f"{row.where}: expected 'match' or 'check' in 'evaluation', but it has "
            f"{', '.join(sorted(evaluation)) or 'nothing'}; repair the entry"
        )
    content = json.dumps([row.fields, checks], sort_keys=True)
    example = checks["example"] or ["", ""]
    gold = (checks["match"] or {}).get("answer", example[1])
    question = row.text("description")
    return Sample(sample_id(name, content), question, gold, checks)


def _mapping(row: Row, field: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{row.where}: expected an object in {field!r}, but got "
            f"{type(value).__name__}; repair the entry"
        )
    return value


def _list(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _match(row: Row, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"answer": value, "strip": True}
    match = _mapping(row, "match", value)
    key = "answer" if "answer" in match else "regex"
    if not isinstance(match.get(key), str):
        raise InputError(
            f"{row.where}: expected a text in 'answer' or 'regex' of 'match', but got "
            f"{str(match)[:60]!r}; repair the entry"
        )
    if key == "regex":
        try:
            re.compile(match[key])
        except re.error as error:
            raise InputError(
                f"{row.where}: expected a regular expression in 'match', but got: "
                f"{error}; repair the entry"
            ) from error
    return {key: match[key], "strip": bool(match.get("strip", False))}


def _checks(
    row: Row, value: object, script: Callable[[object], list[str]]
) -> list[list[str]]:
    found = []
    for each in _list(value):
        file = each.get("file") if isinstance(each, dict) else None
        name = check_named(file) if isinstance(file, str) else None
        if each is None:
            found.append(["example", ""])
        elif name:
            found.append(["named", name])
        else:
            found.append(script(each))
    if not found:
        raise InputError(f"{row.where}: expected checks in 'check', but there are none")
    return found


def _script(row: Row, value: object, scripts: Path | None) -> list[str]:
    if isinstance(value, str):
        return ["bash", value]
    fields = value if isinstance(value, dict) else {}
    language, code, file = (fields.get(k) for k in ("language", "code", "file"))
    if language not in (None, *_LANGUAGES) or not isinstance(code or file, str):
        raise InputError(
            f"{row.where}: expected a script as text, or with 'code' or 'file' and a "
            f"language out of {', '.join(_LANGUAGES)}, but got {str(value)[:60]!r}; "
            "repair the entry"
        )
    if code is None:
        code = _code_of(row, str(file), scripts)
    return [language or "bash", str(code)]


def _code_of(row: Row, file: str, scripts: Path | None) -> str:
    if scripts is None:
        raise NoScriptError(file)
    if ".." in Path(file).parts or Path(file).is_absolute():
        raise InputError(
            f"{row.where}: expected a script below {scripts}, but got {file}; repair "
            "the entry"
        )
    path = row.path or Path()
    folders = (path.parent.name, path.stem, path.stem.partition("_")[0], ".")
    places = [scripts / folder / file for folder in folders]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8", errors="replace")
    raise InputError(
        f"{row.where}: expected the script {file} below {scripts}, but it is not in "
        f"{', '.join(sorted({str(p.parent) for p in places}))}; name the benchmark's "
        "scripts in benchmarks.agentbench-os.scripts"
    )
