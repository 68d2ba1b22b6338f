"""What vLLM calls in each of its processes when this package is installed."""


def register() -> None:
    """Do nothing yet."""
