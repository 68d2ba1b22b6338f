"""What tests of reading and auditing share: stopped runs and tampered ledgers."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from tests.runs import synthetic


class StoppedError(Exception):
    """The run is stopped from outside."""


def run_and_stop(config, after, look=synthetic.nobody):
    """Run until ``after`` children are in the ledger; ``look`` at each."""

    def stop(progress):
        look(progress)
        if progress.num_done == after:
            raise StoppedError

    with suppress(StoppedError):
        synthetic.run(config, progress=stop)
        raise AssertionError("the run was not stopped")


def rewrite(run, *statements):
    """Change a ledger behind loraqd's back."""
    with closing(sqlite3.connect(Path(run) / "ledger.sqlite")) as db:
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement
        db.commit()
