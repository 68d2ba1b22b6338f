"""The canonical form: equal updates, equal bytes, and the same deltas when read."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_qd.errors import InputError
from lora_qd.factors import LowRank
from lora_qd.store.adapters import (
    adapter_bytes,
    adapter_config,
    adapter_name,
    load_adapter,
    save_adapter,
)
from tests.store.peft_files import CONFIG_NAME, MODULE, dense

TOLERANCES = {"float32": 2e-7, "bfloat16": 8e-3, "float16": 1e-3}
"""Of B, A and their product: twice the rounding of the dtype."""


def update(seed=0, *, d_out=10, d_in=6, rank=4, scaling=1.0):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(d_out, rank)).astype(np.float32)
    return LowRank(B, rng.normal(size=(rank, d_in)).astype(np.float32), scaling)


def config_of(task_vector, **options):
    return json.loads(adapter_config(task_vector, "some/base", **options))


sizes = st.integers(1, 12)
task_vectors = st.dictionaries(
    st.sampled_from([f"layers.{i}.{m}" for i in (0, 1, 11) for m in ("q", "up-x")]),
    st.builds(
        update,
        st.integers(0, 999),
        d_out=sizes,
        d_in=sizes,
        rank=sizes,
        scaling=st.floats(0.01, 100.0),
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(task_vectors, st.sampled_from(sorted(TOLERANCES)))
def test_what_is_saved_is_read_back_as_the_same_deltas(task_vector, dtype):
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "out"
        save_adapter(task_vector, path, base="some/base", dtype=dtype)
        read = load_adapter(path)
    assert set(read.task_vector) == set(task_vector)
    assert read.rank == max(each.rank for each in task_vector.values())
    assert read.base == "some/base"
    for module, written in task_vector.items():
        assert read.task_vector[module].scaling == 1.0
        error = np.abs(dense(read.task_vector[module]) - dense(written))
        bound = written.scaling * np.abs(written.B) @ np.abs(written.A)
        assert (error <= TOLERANCES[dtype] * bound).all()


@settings(max_examples=30, deadline=None)
@given(task_vectors, st.sampled_from(sorted(TOLERANCES)), st.randoms())
def test_equal_updates_have_equal_bytes_in_any_order(task_vector, dtype, random):
    modules = list(task_vector)
    random.shuffle(modules)
    other = {module: in_other_memory(task_vector[module]) for module in modules}
    assert adapter_bytes(other, dtype=dtype) == adapter_bytes(task_vector, dtype=dtype)
    assert adapter_config(other, "b") == adapter_config(task_vector, "b")


def in_other_memory(update):
    """Return an equal update, transposed in memory, and read-only."""
    B, A = np.asfortranarray(update.B), np.asfortranarray(update.A)
    A.flags.writeable = B.flags.writeable = False
    return LowRank(B, A, update.scaling)


@pytest.mark.parametrize("dtype", sorted(TOLERANCES))
def test_the_bytes_are_a_safetensors_file(dtype):
    written = {"b.k": update(1, scaling=0.5), "a": update(2, rank=2)}
    tensors = safetensors.torch.load(adapter_bytes(written, dtype=dtype))
    assert set(tensors) == {
        f"base_model.model.{module}.lora_{factor}.weight"
        for module in ("a", "b.k")
        for factor in ("A", "B")
    }
    B = tensors["base_model.model.b.k.lora_B.weight"]
    expected = torch.tensor(written["b.k"].B * np.float32(0.5))
    torch.testing.assert_close(B, expected.to(getattr(torch, dtype)), rtol=0, atol=0)


def test_a_name_is_a_matter_of_content_alone():
    values = np.arange(6, dtype=np.float32)
    fixed = LowRank(values.reshape(3, 2), values.reshape(2, 3), 0.5)
    folded = LowRank(fixed.B * np.float32(0.5), fixed.A)
    other = LowRank(fixed.B, fixed.A * np.float32(1.001))
    names = [adapter_name(adapter_bytes({"m": u})) for u in (fixed, folded, other)]
    assert names[0] == names[1] != names[2]
    assert names[0] == "8b9ce536bbc5a18d15bd327e2eae4f6f"  # names must outlive versions
    assert adapter_name(adapter_bytes({"n": fixed})) != names[0]


def test_an_array_of_doubles_is_rounded_once():
    B, A = np.full((2, 1), 1 / 3), np.full((1, 2), 0.1)
    tensors = safetensors.torch.load(adapter_bytes({"m": LowRank(B, A, 3.0)}))
    assert tensors["base_model.model.m.lora_B.weight"].tolist() == [[1.0], [1.0]]


def test_the_canonical_form_has_alpha_equal_to_the_rank():
    config = config_of({MODULE: update(scaling=7.0), "k_proj": update(rank=2)})
    assert config["lora_alpha"] == config["r"] == 4
    assert config["alpha_pattern"] == config["rank_pattern"] == {"^(?:k_proj)": 2}
    assert config["use_rslora"] is False


def test_a_module_of_rank_zero_is_left_out():
    empty = LowRank(np.zeros((10, 0)), np.zeros((0, 6)))
    written = {"a": update(), "b": empty}
    assert adapter_bytes(written) == adapter_bytes({"a": update()})
    assert adapter_config(written, "b") == adapter_config({"a": update()}, "b")
    with pytest.raises(ValueError, match="update of rank 1 or more, but there is none"):
        adapter_bytes({"b": empty})


@pytest.mark.parametrize(
    ("adapted", "base", "targets"),
    [
        (["l.0.q", "l.1.q"], ["l.0.q", "l.1.q", "l.1.k"], ["q"]),
        (["l.0.q"], ["l.0.q", "l.1.q"], ["l.0.q"]),
        (["l.0.q", "l.1.k"], ["l.0.q", "l.0.k", "l.1.k"], ["l.0.q", "l.1.k"]),
        (["q"], ["q", "l.xq"], ["q"]),
        (["l.0.q", "l.1.q"], None, ["l.0.q", "l.1.q"]),
    ],
)
def test_target_modules_mean_the_adapted_modules_only(adapted, base, targets):
    config = config_of({module: update() for module in adapted}, base_modules=base)
    assert config["target_modules"] == targets


def test_a_directory_holds_the_config_and_the_weights(tmp_path):
    written = {"l.0.q": update()}
    save_adapter(written, tmp_path / "out", base="b", base_modules=["l.0.q", "x"])
    config = (tmp_path / "out" / CONFIG_NAME).read_bytes()
    assert config == adapter_config(written, "b", base_modules=["l.0.q", "x"])
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("dtype", "size", "scaling"),
    [
        ("float16", 65520.0, 1.0),
        ("float16", -40.0, 1e4),
        ("bfloat16", 3.4e38, 1.0),
        ("float32", 1e30, 1e30),
        ("float32", -1e30, 1e30),
    ],
)
def test_what_overflows_is_named_and_not_written(tmp_path, dtype, size, scaling):
    large = LowRank(np.full((2, 1), size, np.float32), np.ones((1, 2)), scaling)
    written = {"a": update(), MODULE: large}
    with pytest.raises(InputError, match=f"'{MODULE}' to fit {dtype}.* wider dtype"):
        save_adapter(written, tmp_path / "out", base="b", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_value_of_a_dtype_is_written():
    large = LowRank(np.full((2, 1), 65504.0), np.ones((1, 2)))
    tensors = safetensors.torch.load(adapter_bytes({"m": large}, dtype="float16"))
    assert tensors["base_model.model.m.lora_B.weight"].max() == 65504.0


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match=r"one of \['float32', .*\], but got int8"):
        adapter_bytes({"m": update()}, dtype="int8")
