"""The HTTP calls of a vLLM server, with its failures as ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from lora_qd.engines.vllm_server import VllmServer
from lora_qd.errors import EngineError

_GREEDY: Mapping[str, object] = {
    "temperature": 0.0,
    # A model's generation_config.json may set these, and greedy decoding obeys them.
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class VllmClient:
    """Talks to one server that is up.

    Every method raises EngineError where the server refuses, fails or is gone.
    """

    def __init__(self, server: VllmServer) -> None:
        self._server = server
        self._http = server.client()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def load(self, name: str, path: Path) -> None:
        """Load the PEFT directory ``path`` under a name that was never used."""
        await self._post(
            "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}
        )

    async def unload(self, name: str) -> None:
        """Forget the adapter ``name``; vLLM drops its weights when it needs room."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def complete(
        self,
        model: str,
        prompts: Sequence[Sequence[int]],
        options: Mapping[str, object],
    ) -> list[dict[str, Any]]:
        """Return the greedy completion of each prompt, as vLLM describes it.

        Args:
            model: the name of the base or of a loaded adapter.
            prompts: token ids.
            options: further fields of the API's request.
        """
        order = {"model": model, "prompt": prompts, **_GREEDY, **options}
        body = (await self._post("/v1/completions", order)).json()
        choices = sorted(body["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != len(prompts):
            raise EngineError(
                f"expected {len(prompts)} completions from vLLM, but got "
                f"{len(choices)}; its log is {self._server.log}"
            )
        return choices

    async def _post(self, path: str, order: Mapping[str, object]) -> httpx.Response:
        try:
            response = await self._http.post(path, json=order)
        except httpx.HTTPError as error:
            fact = f"broke off at {path} ({type(error).__name__}); repeat the command"
            raise EngineError(self._server.failure(fact)) from error
        if response.status_code != httpx.codes.OK:
            raise EngineError(
                f"expected vLLM to answer {path}, but it refused with "
                f"{response.status_code}: {_reason(response)}; its log is "
                f"{self._server.keep_log()}"
            )
        return response


def _reason(response: httpx.Response) -> str:
    """Return what the server says about a refusal, as one line."""
    try:
        body = response.json()
        text = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text
    return " ".join(text.split())[:500]
