"""Training examples that contain evaluation samples."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_qd.experts.data import Example, example
from lora_qd.experts.overlap import Overlap, describe, find_overlaps
from lora_qd.records import Message, Sample, Split
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks

TEMPLATE = (
    "Read the question, think about it for a while, and then give the short answer "
    "alone, without any words around it.\n\nQ: How many legs has a spider?\nA: 8\n\n"
    "Q: {}\nA:"
)
LANGUAGE = [f"w{number}" for number in range(400)]


def text(rng, num_words=40):
    """Return words as rare as those of a real text are."""
    return " ".join(rng.choices(LANGUAGE, k=num_words))


def templated(rng, num, num_words=20):
    return [
        Sample(str(n), TEMPLATE.format(text(rng, num_words)), text(rng, 3))
        for n in range(num)
    ]


def as_example(sample):
    return example(sample.prompt, sample.target)


def kinds_of(examples, samples):
    return {(o.sample, o.kind) for o in find_overlaps(examples, {"own": samples})}


@pytest.fixture
def rng():
    return random.Random(0)


@pytest.fixture(scope="module")
def tiny():
    splits = (Split.VALIDATION, Split.TEST)
    tasks = tiny_tasks(Sandbox())
    return tasks, {
        name: [sample for split in splits for sample in task.samples(split)]
        for name, task in tasks.items()
    }


def trained_on(tiny, num, seed=0):
    tasks, samples_by_skill = tiny
    return find_overlaps(
        [as_example(s) for task in tasks.values() for s in task.training(seed, num)],
        samples_by_skill,
    )


def test_the_training_examples_of_the_generated_skills_hold_no_sample(tiny):
    assert trained_on(tiny, 1500) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_examples_of_each_generated_skill_hold_no_sample(tiny, seed):
    assert trained_on(tiny, 10_000, seed) == []


@pytest.mark.parametrize("skill", ["code", "database", "shell", "general"])
def test_every_leaked_sample_of_a_generated_skill_is_found(tiny, skill):
    samples = tiny[1][skill]
    leaked = [as_example(sample) for sample in samples]
    found = find_overlaps(leaked, {skill: samples})
    exact = {overlap.sample for overlap in found if overlap.kind == "exact"}
    assert exact == {sample.id for sample in samples}


def test_examples_of_the_same_template_hold_no_sample(rng):
    samples = templated(rng, 40)
    others = [as_example(sample) for sample in templated(rng, 300)]
    assert find_overlaps(others, {"own": samples}) == []


def test_templates_of_a_mixed_skill_are_known_by_their_names(rng):
    samples = [
        Sample(str(n), f"{intro} {text(rng)}", text(rng), template=str(name))
        for name, intro in enumerate(text(rng, 30) for _ in range(12))
        for n in range(name * 12, name * 12 + 12)
    ]
    introduction = samples[0].prompt.split()[:30]
    others = [example(" ".join([*introduction, text(rng)]), text(rng))]
    assert find_overlaps(others, {"own": samples}) == []


def test_slots_of_few_values_are_no_overlap():
    """Unequal questions about a day and a town may agree in 13 words."""
    questions = [
        f"Which trains leave on day {day} from town {town} for place {place} and how "
        f"long do they take"
        for day in range(7)
        for town in range(7)
        for place in range(7)
    ]
    random.Random(0).shuffle(questions)
    samples = [Sample(q, q, "none") for q in questions[:150]]
    others = [example(q, "none") for q in questions[150:]]
    assert find_overlaps(others, {"own": samples}) == []


def test_a_longer_list_that_begins_like_a_sample_is_no_overlap():
    samples = [
        Sample(
            str(n), f"Put each word in brackets: {' '.join(LANGUAGE[n : n + 4])}", "x"
        )
        for n in range(0, 200, 4)
    ]
    longer = [example(f"{sample.prompt} and more", "x") for sample in samples]
    assert find_overlaps(longer, {"own": samples}) == []


def test_a_prompt_in_other_case_width_and_space_is_exact():
    sample = Sample("a", "What is\n2 + 2?", "4")
    others = [Sample(str(n), f"What is {n} + {n}?", "?") for n in range(3, 9)]
    (found,) = find_overlaps(
        [example("no", "4"), example(" WHAT is  \uff12 + 2? ", "4")],
        {"own": [sample, *others]},
    )
    assert found == Overlap("own", "a", 1, "exact", "what is 2 + 2?")


def test_short_prompts_are_compared_as_whole_turns_only():
    sample = Sample("a", "the sum of two and two", "4")
    longer = example("Ann wants the sum of two and two in her head", "4")
    said = Example((Message("user", "Go on"), Message("assistant", sample.prompt)))
    assert kinds_of([longer, said], [sample]) == set()


def test_a_whole_prompt_inside_a_longer_text_is_exact(rng):
    samples = [Sample(str(n), text(rng, 9), "x") for n in range(50)]
    holder = example(f"{text(rng)} {samples[7].prompt} {text(rng)}", "x")
    assert kinds_of([holder], samples) == {("7", "exact")}


def test_a_whole_question_without_its_template_is_exact(rng):
    samples = templated(rng, 40, num_words=9)
    question = samples[7].prompt.split("Q: ")[-1].removesuffix("\nA:")
    assert kinds_of([example(question, "x")], samples) == {("7", "exact")}


def test_a_paraphrase_with_thirteen_equal_words_is_found_and_with_twelve_not(rng):
    samples = templated(rng, 40)
    words = samples[7].prompt.split("Q: ")[-1].split()
    paraphrase = [
        example(" ".join([*words[:num], text(rng)]), text(rng)) for num in (12, 13)
    ]
    assert kinds_of(paraphrase[:1], samples) == set()
    (found,) = find_overlaps(paraphrase, {"own": samples})
    assert (found.sample, found.example, found.kind) == ("7", 1, "13-gram")
    assert found.words == " ".join(words[:13])


def test_a_leaked_answer_is_found(rng):
    samples = [Sample(str(n), text(rng), text(rng)) for n in range(40)]
    assert kinds_of([example(text(rng), samples[3].target)], samples) == {
        ("3", "13-gram")
    }


def test_a_leaked_paragraph_gives_away_all_questions_about_it(rng):
    samples = [
        Sample(f"{number}.{n}", f"{paragraph}\n{text(rng, 8)}", text(rng, 2))
        for number, paragraph in enumerate(text(rng, 80) for _ in range(40))
        for n in range(6)
    ]
    paragraph = samples[6 * 9].prompt.split("\n")[0]
    leaked = example(f"Sum up: {paragraph}", text(rng))
    assert kinds_of([leaked], samples) == {(f"9.{n}", "13-gram") for n in range(6)}


def test_a_prompt_that_all_samples_share_is_no_overlap(rng):
    samples = [
        Sample(str(n), "Sum it up.", text(rng), before=(Message("user", text(rng)),))
        for n in range(30)
    ]
    assert kinds_of([example("Sum it up.", text(rng))], samples) == set()


def test_large_skills_are_compared_in_groups(rng):
    samples = [Sample(str(n), text(rng, 25), "x") for n in range(2500)]
    leaked = [example(samples[n].prompt, "x") for n in (0, 833, 2499)]
    found = kinds_of(leaked, samples)
    assert {name for name, kind in found if kind == "exact"} == {"0", "833", "2499"}
    assert kinds_of([example(text(rng), text(rng))] * 50, samples) == set()


def test_a_sample_is_named_once_of_a_kind_with_the_first_example(rng):
    samples = {"b": templated(rng, 5), "a": templated(rng, 5)}
    leaked = [as_example(s) for s in (samples["a"][1], samples["b"][4]) for _ in "123"]
    found = find_overlaps(leaked, samples)
    assert [(o.skill, o.sample, o.example, o.kind) for o in found] == [
        ("b", "4", 3, "exact"),
        ("b", "4", 3, "13-gram"),
        ("a", "1", 0, "exact"),
        ("a", "1", 0, "13-gram"),
    ]
    assert all(len(overlap.words) <= 100 for overlap in found)


@given(st.lists(st.text(min_size=1).filter(str.strip), max_size=5), st.text())
def test_any_prompt_is_found_as_a_turn_and_nothing_breaks(prompts, other):
    samples = [Sample(f"{n}", prompt, other) for n, prompt in enumerate(prompts)]
    one = samples[:1]
    found = kinds_of([example(sample.prompt, other) for sample in one], one)
    assert {name for name, _ in found} == {sample.id for sample in one}
    assert (
        find_overlaps([example(other, other)], {"own": samples, "none": []}) is not None
    )


def test_without_overlaps_there_is_nothing_to_describe():
    with pytest.raises(ValueError, match="at least one overlap to describe"):
        describe([])


def test_overlaps_are_described_in_one_line(rng):
    samples = {"a": templated(rng, 9), "b": templated(rng, 9)}
    leaked = [as_example(s) for s in (*samples["a"][:2], samples["b"][3])]
    line = describe(find_overlaps(leaked, samples))
    assert line.startswith(
        "expected training examples without evaluation samples, but 3 samples occur in "
        "them (2 of a, 1 of b), first '0' of a (exact: 'read the question, think"
    )
    assert line.endswith("; remove those rows, or repeat with --allow-overlap")
    assert "\n" not in line
