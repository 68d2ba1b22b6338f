"""Who is compared: the bare base, adapters, members of runs, models behind URLs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lora_qd.errors import InputError
from lora_qd.experts.fingerprint import base_hash
from lora_qd.factors import TaskVector
from lora_qd.hosted import checked_url, key_in
from lora_qd.records import Member
from lora_qd.runs.experts import check_shapes
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.run import Run
from lora_qd.store.adapters import adapter_bytes, adapter_name, load_adapter
from lora_qd.store.base import base_shapes
from lora_qd.store.hub_adapters import fetch_adapter
from lora_qd.store.run_directory import RunDirectory

BASE = "base"


class Endpoint(NamedTuple):
    """A model behind an OpenAI-compatible URL."""

    url: str
    """The API's address, with its ``/v1``."""
    model: str
    key_variable: str | None
    """The environment variable that holds its key."""

    def key(self) -> str | None:
        """Return its key; None if it needs none.

        Raises:
            InputError: the variable is not set.
        """
        return key_in(self.key_variable, where=self.url, remedy="--api-key-env")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One row of a comparison."""

    name: str
    """As the user wrote it."""
    identity: str
    """Changes with everything that may change its answers."""
    update: TaskVector | None = None
    """Of an adapter; None for the bare base and for endpoints."""
    endpoint: Endpoint | None = None
    note: str = ""
    """What a reader should know, one line; empty if nothing."""

    @property
    def member(self) -> Member | None:
        """Who answers on an engine; None is the bare base."""
        return None if self.update is None else Member(self.name, {})

    @property
    def rank(self) -> int:
        """The adapter's largest rank; 0 without one."""
        updates = self.update.values() if self.update else ()
        return max((update.rank for update in updates), default=0)


def load_subjects(
    names: Sequence[str], config: MeasureConfig, keys: Mapping[str, str]
) -> list[Subject]:
    """Return whom ``names`` mean, in their order.

    Args:
        names: ``base``, a PEFT directory, a Hub id, ``RUN:MEMBER`` or ``URL#MODEL``.
        config: names the base that they change.
        keys: environment variables with the keys of URLs, by host.

    Raises:
        InputError: there is no such thing, it does not fit the base, or a name occurs
            twice.
        StoreError: the Hub cannot be reached.
    """
    if not names:
        raise InputError(
            "expected somebody to evaluate, but nobody is named; name base, adapters, "
            "RUN:MEMBER or URL#MODEL"
        )
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise InputError(
            f"expected every row once, but {twice[0]!r} is named twice; leave one out"
        )
    loader = _Loader(config, keys)
    return [loader.load(name) for name in names]


class _Loader:
    def __init__(self, config: MeasureConfig, keys: Mapping[str, str]) -> None:
        self._config = config
        self._keys = keys
        self._base_identity = ""

    def load(self, name: str) -> Subject:
        if name.startswith(("http://", "https://")):
            return self._endpoint(name)
        self._require_base(name)
        if name == BASE:
            return Subject(name, self._identity(""))
        run, colon, member = name.rpartition(":")
        if colon and RunDirectory(Path(run)).is_run:
            return self._member(name, Path(run), member)
        if RunDirectory(Path(name)).is_run:
            raise InputError(
                f"expected a member of the run {name}, but only the run is named; add "
                f"one, as in {name}:balanced"
            )
        path = fetch_adapter(name)
        adapter = load_adapter(path)
        return self._adapter(name, adapter.task_vector, adapter.base)

    def _endpoint(self, name: str) -> Subject:
        url, mark, model = name.partition("#")
        if not mark or not model:
            raise InputError(
                f"expected a URL with the model's name behind a #, but got {name!r}; "
                "write for example https://api.example.com/v1#its-model"
            )
        checked_url(url)
        host = url.partition("://")[2].partition("/")[0]
        variable = self._keys.get(host, self._keys.get(""))
        identity = hashlib.sha256(name.encode()).hexdigest()
        return Subject(name, identity, endpoint=Endpoint(url, model, variable))

    def _member(self, name: str, path: Path, member: str) -> Subject:
        run = Run.open(path)
        update = run.materialise(member, rank=run.config.engine.serve_rank)
        return self._adapter(name, update, run.config.base)

    def _adapter(self, name: str, update: TaskVector, base: str) -> Subject:
        check_shapes(Path(name), update, base_shapes(self._config.base))
        note = ""
        if base and Path(base) != Path(self._config.base):
            note = f"{name} names {base} as its base, not {self._config.base}"
        weights = adapter_name(adapter_bytes(update, dtype=self._config.engine.dtype))
        return Subject(name, self._identity(weights), update=update, note=note)

    def _identity(self, weights: str) -> str:
        engine = self._config.engine
        self._base_identity = self._base_identity or base_hash(self._config.base)
        parts = (self._base_identity, engine.quantization, engine.dtype, weights)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _require_base(self, name: str) -> None:
        if not self._config.base:
            raise InputError(
                f"expected the base model of {name!r}, but none is named; add --base, "
                "or --config with an experiment's file"
            )
