"""The choice scorer: which label an answer chooses, and which choose none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.choice import Choice
from tests.tasks.own.scorers.laws import HOSTILE, INJECTION, value_of, verdict_of

CHOICE = Choice(kind="choice")
LABELS = {
    "letters": CHOICE,
    "many": Choice(kind="choice", labels=tuple("ABCDEFGHIJ")),
    "words": Choice(kind="choice", labels=("good", "not good", "C++")),
    "numbers": Choice(kind="choice", labels=("1", "-1", "10")),
    "extracted": Choice(kind="choice", extract="<(.*)>"),
}


def chosen(answer, scorer=CHOICE):
    """Return the labels for which an answer is right."""
    return [label for label in scorer.labels if value_of(scorer, answer, label)]


@pytest.mark.parametrize("scorer", LABELS.values(), ids=LABELS)
def test_every_label_chooses_itself_alone(scorer):
    for label in scorer.labels:
        scorer.check_target(label)
        assert chosen(label, scorer) == [label]


@given(st.text())
@pytest.mark.parametrize("name", LABELS)
def test_every_answer_chooses_one_label_at_most(name, answer):
    assert len(chosen(answer, LABELS[name])) <= 1


@given(st.lists(st.sampled_from(["A", "b", "(C)", "D.", "answer", "is", ":", "\n"])))
def test_every_text_of_labels_chooses_one_at_most(words):
    assert len(chosen(" ".join(words))) <= 1


@pytest.mark.parametrize("answer", ["", " \n", "\u3000"])
def test_an_empty_answer_chooses_none(answer):
    assert chosen(answer) == []


@pytest.mark.parametrize(
    "answer",
    [
        *("b", "B.", "(B)", "b)", "B:", "[B]", "**B**", "(b).", "\uff08B\uff09", '"B"'),
        *("$\\boxed{B}$", r"\boxed{\text{B}}", "B\n", "B. Paris", "(B) a city"),
        *("B: the city of A. Dumas", "B) Paris, unlike (A) and (C)"),
        *(
            "The answer is B",
            "answer: (b)",
            "**Answer:** B",
            "Answer\uff1aB",
            "Answer = B",
        ),
        *("The correct option is B.", "The answer is option B", "answer is: B, a city"),
        *("A. Rome\nB. Paris\nC. Oslo\nD. Bern\nSo the answer is B.", "Answer:\nB"),
        *(
            "The answer is A. No, wait: the answer is B",
            "The best choice is (B), not A",
        ),
        *("I choose B because of a cat", "A cat is a cat, so B", "It is not A, so B."),
        *("B\n\nA is a city, (C) a cat", "Is it A? Is it C?\nHm.\n(B)", "B\nB.\nA cat"),
        *("The answer is B, and A is wrong", "vitamin B", "B is right"),
    ],
)
def test_the_choice_of_b_is_seen(answer):
    assert chosen(answer) == ["B"]


@pytest.mark.parametrize(
    "answer",
    [
        "A cat is an animal",
        "The answer is a city in France",
        "a",
        "The answer is A",
        "A is right because a cat purrs",
    ],
)
def test_the_article_is_no_choice_and_the_label_a_is_one(answer):
    is_choice = "city" not in answer and "animal" not in answer
    assert chosen(answer) == (["A"] if is_choice else [])


def test_the_pronoun_is_no_choice():
    assert chosen("I think so", LABELS["many"]) == []
    assert chosen("I think it is J", LABELS["many"]) == ["J"]
    assert chosen("The answer is I.", LABELS["many"]) == ["I"]


@pytest.mark.parametrize(
    "answer",
    [
        "A, B, C, D",
        "A B C D",
        "(A) (B) (C) (D)",
        "A) or B)",
        "A. Rome\nB. Paris\nC. Oslo\nD. Bern",
        "A\nB\nC\nD",
        "B\nOr not, but\nC",
        "A. Rome B. Paris C. Oslo D. Bern",
        "The answer is A or B",
        "Answer: A, B, C and D",
        "Both A and C",
        "ABCD",
        "\u0392",  # a Greek capital beta
        "\u0412.",  # a Cyrillic ve
        "B-52",
        "B's",
        "xB",
        "\u202e",
        "E",
        "I do not know.",
        "It isn't B",
        "not B",
        INJECTION,
    ],
)
def test_an_answer_that_chooses_several_labels_or_none_is_wrong(answer):
    assert chosen(answer) == []


def test_the_reason_names_what_was_chosen():
    assert verdict_of(CHOICE, "C", "B").reason == "the answer chooses C"
    assert verdict_of(CHOICE, "B or C", "B").reason == "the answer names B, C"
    assert verdict_of(CHOICE, "hm", "B").reason == "the answer chooses no label"


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", sorted(LABELS.keys() - {"many"}))
def test_a_hostile_answer_chooses_none_in_bounded_time(name, hostile):
    assert chosen(HOSTILE[hostile], LABELS[name]) == []


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("It is Not Good.", "not good"),
        ("It is good", "good"),
        ("I like c++ most", "C++"),
        ("goods", None),
        ("good, not good", None),
    ],
)
def test_labels_may_be_words(answer, label):
    assert chosen(answer, LABELS["words"]) == ([label] if label else [])


def test_a_sign_is_part_of_a_label():
    assert chosen("It is -1", LABELS["numbers"]) == ["-1"]
    assert chosen("It is 1", LABELS["numbers"]) == ["1"]
    for other in ("It is 100", "1,000", "It is 3.1", "10.5"):
        assert chosen(other, LABELS["numbers"]) == []


def test_only_the_extract_is_read():
    assert chosen("A or B? <B>", LABELS["extracted"]) == ["B"]
    assert chosen("It is B", LABELS["extracted"]) == []


@pytest.mark.parametrize("target", ["E", "b", "", "A, B", "(A)"])
def test_a_target_must_be_a_label(target):
    with pytest.raises(InputError, match="expected one of the labels A, B, C, D"):
        CHOICE.check_target(target)


@pytest.mark.parametrize("labels", [("A",), ("A", "a"), ("A", " "), ("A", "*"), ()])
def test_labels_must_differ(labels):
    with pytest.raises(ValidationError, match="two labels or more that differ"):
        Choice(kind="choice", labels=labels)
