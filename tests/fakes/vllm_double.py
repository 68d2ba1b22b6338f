"""A vLLM server in this process: the HTTP routes that we use, and every way to die.

What it answers depends on the weights it has read and on the prompt, as the real one's
answers do. It counts how it is used, and refuses what the real one refuses.
"""

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import httpx

from lora_qd.errors import EngineError


class VllmDouble:
    """Stands for a ``VllmServer``; ``kill`` and ``hang`` make it fail."""

    base_name = "base"
    where = "it is a double"

    def __init__(self, settings, root: Path, *, seconds=0.0):
        self.settings = settings
        self.root = root
        self.seconds = seconds
        """What a completion takes."""
        self.adapters = root
        self.num_starts = 0
        self.num_failing_starts = 0
        """How many of the next starts fail."""
        self.num_under_way = 0
        self.num_loads = 0
        self.deadly = ""
        """A text whose prompt kills it."""
        self._weights = {}
        self._life = 0
        self._is_up = False
        self._hangs = False
        self.start()

    def start(self):
        if self.num_failing_starts:
            self.num_failing_starts -= 1
            raise EngineError("the double does not start")
        self.num_starts += 1
        self.adapters = self.root / f"life-{self.num_starts}"
        self.adapters.mkdir()
        self._weights = {}
        self._is_up, self._hangs = True, False

    def stop(self):
        self.kill()

    def kill(self):
        """Die with everything that it holds, the directory of adapters included."""
        self._is_up = False
        self._life += 1
        self.num_under_way = 0
        shutil.rmtree(self.adapters, ignore_errors=True)

    def hang(self):
        """Answer nothing any more."""
        self._hangs = True

    def client(self):
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._handle), base_url="http://double"
        )

    def failure(self, fact, otherwise):
        return f"expected the double to serve, but it {fact}; {otherwise}"

    async def _handle(self, request):
        life = self._life
        self._require_life(life)
        if self._hangs:
            raise httpx.ReadTimeout("silent")
        order = json.loads(request.content)
        answer = await self._answer(request.url.path, order)
        self._require_life(life)
        return answer

    def _require_life(self, life):
        if not self._is_up or life != self._life:
            raise httpx.ReadError("gone")

    async def _answer(self, path, order):
        if path == "/v1/load_lora_adapter":
            return self._load(order["lora_name"], Path(order["lora_path"]))
        if path == "/v1/unload_lora_adapter":
            if self._weights.pop(order["lora_name"], None) is None:
                return _refusal(404, "The lora adapter cannot be found.")
            return httpx.Response(200, text="Success")
        life = self._life
        self.num_under_way += 1
        await asyncio.sleep(self.seconds)
        self._require_life(life)
        self.num_under_way -= 1
        return self._complete(order)

    def _load(self, name, path):
        if name in self._weights:
            return _refusal(400, f"The lora adapter '{name}' has already been loaded.")
        file = path / "adapter_model.safetensors"
        if not file.is_file():
            return _refusal(404, f"No adapter found for {path}")
        self._weights[name] = file.read_bytes()
        self.num_loads += 1
        return httpx.Response(200, text="Success")

    def _complete(self, order):
        name = order["model"]
        if name != self.base_name and name not in self._weights:
            return _refusal(404, f"The model `{name}` does not exist.")
        choices = []
        for index, prompt in enumerate(order["prompt"]):
            if self.deadly and self.deadly == str(prompt[5]):
                self.kill()
            text = str(prompt).encode() + self._weights.get(name, b"")
            words = hashlib.sha256(text).hexdigest()[:12]
            choices.append(
                {
                    "index": index,
                    "text": words,
                    "token_ids": [1, 2, 3],
                    "finish_reason": "stop",
                }
            )
        return httpx.Response(200, json={"choices": choices[::-1]})


def _refusal(status, message):
    return httpx.Response(status, json={"error": {"message": message}})
