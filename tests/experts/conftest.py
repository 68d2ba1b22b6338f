import pytest

from tests.tiny_base import save_tiny_base


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Directory of a tiny Llama that has learned nothing."""
    return str(save_tiny_base(tmp_path_factory.mktemp("base") / "tiny"))
