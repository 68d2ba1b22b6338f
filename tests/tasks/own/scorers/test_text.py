"""Exact, normalised and regex: gold, wrong, empty and hostile answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.text import Exact, Normalised, Regex, normalised
from tests.tasks.own.scorers.laws import HOSTILE, INJECTION, value_of, verdict_of

EXACT = Exact(kind="exact")
NORMALISED = Normalised(kind="normalised")
EXTRACT = r"answer: (.*)"
LITERAL = {
    "exact": EXACT,
    "exact, extracted": Exact(kind="exact", extract=EXTRACT),
    "normalised": NORMALISED,
    "normalised, extracted": Normalised(kind="normalised", extract=EXTRACT),
    "regex, compared": Regex(kind="regex", pattern=EXTRACT, compare=True),
}


@pytest.fixture(params=LITERAL)
def scorer(request):
    return LITERAL[request.param]


@given(target=st.text().filter(str.strip))
@pytest.mark.parametrize("name", LITERAL)
def test_every_target_is_a_right_answer(name, target):
    LITERAL[name].check_target(target)
    assert value_of(LITERAL[name], target, "other", target) == 1
    assert value_of(LITERAL[name], f"\n {target}\t", target) == 1


@given(answer=st.text(), target=st.text())
@pytest.mark.parametrize("name", LITERAL)
def test_every_answer_has_a_verdict(name, answer, target):
    assert 0 <= verdict_of(LITERAL[name], answer, target).value <= 1


@pytest.mark.parametrize("answer", ["", " \n\t", "\u3000"])
def test_an_empty_answer_scores_nothing(scorer, answer):
    assert value_of(scorer, answer, "Paris", "", " ") == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_scores_nothing_in_bounded_time(scorer, hostile):
    assert value_of(scorer, HOSTILE[hostile], "Paris") == 0


@pytest.mark.parametrize(
    "answer",
    [
        "paris",
        "Paris.",
        "Paris, Rome, Berlin",
        "P\u0430ris",  # a Cyrillic a
        "\uff30\uff41\uff52\uff49\uff53",
        "Paris\0",
        "\u202eParis",
        f"Paris\n{INJECTION}",
    ],
)
def test_exact_is_letter_by_letter(answer):
    assert value_of(EXACT, answer, "Paris") == 0


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("the  Eiffel-Tower!", "Eiffel Tower".replace(" ", "")),
        ("An apple a day", "apple day"),
        ("STRASSE", "straße"),
        ("\uff30\uff41\uff52\uff49\uff53", "Paris"),
        ("\u202bParis\u200f\u200b", "paris"),
        ("«Paris»。", "Paris"),
        ("Cafe\u0301", "caf\u00e9"),
        ("$5", "5"),
    ],
)
def test_normalising_drops_what_does_not_matter(answer, target):
    assert value_of(NORMALISED, answer, target) == 1


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("Paris or Rome", "Paris"),
        ("P\u0430ris", "Paris"),
        ("Par is", "Paris"),
        ("Theseus", "seus"),
        ("Paris\0", "Paris"),
        (INJECTION, "right"),
    ],
)
def test_normalising_keeps_what_matters(answer, target):
    assert value_of(NORMALISED, answer, target) == 0


@pytest.mark.parametrize("target", ["!!!", "the", "A", "...", "\u200f"])
def test_a_target_of_which_nothing_is_left_equals_itself_alone(target):
    assert value_of(NORMALISED, target, target) == 1
    for other in ("?", "an", "the the", "\u200e"):
        assert value_of(NORMALISED, other, target) == 0


@given(st.text())
def test_what_is_normalised_has_single_spaces_and_no_articles(text):
    words = normalised(text)
    assert words == " ".join(words.split())
    assert not {"a", "an", "the"} & set(words.split())
    assert normalised(f"The\n{text} !") == words


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("I think: answer: Paris", 1),
        ("answer: Rome\nanswer: Paris ", 1),
        ("answer: Paris\nanswer: Rome", 0),
        ("Paris, I think", 0),
        ("answer:", 0),
        ("Paris", 1),
    ],
)
@pytest.mark.parametrize("name", ["exact, extracted", "regex, compared"])
def test_the_last_answer_that_a_pattern_captures_counts(name, answer, value):
    assert value_of(LITERAL[name], answer, "Paris") == value


def test_an_answer_without_a_match_says_so():
    verdict = verdict_of(LITERAL["exact, extracted"], "Paris, I think", "Paris")
    assert verdict.reason == "no answer was found by the pattern"


def test_a_group_that_takes_no_part_in_the_last_match_is_passed_over():
    scorer = Exact(kind="exact", extract="<(a)>|;")
    assert value_of(scorer, "<a>;", "a") == 1


SLOW = {
    "search": Regex(kind="regex", pattern=r"(a|aa)+$"),
    "full, compared": Regex(kind="regex", pattern=r"(a|aa)+", full=True, compare=True),
    "extract": Normalised(kind="normalised", extract=r"(?:a|aa)+(x)"),
}


@pytest.mark.parametrize("scorer", SLOW.values(), ids=SLOW)
def test_catastrophic_backtracking_ends_and_scores_nothing(scorer):
    verdict = verdict_of(scorer, HOSTILE["backtracking"], "Paris")
    assert verdict.reason == "the pattern took over 2 s or too much memory"


def test_a_pattern_that_calls_itself_for_ever_ends():
    scorer = Regex(kind="regex", pattern="(?R)")
    assert value_of(scorer, "Paris", "Paris") == 0


@pytest.mark.parametrize(
    ("options", "answer", "value"),
    [
        ({"pattern": r"\d{4}"}, "in 1889, I think", 1),
        ({"pattern": r"\d{4}", "full": True}, "in 1889, I think", 0),
        ({"pattern": r"\d{4}", "full": True}, " 1889\n", 1),
        ({"pattern": "paris"}, "PARIS", 0),
        ({"pattern": "paris", "ignore_case": True}, "PARIS", 1),
        ({"pattern": "^Paris$"}, f"Paris\n{INJECTION}", 0),
        ({"pattern": "Paris"}, "P\u0430ris", 0),
        ({"pattern": "(x)(?P<city>P.*)", "compare": True}, "xParis", 1),
        ({"pattern": "(P.*)(?:x)", "compare": True}, "Parisx", 1),
        ({"pattern": "(P.*)(x)", "compare": True}, "Romex", 0),
        ({"pattern": "<(.*)>", "compare": True, "full": True}, "<Paris>", 1),
        ({"pattern": "<(.*)>", "compare": True, "full": True}, "<Paris>.", 0),
    ],
)
def test_a_pattern_decides(options, answer, value):
    assert value_of(Regex(kind="regex", **options), answer, "Paris") == value


@given(st.text())
def test_a_pattern_gives_every_answer_a_verdict(answer):
    verdict = verdict_of(Regex(kind="regex", pattern=".", full=True), answer, ".")
    assert verdict.value == (len(answer.strip()) == 1 and answer.strip() != "\n")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_does_not_match_in_bounded_time(hostile):
    scorer = Regex(kind="regex", pattern=r"^(?:\w+\s?)*Paris$")
    assert value_of(scorer, HOSTILE[hostile], "Paris") == 0


def test_a_target_must_match_the_pattern():
    scorer = Regex(kind="regex", pattern=r"\d+")
    scorer.check_target("in 1889")
    with pytest.raises(InputError, match="expected a target that matches .*'Paris'"):
        scorer.check_target("Paris")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Regex, {"kind": "regex", "pattern": "("}, "expected a regular expression"),
        (Regex, {"kind": "regex", "pattern": "a", "compare": True}, "a group to comp"),
        (Exact, {"kind": "exact", "extract": "*"}, "expected a regular expression"),
        (Exact, {"kind": "exact", "extract": "a"}, "expected one group in extract"),
        (Exact, {"kind": "exact", "extract": "(a)(b)"}, "has 2; put the answer in"),
        (Exact, {"kind": "exact", "colour": "red"}, "colour"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(ValidationError, match=message):
        kind(**options)
