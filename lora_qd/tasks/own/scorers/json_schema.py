"""Answers that are JSON: of the form that a schema asks for, equal to a target."""

import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NoReturn, Self

from pydantic import ConfigDict, Field, model_validator

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.patterns import EMPTY, one_line, quoted
from lora_qd.tasks.own.scorers.schema_check import (
    canonical,
    check_form,
    check_schema,
)
from lora_qd.tasks.published.conversation import Verdict
from lora_qd.tasks.published.source import Strict

_MAX_DEPTH = 64
_MAX_DIGITS = 300
"""Of an integer, so that each fits a float."""
_BLOCK = re.compile(
    r"^[ \t]*```json[ \t\r]*\n(.*?)(?:^[ \t]*```|\Z)", re.I | re.M | re.S
)
"""Fences have lines of their own, so none is inside a JSON text."""


class JsonSchema(Strict):
    """The answer is JSON: the whole of it, or its last block that is fenced as json.

    Strict JSON: no NaN, no infinity, no key twice, no integer of more than 300 digits,
    no float that overflows, at most 64 levels of nesting.
    """

    model_config = ConfigDict(
        serialize_by_alias=True, validate_by_alias=True, validate_by_name=True
    )

    kind: Literal["json-schema"]
    """The answer must be JSON that a schema allows, and equal a target."""
    # Named otherwise than its key, because pydantic's models have a method "schema".
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """The JSON schema, draft 2020-12 unless its `$schema` names another. References
    stay inside it (`#/$defs/...`); `patternProperties` is refused, since its patterns
    have no time limit."""
    equal: bool | tuple[str, ...] = True
    """Whether the answer must equal a target too, or the names of the top-level fields
    that must. 1 and 1.0 are equal, true and 1 are not; the order of keys is free."""

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        if self.equal == ():
            raise ValueError("expected names of fields in equal, but got none; add one")
        if self.json_schema is not None:
            check_schema(self.json_schema)
        elif self.equal is False:
            raise ValueError(
                "expected a schema, since equal is false, but got none; without both "
                "every JSON text is right"
            )
        return self

    def check_target(self, target: str) -> None:
        """Check that ``target`` is JSON that the schema allows.

        Raises:
            InputError: it is not, or lacks a field that answers must equal.
        """
        fault = self.score(target, [target]).reason
        if fault:
            raise InputError(
                f"expected a target that is JSON as the scorer asks for, but got "
                f"{quoted(target)}: {fault}; repair the target or the scorer"
            )

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 for an answer that the schema allows and that equals a target."""
        if not answer.strip():
            return EMPTY
        try:
            found = _json_of(answer)
            if self.json_schema is not None:
                check_form(found, self.json_schema)
            part = self._compared(found)
        except ValueError as error:
            return Verdict(0.0, str(error))
        if self.equal is False or any(self._is_equal(part, t) for t in targets):
            return Verdict(1.0)
        return Verdict(0.0, "the JSON equals no target")

    def _is_equal(self, part: Hashable, target: str) -> bool:
        try:
            return self._compared(_json_of(target)) == part
        except ValueError:
            return False

    def _compared(self, value: object) -> Hashable:
        if isinstance(self.equal, bool):
            return canonical(value)
        if not isinstance(value, dict):
            raise ValueError("the JSON is no object")
        missing = [name for name in self.equal if name not in value]
        if missing:
            raise ValueError(f"the JSON has no field {missing[0]!r}")
        return tuple(canonical(value[name]) for name in self.equal)


def _json_of(answer: str) -> object:
    """Return what ``answer``, or else its last fenced block, says as JSON.

    Raises:
        ValueError: it is no strict JSON; the message is a reason.
    """
    try:
        return _parsed(answer.strip())
    except ValueError:
        blocks = _BLOCK.findall(answer)
        if not blocks:
            raise
        return _parsed(blocks[-1])


def _parsed(text: str) -> object:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refused,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"no JSON: {one_line(str(error))}") from error
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for each in level for child in _nested(each)]
    if level:
        raise ValueError("the JSON is nested too deeply")
    return value


def _nested(value: object) -> list[object]:
    """Return the objects and arrays right inside an object or array."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict | list)]


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {quoted(twice)} is there twice")
    return fields


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{quoted(text)} overflows")
    return number


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)
