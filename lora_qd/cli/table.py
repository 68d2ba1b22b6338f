"""The final table on a terminal."""

from rich.console import Console
from rich.table import Table

from lora_qd.runs.results import Results


def print_results(console: Console, results: Results) -> None:
    """Print the test scores of base, experts, merge, best bred member and aggregate."""
    table = Table(title="Test split (never read by the search), 95 % intervals")
    table.add_column("")
    for skill in results.skills:
        table.add_column(skill, justify="right")
    table.add_column("mean", justify="right", style="bold")
    for skill in results.retention:
        table.add_column(skill, justify="right", style="dim")
    best = max(row.mean.mean for row in results.rows)
    for row in results.rows:
        style = "green" if row.mean.mean == best else None
        scores = [str(row.by_skill[skill]) for skill in results.skills]
        retained = results.retained(row)
        table.add_row(row.name, *scores, str(row.mean), *retained, style=style)
    console.print(table)
    if results.retention:
        names = ", ".join(results.retention)
        console.print(
            f"{names}: never optimised; in parentheses the share of the base's score."
        )
    for sentence in results.costs.sentences() if results.costs else ():
        console.print(sentence, soft_wrap=True)


def size_of(num_bytes: int) -> str:
    """Return a number of bytes for a reader: ``13.3 MB``."""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if value >= 1000:
            value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
