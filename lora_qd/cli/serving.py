"""``loraqd serve``."""

import shlex
from pathlib import Path

from rich.console import Console

from lora_qd.runs.cells import cell_name
from lora_qd.runs.run import Run
from lora_qd.serving.server import Access, export_named, serve

console = Console(highlight=False, soft_wrap=True, markup=False)


def serve_run(path: Path, *, port: int, api_key: str | None) -> None:
    """Serve a finished run until Ctrl-C."""
    run = Run.open(path)
    run.directory.require_finished()
    console.print("Starting vLLM ...")

    def ready(url: str, names: tuple[str, ...]) -> None:
        console.print(f"\nServing on {url}: {', '.join(names)}")
        console.print(f"Any other member by its id or cell, such as {_a_cell(run)}")
        console.print(f"\n{curl_snippet(url, names[0], has_key=bool(api_key))}")
        console.print(f"\n{python_snippet(url, names[0], has_key=bool(api_key))}")
        console.print("\nStop with Ctrl-C.")

    serve(run, Access(port, api_key), ready=ready)
    console.print("Stopped.")


def print_command(path: Path) -> None:
    """Export the named members and print the line that serves them."""
    settings = export_named(Run.open(path))
    folder = next(iter(settings.lora_modules.values())).parent
    console.print(f"# Wrote {folder}: {', '.join(settings.lora_modules)}")
    console.print(shlex.join(settings.plain_command()))


def curl_snippet(url: str, model: str, *, has_key: bool) -> str:
    """Return a command that asks ``model``; the key comes from the environment."""
    key = ' -H "Authorization: Bearer $LORAQD_API_KEY"' if has_key else ""
    return (
        f"curl {url}/chat/completions -H 'Content-Type: application/json'{key} -d '"
        f'{{"model": "{model}", "temperature": 0, "max_tokens": 64, "messages": '
        '[{"role": "user", "content": "Hello"}]}\''
    )


def python_snippet(url: str, model: str, *, has_key: bool) -> str:
    """Return a program that asks ``model`` by the openai package."""
    key = 'os.environ["LORAQD_API_KEY"]' if has_key else '"none"'
    imports = ["import os", ""] if has_key else []
    lines = [
        *imports,
        "from openai import OpenAI",
        "",
        f'client = OpenAI(base_url="{url}", api_key={key})',
        "reply = client.chat.completions.create(",
        f'    model="{model}", temperature=0, max_tokens=64,',
        '    messages=[{"role": "user", "content": "Hello"}],',
        ")",
        "print(reply.choices[0].message.content)",
    ]
    return "\n".join(lines)


def _a_cell(run: Run) -> str:
    archive = next(iter(run.archives.values()))
    return cell_name(archive, archive.elites[0].index)
