"""vLLM's way to ask for an adapter that a request names and that it does not know."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from vllm.logger import init_logger
from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

from lora_qd.errors import LoraQDError

_NAME = "loraqd"
_log = init_logger("vllm.loraqd")


class MemberResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not followed
    """Finds adapters by a function of ours; a name is never made part of a path."""

    def __init__(self, find: Callable[[str], Path]) -> None:
        """Use ``find``, which returns a PEFT directory or raises LoraQDError."""
        self._find = find

    async def resolve_lora(
        self,
        base_model_name: str,  # noqa: ARG002 - vLLM's signature
        lora_name: str,
    ) -> LoRARequest | None:
        """Return where the adapter lies; None, which is a 404, if there is none."""
        try:
            path = await asyncio.to_thread(self._find, lora_name)
        except LoraQDError as error:
            _log.warning("%s", error)
            return None
        # vLLM gives it a number of its own, which no other adapter ever had.
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(path))


def register(find: Callable[[str], Path]) -> None:
    """Let vLLM ask ``find`` for adapters."""
    LoRAResolverRegistry.register_resolver(_NAME, MemberResolver(find))
