"""What a run will need and take, before anything is started, written or rented.

Reads the config, the base's shapes and tokenizer, the skills' samples and those experts
that are there. Not done: checking that the experts fit the base, as ``evolve`` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_qd.engines import ServerSettings
from lora_qd.errors import InputError
from lora_qd.records import Sample, Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.measure_config import EngineConfig
from lora_qd.runs.memory import (
    AdaptedModule,
    Memory,
    Storage,
    fits,
    kv_bytes_per_token,
    memory_of,
    storage_of,
    traffic_bytes,
)
from lora_qd.runs.skills import SPLITS, load_skills
from lora_qd.runs.timing import DEVICES, Cost, Device, Timing, time_run
from lora_qd.runs.token_counts import EstimatedCounter, token_counter
from lora_qd.runs.workload import Pass, TokenCounter, passes_of
from lora_qd.store.adapters import load_adapter
from lora_qd.store.decoder import Decoder, cached_directory, load_decoder
from lora_qd.tasks.published import PublishedTask
from lora_qd.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will need and take; bytes and seconds."""

    base: str
    num_parameters: int
    quantization: str
    served_rank: int
    """The rank that vLLM pads to."""
    num_modules: int
    """Linear layers that the adapters change."""
    experts: tuple[str, ...]
    """Whose adapters were read; the others are assumed as the config trains them."""
    missing: tuple[str, ...]
    """Those others."""
    memory: Memory
    storage: Storage
    passes: tuple[Pass, ...]
    is_tokenized: bool
    """Whether prompts were counted by the base's tokenizer, not estimated."""
    device: Device
    fits: bool | None
    """Whether ``memory.total`` fits into the device; None: the host's memory counts."""
    num_servers: int
    gpus_per_server: int
    sandbox_workers: int
    timing: Timing
    price_per_hour: float | None
    cost: float | None
    """Of all accelerators over the whole run; None without a price."""


def plan_run(config: RunConfig, device: str | None = None) -> Plan:
    """Return the plan of ``config`` on ``device``, by default the one that is here.

    Raises:
        InputError: a skill, the device or the base is unknown here, or an expert that
            is there cannot be read.
    """
    chosen, served_rank = device_of(device), _served_rank(config)
    decoder = load_decoder(config.base)
    modules, experts = _modules(config, decoder)
    counter = token_counter(cached_directory(config.base))
    passes = _passes(config, counter)
    engine, length = config.engine, _mean_length(passes)
    memory = memory_of(
        decoder, modules, engine, served_rank=served_rank, mean_length=length
    )
    timing = _timing(config, decoder, passes, chosen)
    return Plan(
        base=config.base,
        num_parameters=decoder.num_parameters,
        quantization=engine.quantization,
        served_rank=served_rank,
        num_modules=len(modules),
        experts=experts,
        missing=tuple(s for s in config.skills if s not in experts),
        memory=memory,
        storage=_storage(config, modules, num_members=passes[0].num_candidates),
        passes=passes,
        is_tokenized=not isinstance(counter, EstimatedCounter),
        device=chosen,
        fits=None if chosen.memory_gb is None else fits(memory.total, chosen.memory_gb),
        num_servers=num_servers(engine),
        gpus_per_server=engine.gpus_per_server,
        sandbox_workers=config.sandbox_workers,
        timing=timing,
        price_per_hour=engine.price_per_hour,
        cost=price_of(timing.total_s, engine),
    )


def device_of(name: str | None) -> Device:
    """Return the device of this name; by default the one that is here.

    Raises:
        InputError: nothing is known of it.
    """
    named = name or _device_here()
    if named.lower() not in DEVICES:
        raise InputError(
            f"expected a device out of {', '.join(DEVICES)}, but "
            f"{'got' if name else 'this machine has'} {named!r}; choose the nearest "
            "with --device"
        )
    return DEVICES[named.lower()]


def num_servers(engine: EngineConfig) -> int:
    """Return the servers of a run; one where the config leaves it to the machine."""
    return len(engine.urls) or engine.servers or 1


