"""How answers of users' skills are scored; one module per kind of comparison.

A scorer is what the YAML says of it, checked. Most compare texts on the spot
(``score``); those that execute the answer, ask a judge or call the user's function are
awaited, and have what they need handed to them.
"""

from typing import Annotated

from pydantic import Field

from lora_qd.tasks.own.scorers.choice import Choice
from lora_qd.tasks.own.scorers.function import Function
from lora_qd.tasks.own.scorers.json_schema import JsonSchema
from lora_qd.tasks.own.scorers.judge import Judge
from lora_qd.tasks.own.scorers.numeric import Numeric
from lora_qd.tasks.own.scorers.overlap import F1, Rouge
from lora_qd.tasks.own.scorers.python import Python
from lora_qd.tasks.own.scorers.shell import Shell
from lora_qd.tasks.own.scorers.sql import Sql
from lora_qd.tasks.own.scorers.text import Exact, Normalised, Regex

TextScorer = Exact | Normalised | Regex | Numeric | Choice | F1 | Rouge | JsonSchema
"""Compares the answer with the targets, at once."""
ExecutingScorer = Python | Sql | Shell
"""Executes the answer in the sandbox."""

AnyScorer = Annotated[
    TextScorer | ExecutingScorer | Judge | Function, Field(discriminator="kind")
]
"""Told apart by ``kind``."""

__all__ = [
    "AnyScorer",
    "ExecutingScorer",
    "Function",
    "Judge",
    "TextScorer",
]
