"""Adapters on disk: any plain LoRA is read right, everything else refused by name."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lora_qd.errors import InputError, StoreError
from lora_qd.factors import LowRank
from lora_qd.store.adapters import (
    adapter_bytes,
    adapter_name,
    load_adapter,
    save_adapter,
)

MODULE = "model.layers.0.self_attn.q_proj"


def peft_directory(path, *, rank=4, tensors=None, **config):
    rng = np.random.default_rng(0)
    path.mkdir()
    defaults = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none"}
    defaults["base_model_name_or_path"] = "some/base"
    (path / "adapter_config.json").write_text(json.dumps(defaults | config))
    if tensors is None:
        tensors = {
            f"base_model.model.{MODULE}.lora_A.weight": rng.normal(size=(rank, 6)),
            f"base_model.model.{MODULE}.lora_B.weight": rng.normal(size=(10, rank)),
        }
    save_file(
        {k: torch.tensor(v, dtype=torch.float32) for k, v in tensors.items()},
        path / "adapter_model.safetensors",
    )
    return path


def dense(update):
    return update.scaling * update.B.astype(np.float64) @ update.A.astype(np.float64)


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 8 / 4),
        ({"lora_alpha": 4}, 1.0),
        ({"use_rslora": True}, 8 / 2),
        ({"alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 1}}, 0.25),
        ({"alpha_pattern": {"k_proj": 1}}, 2.0),
        ({"alpha_pattern": {r"layers\.\d\..*": 16}}, 4.0),
    ],
)
def test_the_scaling_follows_pefts_rules(tmp_path, config, scaling):
    adapter = load_adapter(peft_directory(tmp_path / "a", **config))
    assert adapter.task_vector[MODULE].scaling == scaling
    assert adapter.base == "some/base"
    assert adapter.rank == 4


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)]
)
def test_what_is_saved_is_read_back_as_the_same_deltas(tmp_path, dtype, tolerance):
    rng = np.random.default_rng(1)
    task_vector = {
        "a.q_proj": LowRank(rng.normal(size=(10, 4)), rng.normal(size=(4, 6)), 0.5),
        "a.k_proj": LowRank(rng.normal(size=(5, 2)), rng.normal(size=(2, 6)), 3.0),
    }
    save_adapter(task_vector, tmp_path / "out", base="some/base", dtype=dtype)
    read = load_adapter(tmp_path / "out").task_vector
    assert set(read) == set(task_vector)
    for module, update in task_vector.items():
        assert read[module].scaling == 1.0
        error = np.linalg.norm(dense(read[module]) - dense(update))
        assert error <= tolerance * np.linalg.norm(dense(update))


def test_the_canonical_form_has_alpha_equal_to_the_rank(tmp_path):
    update = LowRank(np.ones((10, 4)), np.ones((4, 6)), 7.0)
    save_adapter({MODULE: update}, tmp_path / "out", base="b")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["lora_alpha"] == config["r"] == 4
    assert config["use_rslora"] is False
    assert config["target_modules"] == ["q_proj"]


def test_equal_weights_have_equal_bytes_and_one_name():
    rng = np.random.default_rng(2)
    update = LowRank(rng.normal(size=(10, 4)), rng.normal(size=(4, 6)))
    other = LowRank(update.B, update.A * 1.001)
    names = [adapter_name(adapter_bytes({"m": u})) for u in (update, update, other)]
    assert names[0] == names[1] != names[2]


def test_an_existing_directory_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    update = LowRank(np.ones((3, 1)), np.ones((1, 3)))
    with pytest.raises(StoreError, match="not to exist, but it does"):
        save_adapter({"m": update}, tmp_path / "out", base="b")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type LORA .* got 'IA3'"),
        ({"use_dora": True}, "has DoRA; train it without"),
        ({"bias": "all"}, "has trained biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_alpha": "x"}, "lora_alpha to be a number, but got 'x'"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(tmp_path, config, message):
    with pytest.raises(InputError, match=message):
        load_adapter(peft_directory(tmp_path / "a", **config))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"base_model.model.embed_tokens.lora_embedding_A": np.ones((2, 2))},
            "linear layers in .* but got 'base_model.model.embed_tokens",
        ),
        (
            {f"base_model.model.{MODULE}.lora_A.weight": np.ones((2, 6))},
            f"both factors of '{MODULE}'",
        ),
        (
            {
                f"base_model.model.{MODULE}.lora_A.weight": np.ones((2, 6)),
                f"base_model.model.{MODULE}.lora_B.weight": np.ones((6, 3)),
            },
            rf"'{MODULE}': expected B .* of one rank",
        ),
        (
            {
                f"base_model.model.{MODULE}.lora_A.weight": np.full((2, 6), np.nan),
                f"base_model.model.{MODULE}.lora_B.weight": np.ones((6, 2)),
            },
            rf"'{MODULE}': expected finite factors",
        ),
        ({}, "but it is empty"),
    ],
)
def test_broken_weights_are_refused_with_the_module(tmp_path, tensors, message):
    with pytest.raises(InputError, match=message):
        load_adapter(peft_directory(tmp_path / "a", tensors=tensors))


def test_a_directory_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"adapter_config\.json is missing; pass the"):
        load_adapter(tmp_path)


def test_a_pickle_is_not_read(tmp_path):
    path = peft_directory(tmp_path / "a")
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(InputError, match="pickle files are not read"):
        load_adapter(path)


def test_truncated_weights_are_refused(tmp_path):
    path = peft_directory(tmp_path / "a")
    weights = path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"readable .*adapter_model\.safetensors"):
        load_adapter(path)


def test_a_config_that_is_no_json_is_refused(tmp_path):
    path = peft_directory(tmp_path / "a")
    (path / "adapter_config.json").write_text("{")
    with pytest.raises(InputError, match=r"readable .*adapter_config\.json"):
        load_adapter(path)
