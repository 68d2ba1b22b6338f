import pytest

from lora_qd.engines.chat import ChatFormat
from lora_qd.errors import InputError
from lora_qd.records import Message

TURNS = (
    Message("system", "Be brief."),
    Message("user", " Add 1 and 2. "),
    Message("assistant", "3"),
    Message("user", "And 3?"),
)


def test_a_conversation_is_rendered_by_the_base_s_own_template(tiny_base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    ids = ChatFormat(str(tiny_base)).encode(TURNS)
    assert tokenizer.decode(ids) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "Add 1 and 2.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        "3<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "And 3?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_special_tokens_are_single_ids(tiny_base):
    ids = ChatFormat(str(tiny_base)).encode(TURNS)
    assert ids.count(0) == 1
    assert ids.count(2) == ids.count(3) == 5
    assert ids.count(4) == 4


def test_a_base_without_chat_template_is_refused(tiny_base, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((tiny_base / name).read_bytes())
    with pytest.raises(InputError, match="expected a chat template"):
        ChatFormat(str(bare)).encode(TURNS)


def test_a_base_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a tokenizer in"):
        ChatFormat(str(tmp_path)).encode(TURNS)
