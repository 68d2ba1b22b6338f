"""F1 and ROUGE: known values, the package as oracle, hostile answers."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rouge_score.rouge_scorer import RougeScorer

from lora_qd.errors import MissingExtraError
from lora_qd.tasks.own.scorers.overlap import F1, Rouge, longest_common_subsequence
from tests.tasks.own.scorers.laws import HOSTILE, INJECTION, value_of, verdict_of

SCORERS = {
    "f1": F1(kind="f1"),
    "rouge1": Rouge(kind="rouge", variant="rouge1"),
    "rouge2": Rouge(kind="rouge", variant="rouge2"),
    "rougeL": Rouge(kind="rouge"),
}
WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@pytest.fixture(params=SCORERS)
def scorer(request):
    return SCORERS[request.param]


@given(target=st.text().filter(str.strip))
@pytest.mark.parametrize("name", SCORERS)
def test_every_target_is_a_right_answer(name, target):
    SCORERS[name].check_target(target)
    assert value_of(SCORERS[name], target, "other", target) == 1
    assert value_of(SCORERS[name], f" {target}\n", target) == 1


@given(answer=st.text(), targets=st.lists(st.text(), max_size=3))
@pytest.mark.parametrize("name", SCORERS)
def test_every_answer_has_a_verdict_that_of_the_best_target(name, answer, targets):
    scorer = SCORERS[name]
    best = max((value_of(scorer, answer, target) for target in targets), default=0)
    assert value_of(scorer, answer, *targets) == best


@pytest.mark.parametrize("answer", ["", " \n", "\u3000"])
def test_an_empty_answer_scores_nothing(scorer, answer):
    assert value_of(scorer, answer, "the cat", "") == 0


@pytest.mark.parametrize(
    "answer",
    [
        "dog",
        "\u0441at",  # a Cyrillic es
        "c a t",
        "!!!",
        "\0",
        "\u202etac",
        "concatenate",
        INJECTION,
    ],
)
def test_an_answer_without_a_common_word_scores_nothing(scorer, answer):
    assert value_of(scorer, answer, "cat sat") == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_scores_little_in_bounded_time(scorer, hostile):
    target = "Paris is where the Eiffel Tower was built in 1889, they said. " * 100
    assert value_of(scorer, HOSTILE[hostile], target) < 0.1


@pytest.mark.parametrize("target", ["\u6771\u4eac", "!!!", "the", "\u0623\u0628"])
def test_a_target_without_words_is_compared_literally(scorer, target):
    assert value_of(scorer, target, target) == 1
    assert value_of(scorer, "???", target) == 0


@pytest.mark.parametrize(
    ("answer", "target", "value"),
    [
        ("The cat sat!", "a cat sat", 1.0),
        ("cat", "the cat sat", 2 / 3),
        ("cat cat cat cat", "cat", 2 / 5),
        ("sat cat", "cat sat", 1.0),
        ("dog " * 98 + "cat sat", "cat sat", 4 / 102),
    ],
)
def test_f1_is_that_of_squad(answer, target, value):
    assert value_of(SCORERS["f1"], answer, target) == pytest.approx(value)


@given(WORDS, WORDS)
@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_what_the_package_says(name, answer, target):
    said, wanted = " ".join(answer), " ".join(target)
    oracle = RougeScorer([name]).score(wanted, said)[name].fmeasure
    value = value_of(SCORERS[name], said, wanted)
    assert value == pytest.approx(1.0 if said and said == wanted else oracle)


@given(WORDS, WORDS)
def test_a_common_subsequence_has_the_length_of_the_longest(words, target):
    table = [[0] * (len(target) + 1) for _ in range(len(words) + 1)]
    for i, word in enumerate(words):
        for j, other in enumerate(target):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else longer
    assert longest_common_subsequence(words, target) == table[-1][-1]


def test_long_texts_are_compared_in_bounded_time(scorer):
    target = "cat dog " * 12_500
    assert value_of(scorer, "dog cat " * 12_500, target) > 0.99


def test_a_partial_score_says_how_much_is_shared():
    verdict = verdict_of(SCORERS["f1"], "cat", "the cat sat")
    assert verdict.reason == "overlaps a target by 0.67"


def test_f1_may_extract_the_answer():
    scorer = F1(kind="f1", extract="answer: (.*)")
    assert value_of(scorer, "dog. answer: the cat", "cat") == 1
    assert value_of(scorer, "cat", "cat sat") == 0
    assert value_of(scorer, "cat sat", "cat sat") == 1


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValidationError, match="variant"):
        Rouge(kind="rouge", variant="rouge3")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(
        MissingExtraError, match="scoring by ROUGE needs the extra 'skills'"
    ):
        SCORERS["rougeL"].score("cat", ["dog"])
