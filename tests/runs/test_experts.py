"""Which adapters a run takes as its experts."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lora_qd.errors import InputError
from lora_qd.runs.config import parse_config
from lora_qd.runs.experts import expert_directory, load_experts
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


def share(hub, repo_id, skill, *, base=None, has_record=True):
    """Put a shipped expert into a folder of a repo, as trained on ``base``."""
    source = ADAPTERS / "tiny-experts" / skill
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    if base:
        config = json.loads(files["adapter_config.json"])
        config["base_model_name_or_path"] = base
        files["adapter_config.json"] = json.dumps(config).encode()
    if not has_record:
        del files["loraqd_expert.json"]
    hub.add(repo_id, {f"experts/{skill}/{name}": c for name, c in files.items()})


def test_experts_come_from_the_hub_or_from_directories(hub):
    share(hub, "someone/run", "code")
    shell = ADAPTERS / "tiny-experts" / "shell"
    experts = ["someone/run/experts/code", str(shell)]
    fetched = load_experts(config(experts=experts, experts_dir="nowhere"))
    here = load_experts(config())
    for skill in ("code", "shell"):
        assert fetched[skill].weights_hash == here[skill].weights_hash
        assert fetched[skill].quantization == here[skill].quantization == "none"


def test_a_list_of_adapters_is_in_the_order_of_the_skills():
    listed = config(experts=["a/b", "c/d@v1"])
    assert listed.adapters == {"code": "a/b", "shell": "c/d@v1"}
    named = [{"name": "code", "adapter": "a/b"}, {"name": "shell", "adapter": "c/d@v1"}]
    assert config(experts=named) == listed
    assert listed.trained_experts == ()
    assert parse_config(listed.model_dump(mode="json"), source="test") == listed


@pytest.mark.parametrize("experts", [["a/b"], ["a/b", "c/d", "e/f"]])
def test_a_list_of_another_length_is_refused(experts):
    with pytest.raises(InputError, match="one per skill, in their order"):
        config(experts=experts)


def test_an_adapter_and_an_expert_to_train_stand_side_by_side():
    mixed = config(
        experts=[
            {"name": "code", "adapter": "a/b"},
            {"name": "shell", "data": {"skill": "shell"}, "num_examples": 10},
        ]
    )
    assert mixed.adapters == {"code": "a/b"}
    assert [expert.name for expert in mixed.trained_experts] == ["shell"]


def test_an_adapter_with_training_settings_is_refused():
    with pytest.raises(InputError, match="unknown key"):
        config(experts=[{"name": "code", "adapter": "a/b", "num_examples": 3}])


def test_a_shared_expert_of_another_base_is_refused(hub, tiny_base):
    share(hub, "someone/run", "code")
    experts = [{"name": "code", "adapter": "someone/run/experts/code"}]
    with pytest.raises(InputError, match="but its base was another one"):
        load_experts(config(tiny_base, experts=experts))


def test_a_foreign_adapter_that_names_another_base_is_refused(hub):
    share(hub, "someone/run", "code", base="meta/other-base", has_record=False)
    experts = [{"name": "code", "adapter": "someone/run/experts/code"}]
    with pytest.raises(InputError, match="it names meta/other-base"):
        load_experts(config(experts=experts))


def test_a_base_may_be_a_hub_id_there_and_a_directory_here(hub):
    share(hub, "someone/run", "code", base="someone/tiny-llama", has_record=False)
    experts = [{"name": "code", "adapter": "someone/run/experts/code"}]
    assert set(load_experts(config(experts=experts))) == {"code", "shell"}


def test_an_expert_that_is_nowhere_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match="no such directory here, and on the Hub no"):
        load_experts(config(experts=["someone/none", "someone/none"]))
    with pytest.raises(InputError, match="run loraqd train-experts"):
        expert_directory(config(experts_dir=str(tmp_path)), "code")


def test_a_directory_of_ones_own_may_be_moved_into_place(tmp_path):
    shutil.copytree(ADAPTERS / "tiny-experts", tmp_path / "experts")
    moved = config(experts_dir=str(tmp_path / "experts"))
    assert expert_directory(moved, "code") == tmp_path / "experts" / "code"
