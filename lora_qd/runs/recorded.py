"""What a run's ledger says that the run is, checked before anything is made of it."""

from collections.abc import Sequence

from lora_qd.errors import InputError, StoreError
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
        raw = ledger.last_session().get("config") or ledger.manifest().get("config")
        children = ledger.children()
    except (ValueError, TypeError, KeyError) as error:  # what was JSON is no more
        raise StoreError(_damaged(directory, repr(error))) from error
    if raw is None:
        raise InputError(
            f"expected a run in {directory.path}, but it was stopped before it began; "
            "start it with loraqd evolve"
        )
    config = parse_config(raw, source=str(directory.ledger))
    for row in children:
        if not set(config.skills) <= set(row.scores):
            fact = f"{row.member} has the scores {row.scores}"
            raise StoreError(_damaged(directory, fact))
    return config, children


def _damaged(directory: RunDirectory, fact: str) -> str:
    return (
        f"expected whole children in {directory.ledger}, but got: {fact}; restore the "
        "file from a copy"
    )