def price_of(seconds: float, engine: EngineConfig) -> float | None:
    """Return what the run's accelerators cost; None without a price."""
    if engine.price_per_hour is None:
        return None
    accelerators = num_servers(engine) * engine.gpus_per_server
    return seconds / 3600 * accelerators * engine.price_per_hour


def _device_here() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name()
    plain = name.lower().replace(" ", "")
    return next((known for known in DEVICES if known in plain), name)


def _served_rank(config: RunConfig) -> int:
    settings = ServerSettings(
        model=config.base,
        lora_target_modules=("all",),
        max_lora_rank=config.engine.serve_rank,
        quantization=config.engine.quantization,
    )
    return settings.served_rank


def _modules(
    config: RunConfig, decoder: Decoder
) -> tuple[list[AdaptedModule], tuple[str, ...]]:
    """Return what the adapters change, and which experts were read for it."""
    ranks: dict[str, list[int]] = {}
    shapes = dict(decoder.linears)
    read = []
    for skill in config.skills:
        path = Path(config.adapters.get(skill, config.experts_dir / skill))
        if path.is_dir():
            updates = load_adapter(path).task_vector
            shapes |= {module: update.shape for module, update in updates.items()}
            own = {module: update.rank for module, update in updates.items()}
            read.append(skill)
        else:
            own = dict.fromkeys(_trained_modules(config, decoder), config.training.rank)
        for module, rank in own.items():
            ranks.setdefault(module, []).append(rank)
    modules = [AdaptedModule(*shapes[m], tuple(r)) for m, r in sorted(ranks.items())]
    return modules, tuple(read)


def _trained_modules(config: RunConfig, decoder: Decoder) -> list[str]:
    targets = config.training.target_modules
    modules = [
        module
        for module in decoder.linears
        if targets == "all-linear" or module.endswith(tuple(targets))
    ]
    if not modules:
        raise InputError(
            f"expected training.target_modules of the base {config.base}, but it has "
            f"none of {', '.join(targets)}; name its linear layers"
        )
    return modules


def _passes(config: RunConfig, counter: TokenCounter) -> tuple[Pass, ...]:
    skills = load_skills(config, allow=True)  # asked for by the front end
    samples = {
        name: {
            split: [_as_asked(skills[name], s) for s in skills[name].samples(split)]
            for split in (SPLITS if name in config.skills else (Split.TEST,))
        }
        for name in (*config.skills, *config.retention)
    }
    return passes_of(config, samples, counter)


def _as_asked(task: Task, sample: Sample) -> Sample:
    """Return ``sample`` with all that is asked and all that a perfect answer says.

    A conversation counts as one long turn: the engine caches what it has read.
    """
    if not isinstance(task, PublishedTask):
        return sample
    asked = "\n".join(message.content for message in task.opening(sample))
    said = [turn for turn in task.gold(sample) if isinstance(turn, str)]
    return replace(sample, prompt=asked, target="\n".join(said) or sample.target)


def _storage(
    config: RunConfig, modules: Sequence[AdaptedModule], *, num_members: int
) -> Storage:
    engine = config.engine
    return storage_of(
        modules, serve_rank=engine.serve_rank, dtype=engine.dtype, members=num_members
    )


def _mean_length(passes: Sequence[Pass]) -> float:
    """Return the tokens of prompt and answer of a sample, on average."""
    tokens = sum(part.num_prompt_tokens + part.num_tokens for part in passes)
    return tokens / sum(part.num_samples for part in passes)


def _timing(
    config: RunConfig, decoder: Decoder, passes: Sequence[Pass], device: Device
) -> Timing:
    engine = config.engine
    traffic = traffic_bytes(
        decoder, dtype=engine.dtype, quantization=engine.quantization
    )
    per_token = kv_bytes_per_token(decoder, engine.dtype)
    cost = Cost(decoder.num_parameters, traffic, per_token)
    server = replace(
        device,
        bandwidth=device.bandwidth * engine.gpus_per_server,
        peak=device.peak * engine.gpus_per_server,
    )
    return time_run(passes, config, cost, server, num_servers(engine))
