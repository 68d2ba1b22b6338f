"""Prompts of users' skills: Jinja templates over the fields of a row.

Rendered in Jinja's sandbox, so that a template that came with somebody's skill cannot
reach Python. A field that a row lacks is an error.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lora_qd.errors import InputError
from lora_qd.tasks.rows import Row


def check_template(text: str) -> str:
    """Return ``text`` if it is a template.

    Raises:
        ValueError: it is none.
    """
    try:
        _environment().parse(text)
    except TemplateSyntaxError as error:
        raise ValueError(
            f"expected a Jinja template, but got {text[:60]!r}: {error.message} in its "
            f"line {error.lineno}; repair it"
        ) from error
    return text


def render(text: str, row: Row, *, what: str) -> str:
    """Return the template ``text`` filled in with the fields of ``row``.

    Args:
        text: as :func:`check_template` let it pass.
        row: whose fields are the template's variables.
        what: the template's name in an error.

    Raises:
        InputError: the row lacks a field, or the template fails on it.
    """
    try:
        return fill(text, row.fields)
    except UndefinedError as error:
        raise InputError(
            f"{row.where}: expected the fields that {what} uses, but {error.message}; "
            f"the row has {', '.join(sorted(row.fields)) or 'none'}: repair the row or "
            f"the template of {what}"
        ) from error
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{row.where}: expected to fill in {what}, but got "
            f"{type(error).__name__}: {error}; repair the template"
        ) from error


def fill(text: str, fields: Mapping[str, Any]) -> str:
    """Return the template ``text`` filled in; Jinja's errors are the caller's."""
    return str(_compiled(text).render(dict(fields)))


@cache
def _compiled(text: str) -> Any:  # noqa: ANN401 - a template
    return _environment().from_string(text)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False
    )
