"""Laws of the generator that all skills of the tiny world share."""

import random

import pytest

from lora_qd.records import Split
from lora_qd.tasks.task import sample_id, split_of
from lora_qd.tasks.tiny.template import (
    SIZE_BY_SPLIT,
    Draft,
    GeneratedSamples,
    Template,
)


def numbered(name, num_variants=10**9):
    def make(rng):
        number = rng.randrange(num_variants)
        return Draft(f"{name} {number}", str(number), {"number": number})

    return Template(name, make)


@pytest.fixture
def generated():
    return GeneratedSamples("toy", [numbered("one"), numbered("two"), numbered("six")])


@pytest.mark.parametrize("split", SIZE_BY_SPLIT)
def test_a_split_has_its_size_and_only_its_own_samples(generated, split):
    samples = generated.samples(split)
    assert len({sample.id for sample in samples}) == SIZE_BY_SPLIT[split]
    assert {split_of(sample.id) for sample in samples} == {split}


@pytest.mark.parametrize("split", SIZE_BY_SPLIT)
def test_a_split_is_balanced_over_templates(generated, split):
    names = [sample.template for sample in generated.samples(split)]
    counts = [names.count(name) for name in set(names)]
    assert max(counts) - min(counts) <= 1


def test_training_emits_no_sample_of_another_split_in_20000_draws(generated):
    drawn = generated.training(seed=5, num=20_000)
    assert len({sample.id for sample in drawn}) == 20_000
    assert {split_of(sample.id) for sample in drawn} == {Split.TRAIN}


def test_a_sample_carries_what_its_draft_says(generated):
    for sample in generated.samples(Split.SEARCH):
        assert sample.id == sample_id("toy", sample.prompt)
        assert sample.prompt == f"{sample.template} {sample.target}"
        assert sample.checks == {"number": int(sample.target)}


def test_one_seed_draws_the_same_training_samples_twice(generated):
    assert generated.training(7, 50) == generated.training(7, 50)


def test_two_seeds_draw_different_training_samples(generated):
    assert generated.training(7, 50) != generated.training(8, 50)


def test_the_global_generator_has_no_say():
    random.seed(1)
    first = GeneratedSamples("toy", [numbered("one")]).samples(Split.TEST)
    random.seed(2)
    assert GeneratedSamples("toy", [numbered("one")]).samples(Split.TEST) == first


def test_training_is_no_split_to_list(generated):
    with pytest.raises(ValueError, match=r"training samples come from training\(\)"):
        generated.samples(Split.TRAIN)


def test_a_template_with_too_few_variants_is_named():
    generated = GeneratedSamples("toy", [numbered("narrow", num_variants=5)])
    with pytest.raises(ValueError, match="more variants of the template 'narrow'"):
        generated.samples(Split.TEST)


def test_a_skill_without_templates_is_an_error():
    with pytest.raises(ValueError, match="templates of 'toy', but there are none"):
        GeneratedSamples("toy", []).samples(Split.TEST)
