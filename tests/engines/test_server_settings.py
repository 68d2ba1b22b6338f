from pathlib import Path

import pytest

from lora_qd.engines import ServerSettings
from lora_qd.errors import InputError
from tests.engines.checkpoints import save_config


def settings(**changes):
    return ServerSettings(
        **({"model": "m", "lora_target_modules": ("q_proj",)} | changes)
    )


def command(**changes):
    return settings(**changes).command(Path("/run/s"), is_cpu=True)


def quantising(parts):
    return [p for p in parts if p.startswith(("--quantization", "--load-format"))]


@pytest.mark.parametrize(("rank", "served"), [(1, 1), (2, 8), (16, 16), (48, 64)])
def test_the_rank_is_padded_to_the_next_that_vllm_has(rank, served):
    assert settings(max_lora_rank=rank).served_rank == served
    assert f"--max-lora-rank={served}" in command(max_lora_rank=rank)


@pytest.mark.parametrize("rank", [0, 513])
def test_a_rank_that_vllm_has_not_is_refused(rank):
    with pytest.raises(ValueError, match=r"expected max_lora_rank in \[1, 512\]"):
        settings(max_lora_rank=rank)


def test_a_server_without_evolved_modules_is_refused():
    with pytest.raises(ValueError, match="lora_target_modules to name modules"):
        settings(lora_target_modules=())


@pytest.mark.parametrize("quantization", ["nf4", "fp8", "awq", "gptq"])
def test_a_quantised_base_needs_sixteen_bits(quantization):
    with pytest.raises(ValueError, match="16-bit dtype"):
        settings(quantization=quantization, dtype="float32")


def test_a_base_in_16_bit_is_quantised_when_it_is_loaded(tmp_path):
    model = str(save_config(tmp_path))
    assert quantising(command(model=model)) == []
    assert quantising(command(model=model, quantization="nf4")) == [
        "--quantization=bitsandbytes",
        "--load-format=bitsandbytes",
    ]
    fp8 = quantising(command(model=model, quantization="fp8"))
    assert fp8 == ["--quantization=fp8"]


@pytest.mark.parametrize("method", ["fp8", "awq", "gptq"])
def test_vllm_chooses_the_kernel_of_a_quantised_checkpoint(tmp_path, method):
    model = str(save_config(tmp_path, method))
    assert quantising(command(model=model, quantization=method)) == []


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match="expected an AWQ checkpoint in"):
        settings(model=str(save_config(tmp_path)), quantization="awq")


def test_a_private_socket_is_the_default():
    assert "--uds=/run/s" in command()
    assert not any(part.startswith("--host") for part in command())


def test_an_address_replaces_the_socket_and_forbids_loading_at_run_time():
    address = ("127.0.0.1", 8000)
    parts = command(address=address)
    assert {"--host=127.0.0.1", "--port=8000"} <= set(parts)
    assert not any(part.startswith("--uds") for part in parts)
    flag = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
    assert flag not in settings(address=address).environment(is_cpu=True)
    assert settings().environment(is_cpu=True)[flag] == "1"


def test_adapters_given_at_the_start_are_named():
    parts = command(lora_modules={"best": Path("/a/b")})
    assert parts[parts.index("--lora-modules") + 1] == "best=/a/b"


def test_telemetry_is_off():
    environment = settings().environment(is_cpu=False)
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"


def test_a_local_base_is_served_offline(tmp_path):
    variables = settings(model=str(tmp_path)).environment(is_cpu=True)
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in settings(model="org/m").environment(is_cpu=True)


def test_a_step_has_room_for_a_token_of_every_sequence():
    parts = command(max_num_seqs=256, max_num_batched_tokens=64)
    assert "--max-num-batched-tokens=256" in parts


def test_accelerators_of_a_server_share_the_base():
    both = settings(devices=("2", "3"))
    assert both.environment(is_cpu=False)["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "--tensor-parallel-size=2" in both.command(Path("/run/s"), is_cpu=False)
    assert "CUDA_VISIBLE_DEVICES" not in settings().environment(is_cpu=False)
