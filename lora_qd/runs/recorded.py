"""What a run's ledger says that the run is, checked before anything is made of it."""

from collections.abc import Sequence
from typing import Any

from lora_qd.errors import InputError, LoraQDError, StoreError
from lora_qd.runs.config import RunConfig, parse_config
from lora_qd.store.ledger import ChildRow, Ledger
from lora_qd.store.run_directory import RunDirectory


def read_children(
    ledger: Ledger, directory: RunDirectory
) -> tuple[RunConfig, Sequence[ChildRow]]:
    """Return the config and the children, each with a score on every skill.

    Raises:
        InputError: the run was stopped before it began.
        StoreError: what the ledger holds is no config or no children.
    """
    try:
        config = read_config(ledger, directory)
        children = ledger.children()
    except LoraQDError:
        raise
    except (ValueError, TypeError, KeyError) as error:  # what was JSON is no more
        raise damaged(directory, repr(error)) from error
    if config is None:
        raise InputError(
            f"expected a run in {directory.path}, but it was stopped before it began; "
            "start it with loraqd evolve"
        )
    for row in children:
        if not set(config.skills) <= set(row.scores):
            fact = f"{row.member} has the scores {row.scores}"
            raise damaged(directory, fact)
    return config, children


def read_config(ledger: Ledger, directory: RunDirectory) -> RunConfig | None:
    """Return the config that a run last went on with; None where it never began.

    Raises:
        InputError: it is none of this version.
    """
    raw: Any = ledger.last_session().get("config") or ledger.manifest().get("config")
    return parse_config(raw, source=str(directory.ledger)) if raw else None


def damaged(directory: RunDirectory, fact: str) -> StoreError:
    """Return the error of a ledger whose ``fact`` no run writes."""
    return StoreError(
        f"expected whole children in {directory.ledger}, but got: {fact}; restore the "
        "file from a copy"
    )
