"""Writing whole files or none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from lora_qd.errors import StoreError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: beside, synced, renamed.

    Raises:
        StoreError: the file system refuses; ``path`` is then as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        _forget(beside)
        raise StoreError(
            f"expected to write {path}, but got: {error.strerror}; free space or "
            "change permissions, then repeat"
        ) from error
    except BaseException:
        _forget(beside)
        raise


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed :func:`write_bytes` left beside its target."""
    for path in leftovers(directory):
        _forget(path)


def leftovers(directory: Path) -> list[Path]:
    """Return what a killed :func:`write_bytes` left in ``directory``."""
    return sorted(directory.glob(".*.tmp"))


def _sync_directory(path: Path) -> None:
    """Make a rename in ``path`` outlast a power cut."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _forget(path: Path) -> None:
    """Delete what may not even exist, on a file system that may refuse."""
    with suppress(OSError):
        path.unlink()


@contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a directory beside ``path`` that becomes ``path`` if the block succeeds.

    Args:
        path: the directory to make.
        replace: whether an existing directory is replaced.

    Raises:
        StoreError: ``path`` exists and is not to be replaced, or writing fails.
    """
    if path.exists() and not replace:
        raise StoreError(
            f"expected {path} not to exist, but it does; choose another directory"
        )
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        beside.chmod(0o755)
        yield beside
        if path.exists():
            shutil.rmtree(path)
        beside.rename(path)
    except OSError as error:
        raise StoreError(
            f"expected to write {path}, but got: {error.strerror or error}; free "
            "space or change permissions, then repeat"
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
