"""What a run needs of memory and disk, computed from shapes; no effects.

Not known here: how vLLM pads and fragments. What cannot be derived from shapes is one
stated allowance, ``RUNTIME_BYTES``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_qd.errors import InputError
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.store.decoder import Decoder

NUM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of one weight: 4 bits, an 8-bit scale per 64, a float32 per 256 of these scales."""
RUNTIME_BYTES = 2_000_000_000
"""Allowance for the process, the device's context and CUDA graphs, which vLLM captures
with and without LoRA."""
MEMORY_SIZES = (24, 40, 48, 80, 141)
"""Common accelerators, in GB."""
USABLE_SHARE = 0.9
"""Of an accelerator's memory: what vLLM takes by default."""
_GB = 1e9


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """A linear layer that the run's adapters change."""

    d_out: int
    d_in: int
    expert_ranks: tuple[int, ...]
    """One for each expert that has this module."""

    @property
    def core_shape(self) -> tuple[int, int]:
        """``(R_out, R_in)``, the largest that the experts can span."""
        total = sum(self.expert_ranks)
        return min(total, self.d_out), min(total, self.d_in)

    def num_factors(self, rank: int) -> int:
        """Return the numbers of A and B at ``rank``."""
        return rank * (self.d_out + self.d_in)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one accelerator."""

    weights: int
    """Of the frozen base, or this accelerator's share of it."""
    slots: int
    """Adapters that it holds at once."""
    slot: int
    """Of one adapter at the rank that vLLM reserves."""
    adapters: int
    """Of all slots."""
    kv_per_token: int
    """Over all accelerators of a server."""
    kv_mean: int
    """Keys and values of all sequences at their mean length, or of one at the longest
    where that is more."""
    kv_longest: int
    """Of all sequences at ``max_model_len``; with less, some wait."""
    working: int
    """Activations, logits and the runtime's allowance."""
    total: int
    """With ``kv_mean``."""
    total_longest: int
    """With ``kv_longest``."""
    smallest_gb: int | None
    """The smallest of ``MEMORY_SIZES`` that holds ``total``; None: none does."""
    smallest_longest_gb: int | None
    """The same of ``total_longest``."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of members."""

    adapter: int
    """One member as a PEFT adapter at the serve rank."""
    genome: int
    """One member's cores."""
    run: int
    """All genomes and the core space: the most that the run holds on disk."""


def memory_of(
    decoder: Decoder,
    modules: Sequence[AdaptedModule],
    engine: EngineConfig,
    *,
    served_rank: int,
    mean_length: float,
) -> Memory:
    """Return what each accelerator of a vLLM server with ``modules`` adapted needs.

    Accelerators that share one copy of the base share its weights and the keys and
    values; adapters are counted whole on each, though vLLM shares some of them.

    Args:
        decoder: the base.
        modules: what the adapters change.
        engine: the run's.
        served_rank: what vLLM pads adapters to.
        mean_length: tokens of prompt and answer of a sequence.
    """
    size, share = NUM_BYTES[engine.dtype], engine.gpus_per_server
    weights = weight_bytes(
        decoder, dtype=engine.dtype, quantization=engine.quantization
    )
    slots = engine.max_loras + engine.ahead
    slot = size * sum(module.num_factors(served_rank) for module in modules)
    per_token = kv_bytes_per_token(decoder, engine.dtype)
    per_token_here = per_token / min(share, decoder.num_kv_heads)
    longest = engine.max_num_seqs * engine.max_model_len
    mean = max(engine.max_num_seqs * mean_length, engine.max_model_len)
    working = working_bytes(decoder, engine)
    kv_mean, kv_longest = round(mean * per_token_here), round(longest * per_token_here)
    fixed = weights // share + slots * slot + working
    return Memory(
        weights=weights // share,
        slots=slots,
        slot=slot,
        adapters=slots * slot,
        kv_per_token=per_token,
        kv_mean=kv_mean,
        kv_longest=kv_longest,
        working=working,
        total=fixed + kv_mean,
        total_longest=fixed + kv_longest,
        smallest_gb=smallest_accelerator(fixed + kv_mean),
        smallest_longest_gb=smallest_accelerator(fixed + kv_longest),
    )


