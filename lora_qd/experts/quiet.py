"""Keeps the training libraries silent: no telemetry, bars, warnings or downloads."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lora_qd.store.telemetry import no_telemetry

_LOGGERS = ("accelerate", "trl", "peft", "bitsandbytes", "transformers", "datasets")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers, trl, peft, accelerate and bitsandbytes within the block.

    Enter it before they are imported. Errors that they log still show.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            _import_bitsandbytes()
            with no_telemetry(), _no_bars():
                for logger in loggers:  # their imports set levels of their own
                    logger.setLevel(logging.ERROR)
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _import_bitsandbytes() -> None:
    """Import bitsandbytes without the kernel that it would fetch from the Hub.

    On processors with AVX512-BF16 the import downloads compiled code if the package
    ``kernels`` is there; without it, bitsandbytes uses its own code.
    """
    if "bitsandbytes" in sys.modules:
        return
    kernels = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # makes its import fail
    try:
        with suppress(ImportError):  # needed for a quantised base only
            import bitsandbytes  # noqa: F401
    finally:
        if kernels is None:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = kernels


@contextmanager
def _no_bars() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    had_bars = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.disable_progress_bar()
        yield
    finally:
        if had_bars:
            transformers_logging.enable_progress_bar()
