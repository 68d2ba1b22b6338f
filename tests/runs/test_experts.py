"""Which adapters a run takes as its experts."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lora_qd.errors import InputError
from lora_qd.runs.config import parse_config
from lora_qd.runs.experts import load_experts
from lora_qd.runs.manifest import manifest
from tests.engines.checkpoints import save_quantised

ADAPTERS = Path(__file__).parents[2] / "adapters"
BASE = ADAPTERS / "tiny-llama"


def config(base=BASE, **changes):
    smallest = {
        "base": str(base),
        "run": "r",
        "experts_dir": str(ADAPTERS / "tiny-experts"),
        "skills": ["code", "shell"],
    }
    return parse_config(smallest | changes, source="test")


def test_what_experts_were_trained_on_and_are_served_on_is_in_the_manifest():
    served = {"quantization": "nf4"}
    changed = config(engine=served, allow_other_quantization=True)
    experts = load_experts(changed)
    assert manifest(changed, experts)["quantization"] == {
        "served": "nf4",
        "trained": {"code": "none", "shell": "none"},
    }


def test_experts_of_another_quantisation_are_refused():
    with pytest.raises(
        InputError, match="trained on quantization 'nf4', but it was trained on 'none'"
    ):
        load_experts(config(engine={"quantization": "nf4"}))


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_a_base_that_is_quantised_on_disk_is_compared_by_its_shapes(tmp_path, method):
    base = save_quantised(BASE, tmp_path / "base", method)
    served = {"quantization": method}
    allowed = config(base, engine=served, allow_other_quantization=True)
    assert set(load_experts(allowed)) == {"code", "shell"}


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_a_quantised_base_of_other_shapes_is_refused(tmp_path, method):
    base = save_quantised(BASE, tmp_path / "base", method)
    file = base / "model.safetensors"
    tensors = load_file(file)
    key = "model.layers.0.mlp.up_proj.qweight"
    tensors[key] = tensors[key][:-8]
    save_file(tensors, file)
    served = {"quantization": method}
    with pytest.raises(InputError, match="to fit the base, but 'model.layers.0.mlp.up"):
        load_experts(config(base, engine=served, allow_other_quantization=True))


def test_a_quantised_base_that_lacks_its_scales_is_refused(tmp_path):
    base = save_quantised(BASE, tmp_path / "base", "awq")
    file = base / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.0.mlp.up_proj.scales"]
    save_file(tensors, file)
    served = {"quantization": "awq"}
    with pytest.raises(InputError, match="expected qweight, scales and qzeros of"):
        load_experts(config(base, engine=served, allow_other_quantization=True))


def test_another_base_is_refused(tmp_path, tiny_base):
    with pytest.raises(InputError, match="but its base was another one"):
        load_experts(config(tiny_base))
