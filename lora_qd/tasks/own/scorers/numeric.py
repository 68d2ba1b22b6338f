"""Answers that are a number."""

import math
import re
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Literal

from pydantic import Field

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.patterns import ExtractingScorer, quoted
from lora_qd.tasks.published.conversation import Verdict

_ASCII_BY_SIGN = str.maketrans("\u2212\uff0d\ufe63\uff0b\uff0e\uff0c", "---+.,")
"""The minus sign, and the full-width forms of the signs."""
_NUMBER = r"""
    (?: (?<![\w.)\]]) [-+] )? [$€£¥]?            # 3-5 has no sign, x=-5 has one
    (?: \d{1,3} (?: ,\d{3} )+ (?!\d) | \d+ | (?<![\w.]) (?=\.\d) )
    (?: \.\d+ )? (?: [eE][-+]?\d+ )?
"""
_SEARCHED = re.compile(_NUMBER, re.X)
_WHOLE = re.compile(rf"[$€£¥]? (?:{_NUMBER}) \s?%?", re.X)
_DROPPED = str.maketrans("", "", ",$€£¥")
_EXACT = Context(prec=50, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


class Numeric(ExtractingScorer):
    """The last number of the answer is a target's, within a tolerance.

    Read are decimal digits of any script, a sign, a decimal point, commas between
    groups of three digits, and an exponent; currency and per cent signs are passed
    over, so "$5" and "5%" are 5. Fractions are not read: the last number of "1/2" is 2.
    Words, nan, infinities and what overflows a float (1e999) are no numbers.
    """

    kind: Literal["numeric"]
    """The last number of the answer must equal a target."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far the answer may be off."""
    relative: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far the answer may be off, as a share of the target; the larger of the two
    tolerances counts."""

    def check_target(self, target: str) -> None:
        """Check that ``target`` is one number.

        Raises:
            InputError: it is not.
        """
        whole = _WHOLE.fullmatch(target.strip().translate(_ASCII_BY_SIGN))
        if whole is None or last_number(target) is None:
            raise InputError(
                f"expected a number as target, but got {quoted(target)}; repair it or "
                "choose another scorer"
            )

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 if the answer's last number is near enough to a target, else 0."""
        text = self.text_to_compare(answer, targets)
        if isinstance(text, Verdict):
            return text
        number = last_number(text)
        if number is None:
            return Verdict(0.0, "the answer has no number")
        wanted = (last_number(target) for target in targets)
        if any(each is not None and self._is_near(number, each) for each in wanted):
            return Verdict(1.0)
        return Verdict(0.0, f"{quoted(str(number))} is not near enough to a target")

    def _is_near(self, number: Decimal, target: Decimal) -> bool:
        """Compare decimals, not floats: 0.31 is within 0.01 of 0.3."""
        share = _EXACT.multiply(Decimal(repr(self.relative)), target.copy_abs())
        allowed = max(Decimal(repr(self.tolerance)), share)
        return _EXACT.subtract(number, target).copy_abs() <= allowed


def last_number(text: str) -> Decimal | None:
    """Return the last number in ``text``; None if there is none."""
    found = _SEARCHED.findall(text.translate(_ASCII_BY_SIGN))
    numbers = map(_number_of, reversed(found))
    return next((number for number in numbers if number is not None), None)


def _number_of(text: str) -> Decimal | None:
    digits = text.translate(_DROPPED)
    try:
        return Decimal(digits) if math.isfinite(float(digits)) else None
    except InvalidOperation:  # an exponent of twenty digits
        return None
