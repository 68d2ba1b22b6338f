import json
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter, ValidationError

from lora_qd.errors import InputError
from lora_qd.experts.config import (
    DataConfig,
    ExpertConfig,
    FileData,
    HubData,
    SkillData,
    TrainingConfig,
)
from lora_qd.experts.data import example, load_examples
from lora_qd.experts.fingerprint import base_hash, config_hash, data_hash
from lora_qd.experts.tokens import IGNORED, tokenise
from lora_qd.records import Message, Sample
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.tiny import tiny_tasks


@dataclass(frozen=True)
class Counting:
    """A skill whose questions are numbers; it has ten of them."""

    def training(self, seed, num):
        samples = [Sample(f"{i}", f"after {i}?", f"{i + 1}") for i in range(10)]
        return (samples[seed:] + samples[:seed])[:num]


def load(data, num=None, seed=0):
    return load_examples(data, num=num, seed=seed, skills={"count": Counting()})


def write_lines(path, *lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


PAIRS = [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(8)]


def test_a_skill_gives_the_samples_of_its_training_generator():
    assert load(SkillData(skill="count"), num=2, seed=3) == [
        example("after 3?", "4"),
        example("after 4?", "5"),
    ]


def test_a_file_of_pairs_gives_all_of_them_in_an_order_drawn_by_the_seed(tmp_path):
    data = FileData(file=write_lines(tmp_path / "pairs.jsonl", *PAIRS))
    first, again, other = load(data), load(data), load(data, seed=1)
    assert first == again
    assert first != other
    assert set(first) == set(other) == {example(f"q{i}", f"a{i}") for i in range(8)}


def test_a_smaller_number_takes_a_part_of_the_examples(tmp_path):
    data = FileData(file=write_lines(tmp_path / "pairs.jsonl", *PAIRS))
    assert load(data, num=3) == load(data)[:3]


def test_blank_lines_in_a_file_do_not_count(tmp_path):
    lines = [PAIRS[0], "", "   ", PAIRS[1], ""]
    assert len(load(FileData(file=write_lines(tmp_path / "p.jsonl", *lines)))) == 2


def test_the_fields_have_the_names_that_the_config_gives(tmp_path):
    path = write_lines(tmp_path / "p.jsonl", {"problem": "q", "solution": "a"})
    data = FileData(file=path, prompt_field="problem", completion_field="solution")
    assert load(data) == [example("q", "a")]


@pytest.mark.parametrize(
    ("roles", "names"),
    [
        (("user", "assistant"), ("role", "content")),
        (("human", "gpt"), ("from", "value")),
    ],
)
def test_conversations_come_with_either_common_naming(tmp_path, roles, names):
    turns = [
        dict(zip(names, pair, strict=True)) for pair in zip(roles, "qa", strict=True)
    ]
    path = write_lines(tmp_path / "p.jsonl", {"talk": turns})
    data = FileData(file=path, messages_field="talk")
    assert load(data) == [example("q", "a")]


def test_pairs_may_be_conversations_themselves(tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    assert load(FileData(file=write_lines(tmp_path / "p.jsonl", row))) == [
        example("q", "a")
    ]


def test_turns_after_the_last_answer_are_left_out(tmp_path):
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "thanks"},
    ]
    path = write_lines(tmp_path / "p.jsonl", {"messages": turns})
    assert load(FileData(file=path)) == [example("q", "a")]


def test_only_rows_that_match_all_patterns_count(tmp_path):
    rows = [row | {"lang": lang} for row, lang in zip(PAIRS, "ab" * 4, strict=True)]
    path = write_lines(tmp_path / "p.jsonl", *rows)
    data = FileData(file=path, where={"lang": "^a$", "prompt": "q[0-3]"})
    assert set(load(data)) == {example("q0", "a0"), example("q2", "a2")}


