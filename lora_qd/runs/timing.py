"""How long a run takes on a device, by a roofline; no effects.

One decode step takes ``step_s + (weights + keys and values) / bandwidth + FLOPs /
peak``, a prompt ``2 x parameters`` FLOPs per token. Published figures are rarely
reached: ``REACHED`` of them counts. Not modelled: batches that run empty at the end of
a generation, attention's FLOPs, and the scoring of answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.workload import Pass

REACHED = 0.6
"""Share of the published bandwidth and peak that serving reaches; an assumption."""
LORA_FACTOR = 0.8
"""Speed with adapters relative to the bare base; for GPUs 0.65 to 0.95 are reported."""
SCORED_PER_S = 370
"""Answers that two workers on two cores scored, most known from before (see
docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or two processor cores."""

    name: str
    memory_gb: int | None
    """None: the host's."""
    bandwidth: float
    """Bytes per second."""
    peak: float
    """FLOP per second, dense, bfloat16 with float32 accumulation."""
    step_s: float
    """Of a step, whatever it computes: scheduling, kernel launches, HTTP."""
    start_s: float
    """From starting vLLM to the first candidate."""


DEVICES = {
    device.name: device
    for device in (
        # Fitted on two cores of an AMD EPYC, scoring included: configs/tiny.yaml took
        # 290 s in all.
        Device("cpu", None, 20e9, 0.3e12, 0.025, 35),
        # NVIDIA Ada GPU Architecture whitepaper, appendix A.
        Device("rtx4090", 24, 1008e9, 165.2e12, 0.008, 120),
        # NVIDIA L40S datasheet; half of the figure with sparsity, as below.
        Device("l40s", 48, 864e9, 362e12, 0.008, 120),
        # NVIDIA A100 datasheet, 80GB SXM.
        Device("a100", 80, 2039e9, 312e12, 0.008, 120),
        # NVIDIA H100 datasheet, SXM.
        Device("h100", 80, 3350e9, 989e12, 0.008, 120),
        # NVIDIA H200 datasheet, SXM.
        Device("h200", 141, 4800e9, 989e12, 0.008, 120),
    )
}
"""By name. Steps and starts of the GPUs are assumptions: none was measured."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the base costs per step and token."""

    num_parameters: int
    traffic: int
    """Bytes of weights that a step moves."""
    kv_per_token: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a whole run."""

    start_s: float
    passes_s: tuple[float, ...]
    """One per pass, in its order."""
    total_s: float
    candidates_per_hour: float
    """While searching."""


def time_run(
    passes: Sequence[Pass],
    config: RunConfig,
    cost: Cost,
    device: Device,
    num_servers: int,
) -> Timing:
    """Return how long ``passes`` take on ``num_servers`` servers, a device each."""
    seconds = tuple(
        _seconds(part, _in_flight(part, config, num_servers), config, cost, device)
        / num_servers
        for part in passes
    )
    search = next(i for i, part in enumerate(passes) if part.split is Split.SEARCH)
    return Timing(
        start_s=device.start_s,
        passes_s=seconds,
        total_s=device.start_s + sum(seconds),
        candidates_per_hour=3600 * passes[search].num_candidates / seconds[search],
    )


def _in_flight(part: Pass, config: RunConfig, num_servers: int) -> int:
    """Return the candidates that one server holds at once."""
    stream = part.num_candidates
    if part.split is Split.SEARCH:
        stream = min(stream, config.search.batch * (config.search.lag + 1))
    return min(config.engine.max_loras, math.ceil(stream / num_servers))


def _seconds(
    part: Pass, in_flight: int, config: RunConfig, cost: Cost, device: Device
) -> float:
    """Return how long one server takes for all of ``part``."""
    per_candidate = part.num_samples / part.num_candidates
    running = min(config.engine.max_num_seqs, in_flight * per_candidate)
    # On average a sequence that runs has half of its answer.
    length = (part.num_prompt_tokens + part.num_tokens / 2) / part.num_samples
    flops_per_token = 2 * cost.num_parameters
    bandwidth, peak = REACHED * device.bandwidth, REACHED * device.peak
    step = device.step_s
    step += (cost.traffic + running * length * cost.kv_per_token) / bandwidth
    step += running * flops_per_token / peak
    decoding = part.num_tokens / running * step
    prefill = part.num_prompt_tokens * flops_per_token / peak
    return (decoding + prefill) / LORA_FACTOR
