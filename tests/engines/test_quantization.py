import json

import pytest

from lora_qd.engines.quantization import check_checkpoint, checkpoint_method
from lora_qd.errors import InputError
from tests.engines.checkpoints import save_config


def test_a_checkpoint_says_how_it_is_quantised(tmp_path, tiny_base):
    assert checkpoint_method(str(save_config(tmp_path, "AWQ"))) == "awq"
    assert checkpoint_method(str(tiny_base)) == ""


def test_the_older_key_of_compressed_tensors_is_read(tmp_path):
    entry = {"quant_method": "compressed-tensors"}
    (tmp_path / "config.json").write_text(json.dumps({"compression_config": entry}))
    assert checkpoint_method(str(tmp_path)) == "compressed-tensors"


@pytest.mark.parametrize("model", ["org/model", "no/such/directory"])
def test_a_model_that_is_not_here_says_nothing_and_passes(model):
    assert checkpoint_method(model) is None
    check_checkpoint(model, "awq")


def test_a_hub_model_in_the_local_cache_is_read(hub, tmp_path):
    commit = "0" * 40
    repo = tmp_path / "hub-cache" / "models--org--quantised"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    save_config(repo / "snapshots" / commit, "gptq")
    assert checkpoint_method("org/quantised") == "gptq"


@pytest.mark.parametrize(
    ("quantization", "method"),
    [
        ("none", None),
        ("nf4", None),
        ("fp8", None),
        ("fp8", "fp8"),
        ("awq", "awq"),
        ("gptq", "gptq"),
    ],
)
def test_a_checkpoint_that_fits_passes(tmp_path, quantization, method):
    check_checkpoint(str(save_config(tmp_path, method)), quantization)


@pytest.mark.parametrize(
    ("quantization", "method", "message"),
    [
        ("awq", None, "an AWQ checkpoint in .* names none; name a base .* by AWQ"),
        ("gptq", None, "a GPTQ checkpoint in .* names none; name a base .* by GPTQ"),
        ("awq", "gptq", "an AWQ checkpoint in .* names gptq"),
        (
            "none",
            "awq",
            "for quantization: none, .* names awq; .* engine.quantization: awq",
        ),
        (
            "nf4",
            "gptq",
            "for quantization: nf4, .* names gptq; .* engine.quantization: gptq",
        ),
        (
            "fp8",
            "awq",
            "for quantization: fp8, .* names awq; .* engine.quantization: awq",
        ),
        (
            "none",
            "fp8",
            "for quantization: none, .* names fp8; .* engine.quantization: fp8",
        ),
        (
            "none",
            "mxfp4",
            "for quantization: none, .* names mxfp4; name the checkpoint in 16 bit$",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(
    tmp_path, quantization, method, message
):
    with pytest.raises(InputError, match=message) as caught:
        check_checkpoint(str(save_config(tmp_path, method)), quantization)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"quantization_config": "awq"}'])
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="expected a config.json of a model in"):
        checkpoint_method(str(tmp_path))
