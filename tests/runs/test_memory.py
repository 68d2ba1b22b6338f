"""What a plan says of memory, against files, published figures and arithmetic."""

import json

import numpy as np
import pytest

from lora_qd.errors import InputError
from lora_qd.factors import CoreSpace, LowRank
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.runs.memory import (
    AdaptedModule,
    kv_bytes_per_token,
    memory_of,
    smallest_accelerator,
    storage_of,
    traffic_bytes,
    weight_bytes,
)
from lora_qd.store.adapters import WEIGHTS_NAME, save_adapter
from lora_qd.store.decoder import load_decoder
from lora_qd.store.genomes import save_genome, save_space
from lora_qd.store.run_directory import RunDirectory
from tests.runs.small import ROOT

TINY = ROOT / "adapters" / "tiny-llama"
LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


def payload(file):
    """Return the bytes of a safetensors file without its header."""
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    return file.stat().st_size - 8 - header


def write_base(path, **changes):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(LLAMA_3_8B | changes))
    return str(path)


@pytest.fixture
def llama(tmp_path):
    """Llama-3-8B's sizes from a config.json alone."""
    return load_decoder(write_base(tmp_path / "llama"))


@pytest.fixture
def tiny():
    """The shipped base's sizes from its weights' headers."""
    return load_decoder(str(TINY))


def adapted(decoder, *ranks):
    return [AdaptedModule(*shape, ranks) for shape in decoder.linears.values()]


def memory(decoder, *, rank, served_rank, mean_length=100.0, **engine):
    config = EngineConfig(serve_rank=rank, **engine)
    return memory_of(
        decoder,
        adapted(decoder, rank),
        config,
        served_rank=served_rank,
        mean_length=mean_length,
    )


