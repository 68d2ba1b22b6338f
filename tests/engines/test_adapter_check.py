import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_qd.engines.adapter_check import check_adapter
from lora_qd.errors import EngineError
from tests.tiny_base import save_random_adapter, server_settings


def test_an_adapter_within_the_settings_passes(tiny_base, tmp_path):
    check_adapter(save_random_adapter(tmp_path, 1), server_settings(tiny_base))


def test_a_rank_above_the_server_s_is_refused(tmp_path):
    path = save_random_adapter(tmp_path, 1, rank=32)
    with pytest.raises(EngineError, match=r"at most 16, the server's, but .* rank 32"):
        check_adapter(path, server_settings("base"))


def test_modules_that_the_server_would_leave_out_are_refused(tmp_path):
    path = save_random_adapter(tmp_path, 1)
    settings = server_settings("base", lora_target_modules=("q_proj", "v_proj"))
    with pytest.raises(EngineError, match="changes down_proj, gate_proj, k_proj"):
        check_adapter(path, settings)


def test_modules_that_the_base_lacks_are_refused(tiny_base, tmp_path):
    path = save_random_adapter(tmp_path, 1, modules=("mlp.up_proj", "other.q_proj"))
    with pytest.raises(EngineError, match=r"layers.0.other.q_proj, which it lacks"):
        check_adapter(path, server_settings(tiny_base))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    file = save_random_adapter(tmp_path, 1) / "adapter_model.safetensors"
    tensors = load_file(file)
    key = min(tensors)
    tensors[key] = torch.full_like(tensors[key], value)
    save_file(tensors, file)
    with pytest.raises(EngineError, match="expected finite weights"):
        check_adapter(tmp_path, server_settings("base"))
