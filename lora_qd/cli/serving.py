"""``loraqd serve``."""

from pathlib import Path

from rich.console import Console

from lora_qd.runs.members import RunMembers
from lora_qd.serving.server import serve


def serve_run(run: Path, *, port: int) -> None:
    """Serve a finished run until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    console.print("Starting vLLM ...")

    def ready(url: str, names: tuple[str, ...]) -> None:
        console.print(f"\nServing on {url}: {', '.join(names)}\n")
        console.print(
            f"curl {url}/chat/completions -H 'Content-Type: application/json' -d '"
            f'{{"model": "{names[0]}", "temperature": 0, "messages": '
            '[{"role": "user", "content": "..."}]}\'\n'
        )
        console.print("Stop with Ctrl-C.")

    serve(RunMembers(run), port=port, ready=ready)
    console.print("Stopped.")