def storage_of(
    modules: Sequence[AdaptedModule], *, serve_rank: int, dtype: str, members: int
) -> Storage:
    """Return what ``members`` members occupy, adapters and genomes apart."""
    cores = [module.core_shape for module in modules]
    adapter = sum(
        module.num_factors(min(serve_rank, *core))
        for module, core in zip(modules, cores, strict=True)
    )
    genome = 4 * sum(rows * columns for rows, columns in cores)
    space = 4 * sum(
        module.d_out * rows + module.d_in * columns
        for module, (rows, columns) in zip(modules, cores, strict=True)
    )
    return Storage(adapter * NUM_BYTES[dtype], genome, space + members * genome)


def weight_bytes(decoder: Decoder, *, dtype: str, quantization: str) -> int:
    """Return the bytes of the base as it is served.

    Quantised are the linear layers; embeddings, output head and norms stay in
    ``dtype``. A checkpoint that is quantised on disk is taken as it is.

    Raises:
        InputError: the quantisation is not known here, or the checkpoint's is and its
            weights are not on this disk.
    """
    size = NUM_BYTES[dtype]
    if decoder.is_quantized:
        if decoder.stored_bytes is None:
            raise InputError(
                "expected the weights of a base that is quantised on disk, but only "
                "its config.json is here; put its safetensors files beside it"
            )
        return decoder.stored_bytes
    scales = 4 * sum(d_out for d_out, _ in decoder.linears.values())  # one per row
    linear: Mapping[str, float] = {
        "none": size * decoder.num_linear,
        "nf4": NF4_BYTES * decoder.num_linear,
        "fp8": decoder.num_linear + scales,
    }
    if quantization not in linear:
        raise InputError(
            f"expected a base on disk in quantization {quantization!r}, but its "
            "config.json has no quantization_config; name the quantised base"
        )
    return round(linear[quantization]) + size * decoder.num_other


def traffic_bytes(decoder: Decoder, *, dtype: str, quantization: str) -> int:
    """Return the bytes of weights that one decode step moves.

    bitsandbytes writes each layer out in 16 bit and reads it again.
    """
    weights = weight_bytes(decoder, dtype=dtype, quantization=quantization)
    unpacked = 4 * decoder.num_linear if quantization == "nf4" else 0
    return weights + unpacked


def kv_bytes_per_token(decoder: Decoder, dtype: str) -> int:
    """Return the bytes of one token's keys and values over all layers."""
    width = decoder.num_kv_heads * decoder.head_dim
    return 2 * decoder.num_layers * width * NUM_BYTES[dtype]


def working_bytes(decoder: Decoder, engine: EngineConfig) -> int:
    """Return activations of one step, two float32 copies of logits, and the runtime."""
    tokens = max(engine.max_num_batched_tokens, engine.max_num_seqs)
    width = 2 * decoder.hidden_size + 3 * decoder.intermediate_size
    logits = 2 * 4 * engine.max_num_seqs * decoder.vocab_size
    return tokens * width * NUM_BYTES[engine.dtype] + logits + RUNTIME_BYTES


def smallest_accelerator(num_bytes: int) -> int | None:
    """Return the smallest of ``MEMORY_SIZES`` that vLLM fits ``num_bytes`` into."""
    return next((gb for gb in MEMORY_SIZES if fits(num_bytes, gb)), None)


def fits(num_bytes: int, gigabytes: int) -> bool:
    """Tell whether vLLM fits ``num_bytes`` into so much memory."""
    return num_bytes <= USABLE_SHARE * gigabytes * _GB
