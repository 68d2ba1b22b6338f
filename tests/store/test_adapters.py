"""Adapters on disk: any plain LoRA is read right, everything else refused by name."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from lora_qd.errors import InputError, StoreError
from lora_qd.factors import LowRank
from lora_qd.store.adapters import load_adapter, save_adapter, weights_hash
from tests.store.peft_files import (
    CONFIG_NAME,
    KEY,
    MODULE,
    WEIGHTS_NAME,
    dense,
    factors,
    peft_directory,
    shard,
)


def one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 8 / 4),
        ({"lora_alpha": 4}, 1.0),
        ({"lora_alpha": 2.5}, 0.625),
        ({"use_rslora": True}, 8 / 2),
        ({"alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 1}}, 0.25),
        ({"alpha_pattern": {"k_proj": 1}}, 2.0),
        ({"alpha_pattern": {r"layers\.\d\..*": 16}}, 4.0),
        ({"alpha_pattern": {"proj": 1}}, 2.0),
        ({"alpha_pattern": {"q_proj": 2, "self_attn.q_proj": 16}}, 0.5),
        ({"r": 9, "rank_pattern": {"q_proj": 4}}, 2.0),
        ({"r": 9, "rank_pattern": {"q_proj": 4}, "use_rslora": True}, 4.0),
        ({"init_lora_weights": "gaussian", "exclude_modules": ["k_proj"]}, 2.0),
        ({"velora_config": {"num_groups": 2}, "fan_in_fan_out": True}, 2.0),
    ],
)
def test_the_scaling_follows_pefts_rules(tmp_path, config, scaling):
    adapter = load_adapter(peft_directory(tmp_path / "a", **config))
    assert adapter.task_vector[MODULE].scaling == scaling
    assert adapter.base == "some/base"
    assert adapter.rank == 4


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64]
)
def test_every_float_is_read_as_float32(tmp_path, dtype):
    tensors = factors()
    adapter = load_adapter(peft_directory(tmp_path / "a", dtype=dtype))
    update = adapter.task_vector[MODULE]
    assert update.A.dtype == update.B.dtype == np.float32
    expected = torch.tensor(tensors[f"{KEY}.lora_A.weight"]).to(dtype).float().numpy()
    np.testing.assert_array_equal(update.A, expected)


@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj"],
        ["k_proj", MODULE],
        ["self_attn.q_proj"],
        r".*layers\.\d+\.self_attn\.q_proj",
        "all-linear",
        None,
    ],
)
def test_target_modules_are_read_in_every_form(tmp_path, targets):
    adapter = load_adapter(peft_directory(tmp_path / "a", target_modules=targets))
    assert list(adapter.task_vector) == [MODULE]


@pytest.mark.parametrize("targets", [["k_proj"], ["proj"], r"q_proj", []])
def test_weights_that_peft_would_ignore_are_refused(tmp_path, targets):
    path = peft_directory(tmp_path / "a", target_modules=targets)
    with pytest.raises(InputError, match=f"weights of '{MODULE}', which PEFT would"):
        load_adapter(path)


def test_shards_are_read_like_one_file(tmp_path):
    tensors = factors() | factors(key="base_model.model.a.v_proj", seed=1)
    whole = peft_directory(tmp_path / "whole", tensors=tensors)
    parts = shard(peft_directory(tmp_path / "parts", tensors=tensors))
    expected, read = load_adapter(whole), load_adapter(parts)
    assert list(read.task_vector) == list(expected.task_vector)
    for module, update in expected.task_vector.items():
        np.testing.assert_array_equal(dense(read.task_vector[module]), dense(update))


def test_the_hash_of_weights_follows_their_files(tmp_path):
    one = peft_directory(tmp_path / "one")
    content = (one / WEIGHTS_NAME).read_bytes()
    assert weights_hash(one) == hashlib.sha256(content).hexdigest()
    parts = shard(peft_directory(tmp_path / "parts"))
    again = shard(peft_directory(tmp_path / "again"))
    other = shard(peft_directory(tmp_path / "other", tensors=factors(seed=3)))
    assert weights_hash(parts) == weights_hash(again) != weights_hash(other)


def test_an_existing_directory_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    update = LowRank(np.ones((3, 1)), np.ones((1, 3)))
    with pytest.raises(StoreError, match="not to exist, but it does"):
        save_adapter({"m": update}, tmp_path / "out", base="b")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type LORA .* got 'IA3'; only LoRA"),
        ({"peft_type": None}, "peft_type LORA .* got None"),
        ({"use_dora": True}, "has DoRA; train it without"),
        ({"bias": "all"}, "has trained biases; train it without"),
        ({"lora_bias": True}, r"a bias in B \(lora_bias\)"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save.*train it without"),
        ({"trainable_token_indices": [1]}, "trained token embeddings"),
        ({"target_parameters": ["experts.w"]}, "adapted parameters"),
        ({"layer_replication": [[0, 4]]}, "layer replication"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"arrow_config": {}, "kasa_config": {"beta": 1}}, "it has KaSA; train"),
        ({"monteclora_config": {"x": 1}}, "MonteCLoRA"),
        ({"use_dora": True, "bias": "lora_only"}, "has DoRA, trained biases;"),
        ({"lora_alpha": "x"}, "lora_alpha to be a number, but got 'x'; restore"),
        ({"lora_alpha": float("nan")}, "lora_alpha to be a number, but got nan"),
        ({"lora_alpha": 10**400}, "lora_alpha to be a number, but got 1000"),
        ({"lora_alpha": None}, "lora_alpha to be a number, but got None"),
        ({"r": 0}, "r to be a positive integer, but got 0"),
        ({"r": 4.0}, "r to be a positive integer, but got 4.0"),
        ({"use_rslora": "no"}, "use_rslora to be true or false, but got 'no'"),
        ({"rank_pattern": {"q": -1}}, "rank_pattern of 'q' to be a positive"),
        ({"rank_pattern": [4]}, r"rank_pattern to be an object, but got \[4\]"),
        ({"alpha_pattern": {"q(": 1}}, "alpha_pattern to hold regular expressions"),
        ({"target_modules": "q("}, "target_modules to hold regular expressions"),
        ({"target_modules": 3}, "target_modules to be names or a pattern, but got 3"),
        ({"r": 8}, f"expected '{MODULE}' in .* rank 8.* rank 4; restore"),
        ({"rank_pattern": {"q_proj": 2}}, "to have rank 2.* have rank 4"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(tmp_path, config, message):
    with pytest.raises(InputError, match=message) as error:
        load_adapter(peft_directory(tmp_path / "a", **config))
    assert one_line(error)


@pytest.mark.parametrize(
    ("init", "remedy"),
    [
        ("pissa", "path_initial_model_for_weight_conversion"),
        ("pissa_niter_16", "path_initial_model_for_weight_conversion"),
        ("olora", "path_initial_model_for_weight_conversion"),
        ("corda", "path_initial_model_for_weight_conversion"),
        ("lora_ga", "path_initial_model_for_weight_conversion"),
        ("loftq", "train it with init_lora_weights: true, or set"),
        ("from_the_future", "train it with init_lora_weights: true, or set"),
    ],
)
def test_an_adapter_of_a_changed_base_is_refused(tmp_path, init, remedy):
    path = peft_directory(tmp_path / "a", init_lora_weights=init)
    with pytest.raises(InputError, match=f"weights: {init} changed .*{remedy}"):
        load_adapter(path)


def test_reading_and_writing_imports_no_large_library(tmp_path):
    """Only torch and safetensors, and these not before they are needed."""
    peft_directory(tmp_path / "a")
    code = (
        "import sys, pathlib\n"
        "from lora_qd.store import adapters, hub_adapters\n"
        "assert 'safetensors' not in sys.modules\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "read = adapters.load_adapter(hub_adapters.fetch_adapter(str(path / 'a')))\n"
        "adapters.save_adapter(read.task_vector, path / 'b', base='b')\n"
        "large = {'transformers', 'peft', 'huggingface_hub', 'vllm', 'scipy'}\n"
        "print(sorted(large & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
    assert json.loads((tmp_path / "b" / CONFIG_NAME).read_text())["r"] == 4