def random_experts(decoder, num, rank):
    rng = np.random.default_rng(0)

    def factor(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return [
        {
            module: LowRank(B=factor(d_out, rank), A=factor(rank, d_in), scaling=0.5)
            for module, (d_out, d_in) in decoder.linears.items()
        }
        for _ in range(num)
    ]


def test_a_config_alone_gives_llama_3_8bs_published_number_of_parameters(llama):
    assert llama.num_parameters == 8_030_261_248
    assert len(llama.linears) == 224


def test_headers_and_config_agree_on_the_shipped_base(tiny, tmp_path):
    (tmp_path / "config.json").write_bytes((TINY / "config.json").read_bytes())
    computed = load_decoder(str(tmp_path))
    assert computed.linears == tiny.linears
    assert computed.num_other == tiny.num_other


def test_an_unquantised_base_takes_what_its_file_takes(tiny):
    size = weight_bytes(tiny, dtype="bfloat16", quantization="none")
    assert size == tiny.stored_bytes
    assert size == payload(TINY / "model.safetensors")


@pytest.mark.parametrize(
    ("rank", "slot"), [(8, 41.9e6), (16, 83.9e6), (32, 167.8e6), (64, 335.5e6)]
)
def test_a_slot_of_llama_3_8b_is_as_large_as_vllms(llama, rank, slot):
    found = memory(llama, rank=rank, served_rank=rank, max_loras=8, ahead=3)
    assert found.slot == pytest.approx(slot, rel=0.002)
    assert found.adapters == 11 * found.slot


def test_a_token_of_llama_3_8b_takes_128_kib_of_keys_and_values(llama):
    assert kv_bytes_per_token(llama, "bfloat16") == 131_072


def test_llama_3_8b_takes_the_sizes_that_are_known_of_it(llama):
    def size(quantization, dtype="bfloat16"):
        return weight_bytes(llama, dtype=dtype, quantization=quantization)

    assert size("none") == pytest.approx(16.06e9, rel=0.001)
    assert size("none", "float32") == 2 * size("none")
    assert 5.5e9 < size("nf4") < 6e9
    assert 9.0e9 < size("fp8") < 9.2e9


def test_a_base_that_is_quantised_on_disk_is_taken_as_it_is(tmp_path):
    import torch
    from safetensors.torch import save_file

    base = write_base(tmp_path, quantization_config={"quant_method": "awq"})
    packed = torch.zeros(64, 8, dtype=torch.int32)
    save_file(
        {"model.layers.0.mlp.up_proj.qweight": packed}, tmp_path / "m.safetensors"
    )
    decoder = load_decoder(base)
    assert weight_bytes(decoder, dtype="float16", quantization="awq") == 64 * 8 * 4
    assert len(decoder.linears) == 224


def test_a_quantised_base_needs_its_weights(tmp_path):
    decoder = load_decoder(write_base(tmp_path, quantization_config={"bits": 4}))
    with pytest.raises(InputError, match="expected the weights of a base that is"):
        weight_bytes(decoder, dtype="float16", quantization="gptq")


def test_a_plain_base_is_not_awq(llama):
    with pytest.raises(InputError, match="has no quantization_config"):
        weight_bytes(llama, dtype="float16", quantization="awq")


def test_nf4_moves_more_than_it_occupies(llama):
    def moved(quantization):
        return traffic_bytes(llama, dtype="bfloat16", quantization=quantization)

    assert moved("nf4") > moved("none")
    assert moved("none") == weight_bytes(llama, dtype="bfloat16", quantization="none")


def test_keys_and_values_grow_to_the_longest_sequences(llama):
    found = memory(llama, rank=16, served_rank=16, max_num_seqs=64, max_model_len=1024)
    assert found.kv_mean == 64 * 100 * 131_072
    assert found.kv_longest == 64 * 1024 * 131_072
    parts = found.weights + found.adapters + found.working
    assert found.total == parts + found.kv_mean
    assert found.total_longest == parts + found.kv_longest


def test_accelerators_that_share_a_base_share_weights_and_keys(llama):
    one = memory(llama, rank=16, served_rank=16)
    half = memory(llama, rank=16, served_rank=16, gpus_per_server=2)
    assert half.weights == one.weights // 2
    assert half.kv_longest == one.kv_longest // 2
    assert half.adapters == one.adapters
    many = memory(llama, rank=16, served_rank=16, gpus_per_server=16)
    assert many.kv_longest == one.kv_longest // 8  # it has eight heads of them


def test_one_sequence_of_full_length_always_fits(llama):
    found = memory(llama, rank=16, served_rank=16, max_num_seqs=1, max_model_len=4096)
    assert found.kv_mean == found.kv_longest


@pytest.mark.parametrize(
    ("gigabytes", "smallest"),
    [(21, 24), (22, 40), (37, 48), (60, 80), (73, 141), (127, None)],
)
def test_the_smallest_accelerator_leaves_a_tenth_free(gigabytes, smallest):
    assert smallest_accelerator(gigabytes * 10**9) == smallest


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_adapter_is_as_large_as_the_one_that_is_written(tiny, tmp_path, dtype):
    experts = random_experts(tiny, 3, rank=4)
    space = CoreSpace.of(experts)
    served = space.materialise(space.project(experts[0]), rank=8).task_vector
    save_adapter(served, tmp_path / "adapter", base=str(TINY), dtype=dtype)
    planned = storage_of(adapted(tiny, 4, 4, 4), serve_rank=8, dtype=dtype, members=1)
    assert planned.adapter == payload(tmp_path / "adapter" / WEIGHTS_NAME)


def test_genomes_are_as_large_as_those_that_are_written(tiny, tmp_path):
    experts = random_experts(tiny, 3, rank=16)
    space = CoreSpace.of(experts)
    run = RunDirectory(tmp_path)
    run.members.mkdir()
    genome = run.genome(save_genome(space.project(experts[0]), run))
    save_space(space, tmp_path / "space")
    genome = payload(genome)
    planned = storage_of(
        adapted(tiny, 16, 16, 16), serve_rank=16, dtype="bfloat16", members=10
    )
    assert planned.genome == genome
    assert planned.run == payload(tmp_path / "space") + 10 * genome


def test_a_genome_of_llama_3_8b_is_two_megabytes(llama):
    planned = storage_of(
        adapted(llama, 16, 16, 16), serve_rank=16, dtype="bfloat16", members=1
    )
    assert planned.genome == 224 * 48 * 48 * 4
    assert planned.adapter == pytest.approx(83.9e6, rel=0.001)


def test_a_base_that_is_nowhere_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such directory"):
        load_decoder(str(tmp_path / "none"))
    with pytest.raises(InputError, match="owner/model on this disk, but it is neither"):
        load_decoder("owner/model")
    with pytest.raises(InputError, match="expected a base model, but got 'a b/c'"):
        load_decoder("a b/c")


def test_the_reference_recipes_base_is_known_without_its_files(llama):
    assert load_decoder("meta-llama/Meta-Llama-3-8B-Instruct") == llama


def test_a_base_of_another_kind_needs_its_weights(tmp_path):
    base = write_base(tmp_path, model_type="mixtral")
    with pytest.raises(InputError, match="expected a model_type out of llama"):
        load_decoder(base)


def test_a_config_without_sizes_is_refused(tmp_path):
    base = write_base(tmp_path, hidden_size=None)
    with pytest.raises(InputError, match="expected a positive hidden_size"):
        load_decoder(base)


def test_a_cached_base_is_found_and_an_unfinished_one_counts_by_its_config(
    tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--owner--model"
    snapshot = repo / "snapshots" / "0" / "config.json"
    snapshot.parent.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0")
    snapshot.write_text(json.dumps(LLAMA_3_8B))
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (snapshot.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot.parent / "one.safetensors").write_bytes(b"not read")
    assert load_decoder("owner/model").num_parameters == 8_030_261_248
