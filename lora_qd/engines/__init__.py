"""Engines answer generation requests for a base model and its adapters.

Belongs here: vLLM, transformers, a fake for tests; nothing else imports vLLM. Does
not belong here: prompts, scoring, the search, or how an adapter directory is written.
"""

from lora_qd.engines.attached_server import AttachedServer
from lora_qd.engines.canary import check_effect
from lora_qd.engines.endpoint import ChatEndpoint
from lora_qd.engines.engine import Engine, ProbedEngine
from lora_qd.engines.fake import FakeEngine
from lora_qd.engines.peft_engine import PeftEngine
from lora_qd.engines.server_settings import ServerSettings
from lora_qd.engines.transformers_engine import LocalSettings, TransformersEngine
from lora_qd.engines.vllm_engine import VllmEngine
from lora_qd.engines.vllm_server import VllmServer

__all__ = [
    "AttachedServer",
    "ChatEndpoint",
    "Engine",
    "FakeEngine",
    "LocalSettings",
    "PeftEngine",
    "ProbedEngine",
    "ServerSettings",
    "TransformersEngine",
    "VllmEngine",
    "VllmServer",
    "check_effect",
]