def test_a_pattern_may_look_into_a_conversation(tmp_path):
    rows = [
        {"messages": [{"role": r, "content": c} for r, c in turns]}
        for turns in (
            [("user", "q"), ("assistant", "```bash ls```")],
            [("user", "q"), ("assistant", "```sql SELECT```")],
        )
    ]
    path = write_lines(tmp_path / "p.jsonl", *rows)
    data = FileData(file=path, where={"messages": "```sql"})
    assert load(data) == [example("q", "```sql SELECT```")]


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_data_set_directory_loads_as_one_from_the_hub_would(
    tmp_path, monkeypatch, kind
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    directory = tmp_path / "pairs"
    directory.mkdir()
    rows = datasets.Dataset.from_list(PAIRS)
    if kind == "parquet":
        rows.to_parquet(directory / "train-00000.parquet")
    else:
        rows.to_json(directory / "train.jsonl")
    data = HubData(hub=str(directory))
    assert set(load(data)) == {example(f"q{i}", f"a{i}") for i in range(8)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected examples in .*bad.jsonl, but there are none"),
        (["", "  "], "expected examples in .*, but there are none"),
        (['{"prompt": "q"'], r"bad.jsonl, line 1: expected one JSON object, but got"),
        ([PAIRS[0], "[1]"], r"line 2: expected one JSON object, but got list"),
        ([{"prompt": "q"}], r"line 1: expected a field 'completion', but the fields"),
        ([{}], "expected a field 'prompt', but the fields are none"),
        ([{"prompt": "q", "completion": 3}], "text in 'completion', but got int"),
        ([{"prompt": " ", "completion": "a"}], "'prompt', but got an empty text"),
        ([{"prompt": None, "completion": "a"}], "'prompt', but got NoneType"),
        ([{"messages": "hello"}], "a list of turns in 'messages', but got str"),
        ([{"messages": [3]}], "expected turns with texts for role and content"),
        ([{"messages": [{"role": "user"}]}], "expected turns with texts for role"),
        ([{"messages": [{"role": "user", "content": "q"}]}], "a turn of the assistant"),
        ([{"messages": []}], "a turn of the assistant, but there is none"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_line(tmp_path, lines, message):
    path = write_lines(tmp_path / "bad.jsonl", *lines)
    with pytest.raises(InputError, match=message):
        load(FileData(file=path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a JSONL file .* but got: No such file"):
        load(FileData(file=tmp_path / "none.jsonl"))


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "image.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a JSONL file in UTF-8 at .*image.jsonl"):
        load(FileData(file=path))


def test_patterns_that_match_no_row_are_an_error(tmp_path):
    path = write_lines(tmp_path / "p.jsonl", *PAIRS)
    with pytest.raises(InputError, match=r"where .*zzz.*but there are none"):
        load(FileData(file=path, where={"prompt": "zzz"}))


def test_asking_for_more_examples_than_there_are_is_an_error(tmp_path):
    path = write_lines(tmp_path / "p.jsonl", *PAIRS)
    with pytest.raises(InputError, match=r"at least 9 examples .* but there are 8"):
        load(FileData(file=path), num=9)


def test_asking_a_generator_for_more_than_it_has_is_an_error():
    with pytest.raises(InputError, match=r"11 training examples .* gave 10"):
        load(SkillData(skill="count"), num=11)


def test_an_unknown_skill_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InputError, match="one of count, but got 'cook'"):
        load(SkillData(skill="cook"), num=2)


def test_a_data_set_without_the_split_is_an_error(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_lines(tmp_path / "train.jsonl", *PAIRS)
    with pytest.raises(
        InputError, match=r"the data set .* with split 'night', but got"
    ):
        load(HubData(hub=str(tmp_path), split="night"))


def test_a_data_set_that_does_not_exist_is_an_error(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="expected the data set '/nowhere/none'"):
        load(HubData(hub="/nowhere/none"))


def test_the_loss_counts_the_answers_and_their_end_only(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    turns = [("user", "the q"), ("assistant", "a é"), ("user", "r"), ("assistant", "b")]
    talk = type(example("", ""))(tuple(Message(*turn) for turn in turns))
    [tokens] = tokenise([talk], tokenizer, max_length=100)
    learned = [token for token in tokens.labels if token != IGNORED]
    assert tokenizer.decode(learned) == "a é<|eot_id|>b<|eot_id|>"
    assert len(tokens.labels) == len(tokens.ids)


def test_the_model_reads_exactly_what_the_chat_template_renders(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    [tokens] = tokenise([example("the q", "the a")], tokenizer, max_length=100)
    turns = [
        {"role": "user", "content": "the q"},
        {"role": "assistant", "content": "the a"},
    ]
    rendered = tokenizer.apply_chat_template(turns, return_dict=True)
    assert tokens.ids == rendered["input_ids"]
    context = tokenizer.apply_chat_template(
        turns[:1], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert tokens.ids[: len(context)] == context
    assert set(tokens.labels[: len(context)]) == {IGNORED}
    assert tokens.labels[len(context) :] == tokens.ids[len(context) :]


def test_examples_longer_than_the_limit_are_left_out(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = [example("q", "a"), example("q " * 99, "a")]
    assert len(tokenise(examples, tokenizer, max_length=50)) == 1


def test_a_template_that_renders_history_differently_is_refused(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(InputError, match="expected the chat template"):
        tokenise([example("q", "a")], tokenizer, max_length=50)


def test_a_tokenizer_without_a_chat_template_is_refused(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match=r"with a chat template .* instruct model"):
        tokenise([example("q", "a")], tokenizer, max_length=50)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"skill": "code"}, SkillData),
        ({"file": "x.jsonl"}, FileData),
        ({"hub": "a/b", "split": "train"}, HubData),
    ],
)
def test_the_key_says_which_kind_of_data_it_is(data, kind):
    assert isinstance(TypeAdapter(DataConfig).validate_python(data), kind)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "x"}, "expected one of the keys skill, file or hub"),
        ({"file": "x.jsonl", "splt": "train"}, "Extra inputs are not permitted"),
        ({"file": "x.jsonl", "where": {"a": "("}}, "expected a regular expression"),
    ],
)
def test_a_wrong_data_section_is_refused(data, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(DataConfig).validate_python(data)


def test_a_generator_needs_a_number_of_examples():
    data = ExpertConfig.model_validate({"name": "x", "data": {"skill": "code"}}).data
    with pytest.raises(InputError, match="expected num_examples for the skill 'code'"):
        load_examples(data, num=None, seed=1, skills=tiny_tasks(Sandbox()))


def test_an_expert_overrides_the_shared_settings_it_names():
    expert = ExpertConfig.model_validate(
        {"name": "x", "data": {"file": "x.jsonl"}, "learning_rate": 1e-3}
    )
    training = expert.training(TrainingConfig(epochs=3, learning_rate=1e-4))
    assert training == TrainingConfig(epochs=3, learning_rate=1e-3)


def test_micro_batches_must_fill_a_batch():
    with pytest.raises(ValidationError, match="micro_batch_size to divide batch_size"):
        TrainingConfig(batch_size=8, micro_batch_size=3)


@pytest.mark.parametrize("model", [TrainingConfig, ExpertConfig, FileData, HubData])
def test_every_setting_is_described(model):
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        ({"learning_rate": 1.0}, True),
        ({"seed": 1}, True),
        ({"quantization": "nf4"}, True),
        ({"device": "cpu"}, False),
        ({"micro_batch_size": 4}, False),
        ({"gradient_checkpointing": True}, False),
    ],
)
def test_the_hash_covers_what_decides_the_weights(change, is_other):
    plain, changed = TrainingConfig(), TrainingConfig(**change)
    hashes = {config_hash(t, base_hash="b", data_hash="d") for t in (plain, changed)}
    assert (len(hashes) == 2) == is_other


def test_the_hash_covers_base_and_data():
    training = TrainingConfig()
    assert (
        len(
            {
                config_hash(training, base_hash=b, data_hash=d)
                for b in "12"
                for d in "12"
            }
        )
        == 4
    )


def test_the_hash_of_data_tells_where_texts_begin_and_end():
    assert data_hash([example("ab", "c")]) != data_hash([example("a", "bc")])
    assert data_hash([example("a", "b"), example("c", "d")]) != data_hash(
        [example("c", "d"), example("a", "b")]
    )


def test_the_hash_of_a_base_follows_its_files_and_not_its_place(base, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    assert base_hash(str(copy)) == base_hash(base)
    (copy / "README.md").write_text("words")
    assert base_hash(str(copy)) == base_hash(base)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert base_hash(str(copy)) != base_hash(base)


def test_a_directory_without_a_model_is_no_base(tmp_path):
    with pytest.raises(InputError, match=r"but config.json is missing"):
        base_hash(str(tmp_path))


def test_a_base_that_does_not_exist_is_an_error():
    with pytest.raises(InputError, match=r"expected a base model at './nowhere/none'"):
        base_hash("./nowhere/none")
