"""What tests share that talk to the stub of the Hub by the real client."""

import pytest

from tests.fakes.hub_repo import TOKEN


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def impatient(monkeypatch):
    """Let the client retry at once; it waits up to eight seconds, five times."""
    import huggingface_hub.utils._http as http

    monkeypatch.setattr(http.time, "sleep", lambda _: None)
