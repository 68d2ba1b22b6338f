"""``loraqd evolve --dry-run``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lora_qd.runs.config import load_config
from lora_qd.runs.consent import require_consent
from lora_qd.runs.memory import MEMORY_SIZES, USABLE_SHARE
from lora_qd.runs.plan import Plan, plan_run
from lora_qd.runs.timing import LORA_FACTOR, REACHED, SCORED_PER_S
from lora_qd.runs.workload import Pass


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the command was told."""

    device: str | None
    as_json: bool
    allow: bool = False
    """Whether the user agrees to what the skills execute."""


def show_plan(
    config_path: Path, overrides: Sequence[str], options: PlanOptions
) -> None:
    """Print what a run will need and take; nothing is written or started."""
    config = load_config(config_path, overrides)
    require_consent(config, is_given=options.allow)
    plan = plan_run(config, options.device)
    if options.as_json:
        print(json.dumps(asdict(plan), indent=2))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(_memory_table(plan))
    _print_memory(console, plan)
    console.print()
    console.print(_work_table(plan))
    _print_work(console, plan)
    console.print()
    _print_time(console, plan)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _memory_table(plan: Plan) -> Table:
    memory = plan.memory
    table = _table(
        f"Memory of one accelerator: {plan.base}", "sequences of mean length", "longest"
    )
    weights = f"base, {plan.num_parameters / 1e9:.3g} B parameters, {_format(plan)}"
    slots = f"{memory.slots} adapters at rank {plan.served_rank}, {_size(memory.slot)}"
    table.add_row(weights, *[_size(memory.weights)] * 2)
    table.add_row(f"{slots} each", *[_size(memory.adapters)] * 2)
    table.add_row(
        f"keys and values, {_size(memory.kv_per_token)} a token",
        _size(memory.kv_mean),
        _size(memory.kv_longest),
    )
    table.add_row(
        "activations, graphs, runtime (allowance)", *[_size(memory.working)] * 2
    )
    table.add_section()
    table.add_row("sum", _size(memory.total), _size(memory.total_longest), style="bold")
    table.add_row(
        "smallest common accelerator",
        _accelerator(memory.smallest_gb),
        _accelerator(memory.smallest_longest_gb),
    )
    return table


def _print_memory(console: Console, plan: Plan) -> None:
    storage = plan.storage
    console.print(
        "Left: engine.max_num_seqs sequences at once, as long as this run's are on "
        "average. Right: all as long as engine.max_model_len; with less, some wait."
    )
    if plan.fits is not None:
        is_enough = "enough" if plan.fits else "not enough"
        console.print(
            f"{plan.device.name}: {plan.device.memory_gb} GB, of which vLLM takes "
            f"{USABLE_SHARE:.0%}; {is_enough} for the left column."
        )
    console.print(
        f"On disk: {_size(storage.adapter)} an adapter, {_size(storage.genome)} a "
        f"genome ({plan.num_modules} cores), at most {_size(storage.run)} for the run."
    )
    if plan.missing:
        console.print(
            f"Not trained yet: {', '.join(plan.missing)}; taken as training.rank and "
            "training.target_modules say."
        )


def _work_table(plan: Plan) -> Table:
    table = _table(
        f"Work on {_accelerators(plan)} x {plan.device.name}",
        "candidates", "samples each", "prompt tokens", "generated tokens", "time",
    )  # fmt: skip
    table.add_row("start", "", "", "", "", _time(plan.timing.start_s))
    for part, seconds in zip(plan.passes, plan.timing.passes_s, strict=True):
        each = "+".join(str(work.num_samples) for work in part.skills.values())
        table.add_row(
            str(part.split),
            str(part.num_candidates),
            each,
            f"{part.num_prompt_tokens:,}",
            f"{part.num_tokens:,}",
            _time(seconds),
        )
    table.add_section()
    table.add_row("sum", *_sums(plan.passes), _time(plan.timing.total_s), style="bold")
    return table


def _sums(passes: Sequence[Pass]) -> tuple[str, ...]:
    return (
        str(sum(part.num_candidates for part in passes)),
        "",
        f"{sum(part.num_prompt_tokens for part in passes):,}",
        f"{sum(part.num_tokens for part in passes):,}",
    )


def _print_work(console: Console, plan: Plan) -> None:
    for part in plan.passes:
        counts = ", ".join(f"{n} {what}" for what, n in part.candidates.items() if n)
        skills = ", ".join(part.skills)
        console.print(f"{part.split}: {counts}; on {skills}.")
    source = "counted by the base's tokenizer"
    if not plan.is_tokenized:
        source = "estimated from characters, for want of the base's tokenizer"
    console.print(
        f"Prompts are {source}; answers are taken to be as long as the gold ones. "
        "Validation is the most that can be asked."
    )


def _print_time(console: Console, plan: Plan) -> None:
    timing = plan.timing
    search = plan.passes[0]
    answers = search.num_samples / timing.passes_s[0]
    source = "fitted to the tiny base on two cores, scoring included"
    if plan.device.memory_gb is not None:
        source = (
            f"not measured: from {REACHED:.0%} of the published bandwidth and peak, "
            f"and {LORA_FACTOR:.0%} of the base's speed with LoRA"
        )
    console.print(
        f"Time: {_time(timing.total_s)}, {timing.candidates_per_hour:,.0f} candidates "
        f"an hour; {source}."
    )
    console.print(
        f"Executing answers may bound the run: {answers:,.0f} a second arrive at "
        f"{plan.sandbox_workers} sandbox workers; two workers on two cores have "
        f"managed {SCORED_PER_S}."
    )
    if plan.cost is None:
        console.print("Price: say engine.price_per_hour=... to see it.")
    else:
        console.print(
            f"Price: {plan.cost:,.2f}, at {plan.price_per_hour:g} an hour for each of "
            f"{_accelerators(plan)} accelerators."
        )


def _accelerators(plan: Plan) -> int:
    return plan.num_servers * plan.gpus_per_server


def _format(plan: Plan) -> str:
    return "not quantised" if plan.quantization == "none" else plan.quantization


def _accelerator(gigabytes: int | None) -> str:
    return f"{gigabytes} GB" if gigabytes else f"more than {MEMORY_SIZES[-1]} GB"


def _size(num_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
