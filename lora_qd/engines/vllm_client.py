"""The HTTP calls of a vLLM server, with its failures as ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from lora_qd.engines.server import Server
from lora_qd.errors import EngineError

_PLAIN: Mapping[str, object] = {
    "temperature": 0.0,
    # A model's generation_config.json may set these, and greedy decoding obeys some.
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


_COMPLETIONS = "/v1/completions"


class ServerGoneError(Exception):
    """A server died, hung or broke down; what it was asked may be asked again.

    The message follows "it".
    """


class VllmClient:
    """Talks to one server that is up.

    Every method raises EngineError where the server refuses, and ServerGoneError where
    it did not live to answer.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = server.client()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def load(self, name: str, path: Path) -> None:
        """Load the PEFT directory ``path`` under the hash of its content.

        A server that knows the name has these very weights.
        """
        order = {"lora_name": name, "lora_path": str(path)}
        await self._post("/v1/load_lora_adapter", order, fine="already been loaded")

    async def unload(self, name: str) -> None:
        """Forget the adapter ``name``; vLLM drops its weights when it needs room."""
        order = {"lora_name": name}
        await self._post("/v1/unload_lora_adapter", order, fine="cannot be found")

    async def complete(
        self,
        model: str,
        prompts: Sequence[Sequence[int]],
        options: Mapping[str, object],
    ) -> list[dict[str, Any]]:
        """Return the completion of each prompt, as vLLM describes it.

        Args:
            model: the name of the base or of a loaded adapter.
            prompts: token ids.
            options: further fields of the API's request; greedy without any.
        """
        order = {"model": model, "prompt": prompts, **_PLAIN, **options}
        body = (await self._post(_COMPLETIONS, order)).json()
        choices = sorted(body["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != len(prompts):
            raise EngineError(
                f"expected {len(prompts)} completions from vLLM, but got "
                f"{len(choices)}; {self._server.where}"
            )
        return choices

    @property
    def base_name(self) -> str:
        """The model name of the bare base."""
        return self._server.base_name

    async def _post(
        self, path: str, order: Mapping[str, object], *, fine: str = ""
    ) -> httpx.Response:
        """Return the answer to an order; a refusal that says ``fine`` is one too."""
        try:
            response = await self._http.post(path, json=order)
        except httpx.TimeoutException as error:
            raise ServerGoneError(
                f"was silent at {path} for {self._http.timeout.read:g} s"
            ) from error
        except httpx.HTTPError as error:
            raise ServerGoneError(
                f"broke off at {path} ({type(error).__name__})"
            ) from error
        if response.status_code == httpx.codes.OK:
            return response
        reason = _reason(response)
        if fine and fine in reason:
            return response
        if response.is_server_error and (path == _COMPLETIONS or "Dead" in reason):
            raise ServerGoneError(
                f"failed at {path} with {response.status_code}: {reason}"
            )
        raise EngineError(
            f"expected vLLM to answer {path}, but it refused with "
            f"{response.status_code}: {reason}; {self._server.where}"
        )


def _reason(response: httpx.Response) -> str:
    """Return what the server says about a refusal, as one line."""
    try:
        body = response.json()
        text = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split())[:500]
