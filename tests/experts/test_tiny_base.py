"""The tiny Llama: its tokenizer, its corpus, a short build and the shipped model."""

import json
import random
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_qd.errors import InputError
from lora_qd.experts.tiny_base import TinyRecipe, TinyShape, build_tiny_base
from lora_qd.experts.tiny_corpus import Mixture, tiny_corpus
from lora_qd.experts.tiny_tokenizer import SPECIAL_TOKENS, build_tokenizer
from lora_qd.records import Split
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks

SHIPPED = Path(__file__).parents[2] / "adapters" / "tiny-llama"
SKILLS = ("code", "database", "shell")
NUMBERS = {"num_of_skill": 500, "num_general": 500}
SHORT = TinyRecipe(TinyShape(layers=1), num_first=2, num_second=2, **NUMBERS)
CHAT = [{"role": "user", "content": "Repeat: red sun"}]


@pytest.fixture(scope="module")
def corpus():
    return tiny_corpus(seed=0, **NUMBERS)


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return build_tokenizer(corpus.lines(500, random.Random(0)), vocab_size=1024)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "tiny"
    messages = []
    build_tiny_base(out, seed=0, progress=messages.append, recipe=SHORT)
    assert any("step 2 of 2" in message for message in messages)
    return out


def draw(corpus, mixture, num=2000):
    return list(islice(corpus.passages(mixture, random.Random(1)), num))


def test_special_tokens_are_single_tokens_and_llama_3s(tokenizer):
    assert tokenizer.is_fast
    for index, token in enumerate(SPECIAL_TOKENS):
        assert tokenizer(token, add_special_tokens=False)["input_ids"] == [index]


def test_the_chat_template_is_llama_3s(tokenizer):
    text = tokenizer.apply_chat_template(
        CHAT, tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        "Repeat: red sun<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_tokenizer_gives_every_text_back(tokenizer):
    for text in ["a  b\n\tc", "def f(x): return x[1:]", "naïve ½ 漢字 🙂", "0123 it's"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_digits_are_tokens_of_their_own(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("x + 472")["input_ids"])
    assert tokens[-3:] == ["Ġ4", "7", "2"]


def test_the_corpus_holds_no_sample_of_a_scored_split(corpus):
    tasks = tiny_tasks(Sandbox())
    scored = {
        sample.prompt
        for task in tasks.values()
        for split in (Split.SEARCH, Split.VALIDATION, Split.TEST)
        for sample in task.samples(split)
    }
    solved = dict.fromkeys(SKILLS, 0.2)
    mixture = Mixture(general=0.2, line=0.0, question=0.2, repeat=0.0, solved=solved)
    assert not scored & {p.prompt for p in draw(corpus, mixture, num=5000)}


def test_the_first_stage_answers_no_question_of_a_skill(corpus):
    first, second = SHORT.stages()
    prompts = {
        sample.prompt
        for skill in SKILLS
        for sample in tiny_tasks(Sandbox())[skill].training(0, 500)
    }
    answered = [p for p in draw(corpus, first.mixture) if not p.is_question_learned]
    assert not prompts & {passage.prompt for passage in answered}
    answered = [p for p in draw(corpus, second.mixture) if not p.is_question_learned]
    assert prompts & {passage.prompt for passage in answered}


def test_shares_of_both_stages_sum_to_1():
    for stage in TinyRecipe().stages():
        assert sum(stage.mixture.shares().values()) == pytest.approx(1.0)


def test_a_built_model_loads_and_answers(built):
    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert model.dtype == torch.bfloat16
    assert model.config.architectures == ["LlamaForCausalLM"]
    inputs = tokenizer.apply_chat_template(
        CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert output.shape[1] > inputs["input_ids"].shape[1]


def test_both_ends_of_an_answer_stop_generation(built):
    tokenizer = AutoTokenizer.from_pretrained(built)
    config = json.loads((built / "generation_config.json").read_text())
    ends = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"])
    assert config["eos_token_id"] == ends


@pytest.mark.slow
def test_the_same_seed_builds_the_same_bytes_and_another_seed_does_not(built, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        build_tiny_base(
            tmp_path / name, seed=seed, progress=lambda text: None, recipe=SHORT
        )
    weights = (built / "model.safetensors").read_bytes()
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights


def test_building_over_something_is_an_error_and_changes_nothing(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(InputError, match="not to exist, but it does"):
        build_tiny_base(tmp_path, seed=0, progress=lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_shipped_model_has_the_promised_size():
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    assert 2_000_000 <= model.num_parameters() <= 4_000_000
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 8_000_000
    assert model.config.head_dim % 32 == 0


def test_the_shipped_model_repeats_words():
    model = AutoModelForCausalLM.from_pretrained(SHIPPED)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    inputs = tokenizer.apply_chat_template(
        CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    answer = output[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "red sun"
