"""``loraqd merge`` and ``loraqd inspect``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lora_qd.errors import InputError
from lora_qd.store.inspection import Inspection, inspect_adapters
from lora_qd.store.merging import MergeOrder, MergeReport, merge_adapters


def parse_weights(text: str | None, num: int) -> tuple[float, ...]:
    """Return the weights that ``0.6,0.4`` stands for; by default all the same.

    Raises:
        InputError: they are no numbers.
    """
    if text is None:
        return (1 / num,) * num
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"expected weights like 0.6,0.4, but got {text!r}; separate numbers by "
            "commas"
        ) from error


def show_merge(
    references: Sequence[str],
    out: Path,
    order: MergeOrder,
    *,
    as_json: bool,
) -> None:
    """Merge and say what came of it."""
    report = merge_adapters(references, out, order)
    if as_json:
        print(json.dumps(asdict(report) | {"out": str(report.out)}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    _print_inspection(console, report.inspection, order.weights)
    _print_result(console, report, order)


def show_inspection(references: Sequence[str], *, as_json: bool) -> None:
    """Print what adapters are like, alone and against each other."""
    inspection = inspect_adapters(references)
    if as_json:
        print(json.dumps(asdict(inspection), indent=2))
        return
    _print_inspection(Console(highlight=False, soft_wrap=True), inspection, None)


def _print_inspection(
    console: Console, inspection: Inspection, weights: Sequence[float] | None
) -> None:
    table = Table()
    table.add_column("")
    table.add_column("adapter", overflow="fold")
    for name in ("weight",) if weights else ():
        table.add_column(name, justify="right")
    for name in ("rank", "modules", "norm", "effective rank"):
        table.add_column(name, justify="right")
    for index, adapter in enumerate(inspection.adapters):
        weight = [f"{weights[index]:g}"] if weights else []
        table.add_row(
            str(index + 1),
            adapter.name,
            *weight,
            str(adapter.rank),
            str(adapter.num_modules),
            f"{adapter.norm:.3g}",
            f"{adapter.effective_rank:.1f}",
        )
    console.print(table)
    if inspection.pairs:
        _print_pairs(console, inspection)


def _print_pairs(console: Console, inspection: Inspection) -> None:
    table = Table()
    table.add_column("")
    for name in ("cosine", "outputs shared", "inputs shared", "spectra alike"):
        table.add_column(name, justify="right")
    for pair in inspection.pairs:
        alike = pair.similarity
        table.add_row(
            f"{pair.first + 1}, {pair.second + 1}",
            f"{alike.cosine:+.3f}",
            f"{alike.output_subspace:.1%}",
            f"{alike.input_subspace:.1%}",
            f"{alike.spectral:.3f}",
        )
    console.print(table)


def _print_result(console: Console, report: MergeReport, order: MergeOrder) -> None:
    kept = f"{report.kept_energy:.1%} of the merge's energy kept"
    if report.rank < report.exact_rank:
        kept += f"; rank {report.exact_rank} would keep all of it (--exact)"
    options = "".join(f", {k} {v:g}" for k, v in order.parameters.items())
    console.print(f"{order.method}{options}, rank {report.rank}: {kept}")
    console.print(f"Wrote {report.out} ({order.dtype}) in {report.seconds:.1f} s")
    console.print(f'Load it:  PeftModel.from_pretrained(base, "{report.out}")')


def chosen(parameters: Mapping[str, float | None]) -> dict[str, float]:
    """Return the parameters that were given."""
    return {name: value for name, value in parameters.items() if value is not None}
