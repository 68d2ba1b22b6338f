"""JSON schemas of a user, checked before use and within bounded time after.

Nothing is fetched for a schema's references, and its ``format`` is not checked.
"""

import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from lora_qd.errors import MissingExtraError
from lora_qd.tasks.own.scorers.patterns import Pattern, one_line

_CHECK_S = 2.0
"""Most CPU seconds of checking one answer by the schema."""
_DATA = frozenset({"const", "default", "enum", "examples"})
_SCHEMAS_BY_NAME = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "properties"}
)
_REFERENCES = frozenset({"$dynamicRef", "$recursiveRef", "$ref"})
_deadline: ContextVar[float] = ContextVar("deadline")
"""On the clock `time.thread_time`."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise a ``ValueError`` that a user can read unless answers can be checked by it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    dialect = _dialect(schema)
    try:
        if json.loads(json.dumps(schema, allow_nan=False)) != schema:
            raise ValueError("a key is no text; quote it")
        dialect.check_schema(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a JSON schema, but got: {error}") from error
    except _jsonschema().SchemaError as error:
        raise ValueError(
            f"expected a JSON schema, but at {error.json_path} "
            f"{one_line(error.message)}; repair it"
        ) from error
    lookup = _resolver(schema, dialect).lookup
    for keyword, value in _keywords({**schema, "$schema": None}):
        if keyword == "patternProperties" or (keyword == "$schema" and value):
            raise ValueError(
                f"expected a schema without {keyword} in it, which is not supported; "
                "remove it"
            )
        if keyword == "pattern":
            Pattern(value).check()
        if keyword in _REFERENCES:
            _check_reference(value, lookup)


def _check_reference(reference: str, lookup: Callable[[str], object]) -> None:
    from referencing.exceptions import Unresolvable

    if not reference.startswith("#"):
        raise ValueError(
            f"expected references inside the schema, but got {reference!r}; copy what "
            "it names to $defs and refer to it as #/$defs/<name>"
        )
    try:
        lookup(reference)
    except Unresolvable as error:
        raise ValueError(
            f"expected the schema to hold {reference!r}, but it does not; add it"
        ) from error


def _keywords(schema: object) -> Iterator[tuple[str, Any]]:
    """Yield the keywords of a schema and of those in it, with what they say."""
    if isinstance(schema, list):
        for each in schema:
            yield from _keywords(each)
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        yield keyword, value
        if keyword in _SCHEMAS_BY_NAME and isinstance(value, dict):
            yield from _keywords(list(value.values()))
        elif keyword not in _DATA:
            yield from _keywords(value)


def check_form(value: object, schema: Mapping[str, Any]) -> None:
    """Raise a ``ValueError``, its message a reason, unless ``schema`` allows it."""
    from referencing import Registry

    # An empty registry fetches nothing; a schema's "$schema" would bring the package's
    # own class back, which has no limits.
    bare = {key: each for key, each in schema.items() if key != "$schema"}
    validator = _bounded(_dialect(schema))(bare, registry=Registry())
    deadline = _deadline.set(time.thread_time() + _CHECK_S)
    try:
        error = next(validator.iter_errors(value), None)
    except TimeoutError as late:
        raise ValueError(f"the schema took more than {_CHECK_S:g} s") from late
    except RecursionError as deep:
        raise ValueError("the JSON is nested too deeply for the schema") from deep
    finally:
        _deadline.reset(deadline)
    if error is not None:
        raise ValueError(one_line(f"{error.json_path}: {error.message}"))


def canonical(value: Any) -> Hashable:  # noqa: ANN401 - whatever JSON holds
    """Return what is equal for equal JSON only; Python holds True for 1."""
    if isinstance(value, dict):
        items = frozenset((name, canonical(each)) for name, each in value.items())
        return ("object", items)
    if isinstance(value, list):
        return ("array", tuple(map(canonical, value)))
    if isinstance(value, bool):
        return ("boolean", value)
    plain: str | float | None = value
    return plain


def _dialect(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - not annotated
    validators = _jsonschema().validators
    if "$schema" not in schema:
        return validators.Draft202012Validator
    dialect = validators.validator_for(schema, default=None)
    if dialect is None:
        raise ValueError(
            f"expected a $schema of json-schema.org, but got {schema['$schema']!r}; "
            "correct it or leave it out"
        )
    return dialect


def _resolver(schema: Mapping[str, Any], dialect: Any) -> Any:  # noqa: ANN401
    from referencing import Registry
    from referencing.jsonschema import specification_with

    specification = specification_with(dialect.META_SCHEMA["$schema"])
    return Registry().resolver_with_root(specification.create_resource(schema))


@lru_cache
def _bounded(dialect: Any) -> Any:  # noqa: ANN401 - not annotated
    """Return the validator class ``dialect``, whose keywords keep to the deadline."""
    own = {"pattern": _keyword(_pattern_fault), "uniqueItems": _keyword(_repeat_fault)}
    keywords = {**dialect.VALIDATORS, **own}
    in_time = {name: _in_time(keyword) for name, keyword in keywords.items()}
    return _jsonschema().validators.extend(dialect, in_time)


def _in_time(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any) -> Any:  # noqa: ANN401
        _remaining_s()
        return keyword(*arguments)

    return checked


def _keyword(fault_of: Callable[[Any, Any], str]) -> Callable[..., Any]:
    def faults(_validator: Any, value: Any, instance: Any, _schema: Any) -> list[Any]:  # noqa: ANN401
        fault = fault_of(value, instance)
        return [_jsonschema().ValidationError(fault)] if fault else []

    return faults


def _pattern_fault(pattern: str, instance: object) -> str:
    """As the package's keyword, but with a time limit."""
    if not isinstance(instance, str):
        return ""
    is_match = Pattern(pattern).matches(instance, limit_s=_remaining_s())
    return "" if is_match else f"{instance!r} does not match {pattern!r}"


def _repeat_fault(is_asked: bool, instance: object) -> str:
    """As the package's keyword uniqueItems, but not in quadratic time."""
    if not is_asked or not isinstance(instance, list):
        return ""
    num_different = len(set(map(canonical, instance)))
    return "has an item twice" if num_different < len(instance) else ""


def _remaining_s() -> float:
    remaining = _deadline.get() - time.thread_time()
    if remaining <= 0:
        raise TimeoutError("checking takes too long")
    return remaining


def _jsonschema() -> Any:  # noqa: ANN401 - not annotated
    try:
        import jsonschema  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("scoring by a JSON schema", "skills") from error
    return jsonschema
