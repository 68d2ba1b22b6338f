"""What all tests share: their own caches, and one vLLM server over a random base."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest

# Set before any test module imports transformers, which reads them at import.
_USERS_CACHE = {k: v for k, v in os.environ.items() if k == "XDG_CACHE_HOME"}
_CACHES = Path(tempfile.mkdtemp(prefix="loraqd-tests-"))
os.environ |= {
    "HF_HOME": str(_CACHES / "hf"),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_CACHE_ROOT": str(_CACHES / "vllm"),
    "VLLM_CONFIG_ROOT": str(_CACHES / "vllm-config"),
    "MPLCONFIGDIR": str(_CACHES / "matplotlib"),
    "XDG_CACHE_HOME": str(_CACHES / "cache"),
}


def pytest_unconfigure():
    shutil.rmtree(_CACHES, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A base model of noise with a chat template: a directory."""
    from tests.tiny_base import save_tiny_base

    return save_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def debian_root(tmp_path_factory):
    """A small Debian system, from the user's own cache; its build takes a minute."""
    from lora_qd.tasks.sandbox.systems.root import find_root

    if os.geteuid() != 0:
        pytest.skip("systems in bubblewrap need root's rights")
    with mock.patch.dict(os.environ):
        os.environ.pop("XDG_CACHE_HOME")
        os.environ |= _USERS_CACHE
        return find_root()


@pytest.fixture(scope="session")
def vllm_server(tiny_base):
    """One server for the whole session, at rank 16; its start takes half a minute."""
    from lora_qd.engines import VllmServer
    from tests.tiny_base import server_settings

    with VllmServer(server_settings(tiny_base)) as server:
        yield server


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stub of the Hub; huggingface_hub talks to it and to nothing else."""
    from tests.fakes.hub_server import point_client_at, running_hub

    with running_hub() as server:
        point_client_at(server, tmp_path / "hub-cache", monkeypatch)
        yield server


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Return a finished run's directory and what the command printed."""
    from tests.runs.small import evolve

    run = tmp_path_factory.mktemp("runs") / "small"
    done = evolve(run)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout
