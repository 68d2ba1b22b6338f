"""A Python function of the user's, called in this process: trusted, with consent."""

import asyncio
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import Field

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.published import Verdict
from lora_qd.tasks.published.source import Strict

UserFunction = Callable[[str, Mapping[str, Any]], object]
"""Takes the answer and the row's fields; returns a score, or score and reason."""


class Function(Strict):
    """A Python function of yours, `def score(answer, row)`.

    It returns a number in [0, 1], a bool, or a pair of the number and a reason. An
    empty answer is 0 without it.
    """

    kind: Literal["function"]
    """This scorer."""
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`module:function`; the module lies beside the skill file, or is installed. Runs
    outside the sandbox, so it needs `--allow`."""

    def load(self, directory: Path | None) -> UserFunction:
        """Import the function.

        Raises:
            InputError: it cannot be imported.
        """
        module_name, _, name = self.function.partition(":")
        try:
            with _import_path(directory):
                function = getattr(_module(module_name, directory), name)
        except Exception as error:
            raise InputError(
                f"expected to import {self.function!r}, but got "
                f"{type(error).__name__}: {error}; put the module beside the skill "
                "file, or install it"
            ) from error
        if not callable(function):
            raise InputError(
                f"expected {self.function!r} to be a function, but it is "
                f"{type(function).__name__}; name a function"
            )
        return function  # type: ignore[no-any-return]

    async def grade(
        self, function: UserFunction, answer: str, question: Question
    ) -> Verdict:
        """Call the function in a thread.

        Raises:
            InputError: it fails, or returns no score.
        """
        try:
            result = await asyncio.to_thread(function, answer, dict(question.fields))
        except Exception as error:
            raise InputError(
                f"expected {self.function!r} to score an answer to "
                f"{question.row.where}, but got {type(error).__name__}: {error}; "
                "mend the function"
            ) from error
        value, reason = result if isinstance(result, tuple) else (result, "")
        is_score = isinstance(value, int | float) and 0 <= value <= 1
        if not is_score or not isinstance(reason, str):
            raise InputError(
                f"expected {self.function!r} to return a score in [0, 1], or a pair of "
                f"score and reason, but got {result!r} for {question.row.where}; mend "
                "the function"
            )
        if value < 1 and not reason:
            reason = f"{self.function} returned {value:g}"
        return Verdict(float(value), "" if value == 1 else " ".join(reason.split()))


def _module(name: str, directory: Path | None) -> ModuleType:
    """Import a module: of two skills' files of one name each is its own."""
    path = (directory or Path()) / f"{name.replace('.', '/')}.py"
    if directory is None or not path.is_file():
        return importlib.import_module(name)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = spec_from_file_location(f"loraqd_skill_{place}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _import_path(directory: Path | None) -> Iterator[None]:
    """Look for modules in ``directory`` first, for the block."""
    place = str(directory.resolve()) if directory else ""
    if place:
        sys.path.insert(0, place)
    try:
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)
