"""A vLLM server that somebody else started, reached by its URL."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from lora_qd.engines.chat import ChatFormat
from lora_qd.engines.server_settings import ServerSettings
from lora_qd.errors import EngineError
from lora_qd.records import Message

_POLL_S = 0.5
_FIRST_PATIENCE_S = 5.0
_PROBE = (Message("user", "What is 12 + 30? Write: def f(x): return x.strip()"),)


class AttachedServer:
    """A running server; use it as a context manager, which leaves it running.

    It must have been started with LoRA on, VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, a rank
    of at least ours, and it must see the directory of adapters under the same path.
    """

    def __init__(
        self,
        url: str,
        settings: ServerSettings,
        directory: Path,
        *,
        api_key_variable: str | None = None,
    ) -> None:
        """Name a server; nothing is sent yet.

        Args:
            url: its address, without ``/v1``.
            settings: what it is expected to serve; ``start_timeout_s`` is how long it
                may be away.
            directory: where adapters are written, which the server can read; ours are
                in a directory of their own below it.
            api_key_variable: the environment variable that holds its key, if any.
        """
        self.settings = settings
        self.adapters = Path()
        """A directory of ours below the given one."""
        self.base_name = ""
        self._url = url.rstrip("/").removesuffix("/v1")
        self._root = directory
        self._is_closed = False
        self._scratch: TemporaryDirectory[str] | None = None
        key = os.environ.get(api_key_variable or "", "")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def __enter__(self) -> "AttachedServer":
        """Check that it answers as expected."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Delete the adapters that were written for it."""
        self.close()

    def start(self) -> None:
        """Wait until it answers, then check what it serves.

        Raises:
            EngineError: it is out of reach, serves another model or another
                vocabulary, or its directory cannot be written.
        """
        # A wrong URL is told at once; who has been there before may come back.
        is_known = bool(self.base_name)
        patience = self.settings.start_timeout_s if is_known else _FIRST_PATIENCE_S
        deadline = time.monotonic() + patience
        with httpx.Client(
            base_url=self._url, headers=self._headers, timeout=10.0
        ) as http:
            models = self._models(http)
            while isinstance(models, str):
                if self._is_closed or time.monotonic() > deadline:
                    raise EngineError(self.failure(models, "start it, or mend the URL"))
                time.sleep(_POLL_S)
                models = self._models(http)
            self.base_name = self._check_model(models)
            self._check_vocabulary(http)
        self._make_directory()

    def stop(self) -> None:
        """Do nothing: it is not ours to end."""

    def close(self) -> None:
        """Delete what was written for it; a start under way in a thread gives up."""
        self._is_closed = True
        self._forget()

    def _forget(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def client(self) -> httpx.AsyncClient:
        """Return a client whose calls go to it; the caller closes it."""
        return httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=httpx.Timeout(self.settings.request_timeout_s, connect=10.0),
        )

    def failure(self, fact: str, otherwise: str) -> str:
        """Return the message for a ``fact``, which follows "but it"."""
        return (
            f"expected vLLM at {self._url} to serve {self.settings.model}, but it "
            f"{fact}; {otherwise}"
        )

    @property
    def where(self) -> str:
        """Where to read more, to end a sentence."""
        return f"it is the server at {self._url}"

    def _models(self, http: httpx.Client) -> list[dict[str, Any]] | str:
        """Return the models that it lists, or why there is no list yet."""
        try:
            response = http.get("/v1/models")
        except httpx.TransportError as error:
            return f"is out of reach ({type(error).__name__})"
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise EngineError(
                self.failure("wants a key", "name its variable: engine.api_key_env")
            )
        if response.status_code != httpx.codes.OK:
            return f"answered /v1/models with {response.status_code}"
        try:
            models: list[dict[str, Any]] = response.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise EngineError(
                self.failure("answers /v1/models as no vLLM does", "mend the URL")
            ) from None
        return models

    def _check_model(self, models: list[dict[str, Any]]) -> str:
        """Return the base's name there, after a look at its path and its context."""
        bases = [model for model in models if not model.get("parent")]
        wanted = Path(self.settings.model).name
        fitting = [
            model
            for model in bases
            if wanted in (Path(str(model.get("root"))).name, Path(model["id"]).name)
        ]
        if not fitting:
            names = ", ".join(str(m.get("root") or m["id"]) for m in bases) or "nothing"
            raise EngineError(
                self.failure(f"serves {names}", "name its base in the config, or mend")
            )
        room = fitting[0].get("max_model_len")
        if room is not None and room < self.settings.max_model_len:
            raise EngineError(
                self.failure(
                    f"takes {room} tokens, not {self.settings.max_model_len}",
                    "lower engine.max_model_len",
                )
            )
        return str(fitting[0]["id"])

    def _check_vocabulary(self, http: httpx.Client) -> None:
        """Compare its token ids of a text with ours: prompts travel as ids."""
        ours = list(ChatFormat(self.settings.model).encode(_PROBE))
        turns = [{"role": m.role, "content": m.content} for m in _PROBE]
        order = {"model": self.base_name, "messages": turns}
        response = http.post("/tokenize", json=order)
        try:
            theirs = response.json()["tokens"]
        except (ValueError, KeyError, TypeError):
            raise EngineError(
                self.failure(
                    f"answered /tokenize with {response.status_code}",
                    "use a vLLM server that has this route",
                )
            ) from None
        if theirs != ours:
            raise EngineError(
                self.failure(
                    "has another vocabulary or chat template",
                    "serve the very base of the config",
                )
            )

    def _make_directory(self) -> None:
        """Make a fresh directory: a path that it has read is never written again."""
        self._forget()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._scratch = TemporaryDirectory(prefix="loraqd-", dir=self._root)
        except OSError as error:
            raise EngineError(
                f"expected to write adapters in {self._root}, but got: "
                f"{error.strerror}; name a directory that this machine and the server "
                "share: engine.adapter_dir"
            ) from error
        self.adapters = Path(self._scratch.name).resolve()
