"""The numeric scorer: which number is read, tolerances, hostile answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.numeric import Numeric, last_number
from tests.tasks.own.scorers.laws import HOSTILE, INJECTION, value_of, verdict_of

NUMERIC = Numeric(kind="numeric")
GOLD = ["5", "-5", "+0.5", ".5", "1,234,567.89", "$5", "-$5", "5%", "6.02e23", "1E-9"]


@pytest.mark.parametrize("extract", [None, "answer is (.*)"])
@pytest.mark.parametrize("target", [*GOLD, "\u22125", "\uff15", "9" * 300])
def test_every_target_is_a_right_answer(target, extract):
    scorer = Numeric(kind="numeric", extract=extract)
    scorer.check_target(target)
    assert value_of(scorer, target, "77", target) == 1
    assert value_of(scorer, f"answer is {target}", target) == 1


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers()))
def test_what_python_writes_is_read(number):
    try:
        float(number)
    except OverflowError:
        return
    NUMERIC.check_target(str(number))
    assert value_of(NUMERIC, f"It is {number}.", str(number)) == 1
    assert last_number(f"{number:,}") == last_number(str(number))


@given(answer=st.text(), target=st.text())
def test_every_answer_has_a_verdict(answer, target):
    assert 0 <= verdict_of(NUMERIC, answer, target, "5").value <= 1


@given(st.text(alphabet="0123456789.,-+eE$% \u2212\u0663", max_size=40))
def test_every_text_of_digits_has_a_verdict(answer):
    assert 0 <= verdict_of(NUMERIC, answer, "5").value <= 1


@pytest.mark.parametrize("answer", ["", " \n", "\u2003"])
def test_an_empty_answer_scores_nothing(answer):
    assert value_of(NUMERIC, answer, "0", "") == 0


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("The answer is 42.", "42"),
        ("1,234,567 people", "1234567"),
        ("1,2,3", "3"),
        ("12,345,6789", "6789"),
        ("1234,567", "567"),
        ("from 3-5", "5"),
        ("x=-5", "-5"),
        ("3 - 5", "5"),
        ("2024-01-02", "2"),
        ("1.2.3", "3"),
        ("wait...5", "5"),
        ("**7**", "7"),
        (r"\boxed{8}", "8"),
        ("1/2", "2"),
        ("\u2212\u0665", "-5"),
        ("\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15", "1234.5"),
        ("10\u00b2", "10"),
        ("5 then 1e999", "5"),
        ("5 then nan, inf, -Infinity", "5"),
        ("5 then 0e99999999999999999999", "5"),
        ("\u7b54\u6848\u662f42", "42"),
    ],
)
def test_the_last_number_is_read(answer, number):
    assert str(last_number(answer)) == number


@pytest.mark.parametrize(
    "answer",
    [
        "five",
        "V",
        "nan",
        "1e999",
        "5, 6",
        " ".join(map(str, range(100_000))),
        f"5. {INJECTION}",
        "-5",
        "5e1",
        "5\0 0",
        "\u01be",
        "5\u202e6",
        "0x6f",
    ],
)
def test_another_answer_than_five_is_wrong(answer):
    assert value_of(NUMERIC, answer, "5") == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_scores_nothing_in_bounded_time(hostile):
    assert value_of(NUMERIC, HOSTILE[hostile], "5") == 0


def test_a_list_of_all_numbers_has_only_its_last_one_compared():
    answer = ", ".join(map(str, range(1000)))
    right = [n for n in range(1000) if value_of(NUMERIC, answer, str(n))]
    assert right == [999]


@pytest.mark.parametrize(
    ("options", "answer", "target", "value"),
    [
        ({"tolerance": 0.01}, "0.31", "0.3", 1),
        ({"tolerance": 0.01}, "0.3100001", "0.3", 0),
        ({"relative": 0.1}, "110", "100", 1),
        ({"relative": 0.1}, "-110", "-100", 1),
        ({"relative": 0.1}, "111", "100", 0),
        ({"relative": 0.1}, "0.0001", "0", 0),
        ({"tolerance": 1, "relative": 0.1}, "0.9", "0", 1),
        ({}, "0.30000000000000004", "0.3", 0),
        ({}, "9007199254740993", "9007199254740992", 0),
        ({}, "1" * 60 + "2", "1" * 60 + "3", 0),
        ({}, "1e-5000", "0", 0),
        ({}, "1e-999999999", "0", 0),
        ({}, "5.0", "5", 1),
        ({}, "0", "-0.0", 1),
    ],
)
def test_the_tolerance_is_kept_exactly(options, answer, target, value):
    assert value_of(Numeric(kind="numeric", **options), answer, target) == value


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_answer_is_right_just_if_it_is_within_the_tolerance(target, off, tolerance):
    scorer = Numeric(kind="numeric", tolerance=tolerance)
    assert value_of(scorer, str(target + off), str(target)) == (off <= tolerance)


def test_only_the_extract_is_read():
    scorer = Numeric(kind="numeric", extract=r"answer is (\S+)")
    assert value_of(scorer, "The answer is 5, not 6", "5") == 1
    assert value_of(scorer, "It is 5", "5") == 0
    assert value_of(scorer, "5", "5") == 1


@pytest.mark.parametrize(
    "target", ["five", "", "5 apples", "1/2", "nan", "inf", "1e999", "1,2", "5 6", "x5"]
)
def test_a_target_that_is_no_number_is_refused(target):
    with pytest.raises(InputError, match="expected a number as target, but got"):
        NUMERIC.check_target(target)


@pytest.mark.parametrize(
    "options", [{"tolerance": -1}, {"relative": float("inf")}, {"tolerance": "wide"}]
)
def test_a_tolerance_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError, match="|".join(options)):
        Numeric(kind="numeric", **options)
