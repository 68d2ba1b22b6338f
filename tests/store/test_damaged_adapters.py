"""Damaged adapters: each is refused in one line that names the file or the tensor."""

import numpy as np
import pytest
import torch

from lora_qd.errors import InputError
from lora_qd.store.adapters import load_adapter
from tests.store.peft_files import (
    CONFIG_NAME,
    INDEX_NAME,
    KEY,
    MODULE,
    WEIGHTS_NAME,
    factors,
    peft_directory,
    save,
    shard,
)

SHARD = "adapter_model-00001-of-00002.safetensors"


def one_line(error):
    return "\n" not in str(error.value)


def broken(**changes):
    """Return the tensors of an adapter with one factor replaced, by its letter."""
    named = {f"{KEY}.lora_{f}.weight": tensor for f, tensor in changes.items()}
    return factors() | named


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"base_model.model.embed_tokens.lora_embedding_A": np.ones((2, 2))},
            "linear layers in .* but 'base_model.model.embed_tokens.*adapts an emb",
        ),
        (
            factors() | {"base_model.model.lm_head.weight": np.ones((9, 6))},
            "lm_head.weight' is a full weight of the base; .*save_embedding_layers",
        ),
        (
            factors() | {f"{KEY}.lora_magnitude_vector": np.ones(10)},
            "is DoRA's magnitude; train without DoRA",
        ),
        (
            factors() | {"base_model.model.x.modules_to_save.weight": np.ones((2, 2))},
            "is a fully trained module; train without",
        ),
        (factors() | {f"{KEY}.lora_B.bias": np.ones(10)}, "is a bias of LoRA"),
        (factors(key=f"{KEY}.base_layer"), "adapts a parameter"),
        (
            {f"{KEY}.lora_A.default.weight": np.ones((4, 6))},
            "names its adapter; save it with PEFT",
        ),
        (factors() | {f"{KEY}.lora_diag": np.ones(4)}, "a variant of LoRA"),
        (factors(key=MODULE), "does not begin with base_model.model.; save"),
        ({"x": np.ones((2, 2))}, "'x' is none; save the adapter with PEFT"),
        ({f"{KEY}.lora_A.weight": np.ones((4, 6))}, f"both factors of '{MODULE}'"),
        (broken(A=np.ones((2, 6)), B=np.ones((6, 3))), rf"'{MODULE}': .* of one rank"),
        (broken(A=np.full((4, 6), np.nan)), rf"'{MODULE}': expected finite factors"),
        (broken(B=np.full((10, 4), np.inf)), rf"'{MODULE}': expected finite factors"),
        (broken(A=np.ones((4, 6, 1, 1))), r"shape \(4, 6, 1, 1\); train without conv"),
        (broken(B=np.ones((0, 4))), r"lora_B.weight' has shape \(0, 4\) and is empty"),
        ({}, "but it is empty"),
    ],
)
def test_broken_weights_are_refused_with_their_name(tmp_path, tensors, message):
    with pytest.raises(InputError, match=message) as error:
        load_adapter(peft_directory(tmp_path / "a", tensors=tensors))
    assert one_line(error)


def test_integers_are_refused(tmp_path):
    path = peft_directory(tmp_path / "a", dtype=torch.int8)
    with pytest.raises(InputError, match=r"float32, .* but '.*' is I8; save it in"):
        load_adapter(path)


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "adapter.pt", "adapter_model.pth", "x.ckpt"]
)
def test_a_pickle_is_not_read(tmp_path, name):
    path = peft_directory(tmp_path / "a")
    (path / WEIGHTS_NAME).rename(path / name)
    with pytest.raises(InputError, match=f"found {name}; pickle files are not read"):
        load_adapter(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"\0\0\0\0", "header"),
        (b"\xff" * 64, "header"),
        (b"\x10\0\0\0\0\0\0\0not json at all!", "header"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    ],
)
def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path, content, reason):
    path = peft_directory(tmp_path / "a")
    (path / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(
        InputError, match=rf"readable .*{WEIGHTS_NAME}.*{reason}.*; "
    ) as e:
        load_adapter(path)
    assert one_line(e)


def test_truncated_weights_are_refused(tmp_path):
    path = peft_directory(tmp_path / "a")
    content = (path / WEIGHTS_NAME).read_bytes()
    for end in range(0, len(content), 23):
        (path / WEIGHTS_NAME).write_bytes(content[:end])
        with pytest.raises(InputError, match=rf"readable .*{WEIGHTS_NAME}"):
            load_adapter(path)


def test_missing_weights_are_named(tmp_path):
    path = peft_directory(tmp_path / "a")
    (path / WEIGHTS_NAME).unlink()
    with pytest.raises(InputError, match=f"expected {WEIGHTS_NAME} in .* is missing"):
        load_adapter(path)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[" * 100_000, b"", b'{"r": 1e}']
)
def test_a_config_that_is_no_json_is_refused(tmp_path, content):
    path = peft_directory(tmp_path / "a")
    (path / CONFIG_NAME).write_bytes(content)
    with pytest.raises(InputError, match=r"readable .*adapter_config\.json") as error:
        load_adapter(path)
    assert one_line(error)


def test_a_config_that_is_no_object_is_refused(tmp_path):
    path = peft_directory(tmp_path / "a")
    (path / CONFIG_NAME).write_text("[1]")
    with pytest.raises(InputError, match="JSON object in .*, but got list; copy"):
        load_adapter(path)


def test_a_directory_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"adapter_config\.json is missing; pass the"):
        load_adapter(tmp_path)


def drop_index(path):
    (path / INDEX_NAME).unlink()


def drop_shard(path):
    (path / SHARD).unlink()


def cut_shard(path):
    (path / SHARD).write_bytes((path / SHARD).read_bytes()[:-8])


def add_tensor(path):
    save(factors(key="base_model.model.x"), path / SHARD)


def garble_index(path):
    (path / INDEX_NAME).write_text("{")


def empty_index(path):
    (path / INDEX_NAME).write_text('{"weight_map": {}}')


def list_index(path):
    (path / INDEX_NAME).write_text('{"weight_map": ["a"]}')


def leave_directory(path):
    text = (path / INDEX_NAME).read_text().replace(SHARD, f"../parts/{SHARD}")
    (path / INDEX_NAME).write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_index, rf"expected {INDEX_NAME} beside {SHARD}"),
        (drop_shard, rf"{SHARD}, which {INDEX_NAME} names, but it is missing"),
        (cut_shard, rf"readable .*{SHARD}"),
        (add_tensor, r"differ by 'base_model.model"),
        (garble_index, rf"readable .*{INDEX_NAME}"),
        (empty_index, "but it is empty"),
        (list_index, "an object weight_map in .*, but it has none"),
        (leave_directory, r"names of safetensors files .* got '\.\./parts"),
    ],
)
def test_damaged_shards_are_refused_with_the_file(tmp_path, damage, message):
    path = shard(peft_directory(tmp_path / "parts"))
    damage(path)
    with pytest.raises(InputError, match=message) as error:
        load_adapter(path)
    assert one_line(error)
