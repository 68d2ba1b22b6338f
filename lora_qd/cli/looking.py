"""``loraqd report`` and ``loraqd watch``."""

from pathlib import Path

from rich.console import Console

from lora_qd.dashboard.report import write_report
from lora_qd.dashboard.watching import watch


def report_run(run: Path, *, has_pictures: bool) -> None:
    """Write a run's report and say where it is."""
    path = write_report(run, has_pictures=has_pictures)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Report: {path}")
    console.print(f"Open it in any browser, or watch the run: loraqd watch {run}")


def watch_run(run: Path, *, port: int, allow: bool) -> None:
    """Serve a run's page until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)

    def ready(url: str) -> None:
        console.print(f"Watching {run} on {url}\nStop with Ctrl-C.")

    watch(run, port=port, ready=ready, allow=allow)
    console.print("Stopped. The run was only read.")
