"""PEFT itself as the judge: it means by an adapter what we read, and loads ours."""

import re

import numpy as np
import pytest
import torch

from lora_qd.errors import InputError
from lora_qd.factors import LowRank
from lora_qd.store.adapters import load_adapter, save_adapter
from tests.store.peft_files import dense

peft = pytest.importorskip("peft")

NUM_LAYERS = 12  # so that layers.1 and layers.11 both exist


def tiny_llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config)


def tiny_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=32, n_positions=8, n_embd=8, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config)


def with_adapter(base, **config):
    """Return a PEFT model whose factors are all noise."""
    lora = peft.LoraConfig(task_type="CAUSAL_LM", **config)
    model = peft.get_peft_model(base, lora)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter)
    return model


def pefts_deltas(model, adapter="default"):
    """Return PEFT's own delta of every module, ``(d_out, d_in)`` in float64."""
    from peft.tuners.lora import LoraLayer

    model = model.double().requires_grad_(False)
    return {
        name.removeprefix("base_model.model."): (
            module.get_delta_weight(adapter).numpy().T
            if getattr(module, "fan_in_fan_out", False)
            else module.get_delta_weight(adapter).numpy()
        )
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def assert_same_deltas(task_vector, expected, tolerance=1e-6):
    assert set(task_vector) == set(expected)
    for module, delta in expected.items():
        error = np.linalg.norm(dense(task_vector[module]) - delta)
        assert error <= tolerance * np.linalg.norm(delta), module


@pytest.mark.parametrize(
    "config",
    [
        {"r": 4, "lora_alpha": 7},
        {"r": 4, "lora_alpha": 7, "use_rslora": True},
        {"r": 3, "target_modules": ["q_proj", "layers.1.mlp.up_proj"]},
        {"r": 3, "target_modules": r".*\.(1|11)\.self_attn\.[qk]_proj"},
        {"r": 2, "target_modules": "all-linear", "exclude_modules": ["down_proj"]},
        {"r": 2, "target_modules": ["q_proj"], "layers_to_transform": [1, 11]},
        {"r": 2, "target_modules": ["v_proj", "lm_head"], "lora_alpha": 5},
        {"r": 2, "init_lora_weights": "orthogonal", "target_modules": ["q_proj"]},
        {
            "r": 4,
            "lora_alpha": 6,
            "target_modules": ["q_proj", "k_proj", "up_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "k_proj": 5, "q_proj": 3},
            "alpha_pattern": {r".*\.1\d\..*": 9, "^model.layers.0.mlp.up_proj": 1},
        },
        {
            "r": 4,
            "use_rslora": True,
            "target_modules": ["q_proj", "k_proj"],
            "rank_pattern": {"k_proj": 2, r"layers\.[1-3]\..*": 7},
            "alpha_pattern": {".*proj": 9, r"layers.1.self_attn.k_proj": 3},
        },
    ],
)
def test_an_adapter_of_peft_is_read_as_peft_means_it(tmp_path, config):
    model = with_adapter(tiny_llama(), **config)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert_same_deltas(load_adapter(tmp_path).task_vector, pefts_deltas(model))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
def test_the_full_weights_that_peft_saves_along_are_refused(tmp_path):
    model = with_adapter(tiny_llama(), target_modules=["v_proj", "lm_head"])
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="full weight of the base.*embedding_layers"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_was_saved(tmp_path, dtype):
    model = with_adapter(tiny_llama(), r=4, lora_alpha=7, use_rslora=True).to(dtype)
    model.save_pretrained(tmp_path)
    assert_same_deltas(load_adapter(tmp_path).task_vector, pefts_deltas(model))


def test_factors_do_not_depend_on_the_order_of_the_bases_dimensions(tmp_path):
    model = with_adapter(
        tiny_gpt2(), r=3, lora_alpha=5, target_modules=["c_attn"], fan_in_fan_out=True
    )
    model.save_pretrained(tmp_path)
    assert_same_deltas(load_adapter(tmp_path).task_vector, pefts_deltas(model))


@pytest.mark.parametrize(
    ("init", "is_refused"),
    [
        ("pissa", True),
        ("pissa_niter_2", True),
        ("olora", True),
        ("gaussian", False),
        ("orthogonal", False),
        ("mica", False),
    ],
)
def test_refused_are_the_initialisations_that_change_the_base(
    tmp_path, init, is_refused
):
    with_adapter(
        tiny_llama(), r=2, target_modules=["q_proj"], init_lora_weights=init
    ).save_pretrained(tmp_path)
    base = tiny_llama()
    layer = base.model.layers[0].self_attn.q_proj
    before = layer.weight.clone()
    peft.PeftModel.from_pretrained(base, tmp_path)
    assert torch.equal(layer.weight, before) is not is_refused
    if is_refused:
        with pytest.raises(InputError, match=f"init_lora_weights: {init} changed"):
            load_adapter(tmp_path)
    else:
        assert load_adapter(tmp_path).rank == 2


def noise(shapes, ranks):
    rng = np.random.default_rng(0)
    return {
        module: LowRank(
            rng.normal(size=(shapes[module][0], rank)).astype(np.float32),
            rng.normal(size=(rank, shapes[module][1])).astype(np.float32),
            scaling=float(rng.uniform(0.1, 5.0)),
        )
        for module, rank in ranks.items()
    }


def linear_shapes(model):
    return {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def in_every_module(shapes):
    """Return a rank for each module, such that no pattern may match a neighbour."""
    modules = [module for module in shapes if module != "lm_head"]
    return {module: 1 + index % 7 for index, module in enumerate(modules)}


def in_some_layers(shapes):
    return {m: 2 for m in shapes if re.search(r"layers\.(1|3)\..*(q|up)_proj", m)}


def in_layers_1_and_11(shapes):
    found = {m: re.search(r"layers\.(1|11)\.self_attn", m) for m in shapes}
    return {m: int(match[1]) for m, match in found.items() if match}


def in_one_kind(shapes):
    return {m: 4 for m in shapes if m.endswith("q_proj")}


@pytest.mark.parametrize("knows_base", [False, True])
@pytest.mark.parametrize(
    "choose", [in_every_module, in_some_layers, in_layers_1_and_11, in_one_kind]
)
def test_peft_loads_what_is_written_with_the_same_deltas(tmp_path, choose, knows_base):
    base = tiny_llama()
    shapes = linear_shapes(base)
    task_vector = noise(shapes, choose(shapes))
    modules = shapes if knows_base else None
    save_adapter(task_vector, tmp_path / "out", base="b", base_modules=modules)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "out")
    result = model.load_adapter(tmp_path / "out", adapter_name="again")
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert_same_deltas(task_vector, pefts_deltas(model, "again"))


def test_what_is_written_survives_peft(tmp_path):
    base = tiny_llama()
    shapes = linear_shapes(base)
    task_vector = noise(shapes, in_every_module(shapes))
    save_adapter(task_vector, tmp_path / "ours", base="b")
    model = peft.PeftModel.from_pretrained(base, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    deltas = {module: dense(each) for module, each in task_vector.items()}
    assert_same_deltas(load_adapter(tmp_path / "theirs").task_vector, deltas)
