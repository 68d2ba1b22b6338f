"""``loraqd export``."""

from pathlib import Path

from rich.console import Console

from lora_qd.runs.run import Run


def export_member(run: Path, *, member: str, out: Path) -> None:
    """Write a member as a PEFT directory and say how to load it."""
    opened = Run.open(run)
    dropped = opened.export(member, out)
    console = Console(highlight=False, soft_wrap=True)
    rank = opened.config.engine.serve_rank
    console.print(f"Wrote {out}: rank {rank}, {dropped:.1%} of the energy truncated.")
    console.print(f'Load it:  PeftModel.from_pretrained(base, "{out}")')
