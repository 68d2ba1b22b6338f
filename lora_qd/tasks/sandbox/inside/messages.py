"""Messages between driver and supervisor: JSON behind a length of four bytes."""

import json
import os
import struct
from typing import Any


def read_exactly(descriptor: int, length: int) -> bytes:
    """Return ``length`` bytes.

    Raises:
        EOFError: the other side is gone.
    """
    data = b""
    while len(data) < length:
        chunk = os.read(descriptor, length - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def read_message(descriptor: int, most_bytes: int | None = None) -> dict[str, Any]:
    """Return the next message; EOFError at the end of the stream.

    Raises:
        ValueError: it is longer than ``most_bytes``, or no JSON object.
    """
    (length,) = struct.unpack(">I", read_exactly(descriptor, 4))
    if most_bytes is not None and length > most_bytes:
        raise ValueError(f"expected at most {most_bytes} bytes, but got {length}")
    return dict(json.loads(read_exactly(descriptor, length)))


def write_message(descriptor: int, message: dict[str, Any]) -> None:
    """Write one message completely."""
    data = json.dumps(message).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(descriptor, data) :]
