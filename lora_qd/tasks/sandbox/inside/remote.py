"""An answer and its judge in two processes: the judge calls, the answer returns data.

The judge never runs the answer's code and the answer never holds the judge's: only
plain data crosses, rebuilt as exact built-in types, so that no class of the answer's
own takes part in a comparison.
"""

import builtins
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lora_qd.tasks.sandbox.inside.messages import read_message, write_message

_MOST_BYTES = 8 << 20
"""Of one message; a longer answer is an error."""
_MOST_ITEMS = 100_000
_MOST_TEXT = 200
_PLAIN_INT = 1 << 60
"""Beyond, integers travel in base 16: decimals of any length take quadratic time."""
_TAG_BY_KIND = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f"))
_KIND_BY_TAG: dict[str, Callable[[Any], Any]] = {tag: k for k, tag in _TAG_BY_KIND}


def encode(value: object, keep: Callable[[object], int]) -> Any:  # noqa: ANN401 - JSON
    """Return ``value`` as JSON; whatever is no plain data becomes a reference.

    Args:
        value: what travels; of subclasses only the plain part does.
        keep: stores an object on this side and returns its number.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _PLAIN_INT else ["i", hex(value)]
    if isinstance(value, (float, str)):
        return float(value) if isinstance(value, float) else str.__str__(value)
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, (bytes, bytearray)):
        return ["b", value.hex()]
    if isinstance(value, dict):
        pairs = dict.items(value)
        return ["d", *([encode(k, keep), encode(v, keep)] for k, v in pairs)]
    for kind, tag in _TAG_BY_KIND:
        if isinstance(value, kind):
            items = kind.__iter__(value)  # type: ignore[arg-type] # of this very kind
            return [tag, *(encode(item, keep) for item in items)]
    return ["r", keep(value)]


def decode(data: Any, refer: Callable[[int], object]) -> Any:  # noqa: ANN401 - any type
    """Return what `encode` made ``data`` from.

    Args:
        data: as it came; nothing in it is trusted.
        refer: returns what stands here for an object of the other side.

    Raises:
        ValueError: it is no such data.
    """
    if not isinstance(data, list):
        return data
    match data:
        case ["d", *pairs]:
            return {decode(k, refer): decode(v, refer) for k, v in pairs}
        case ["i", str(digits)]:
            return int(digits, 16)
        case ["b", str(digits)]:
            return bytes.fromhex(digits)
        case ["c", float(real), float(imag)]:
            return complex(real, imag)
        case ["r", int(number)]:
            return refer(number)
        case [str(tag), *items] if tag in _KIND_BY_TAG:
            return _KIND_BY_TAG[tag](decode(item, refer) for item in items)
    raise ValueError(f"expected data of an answer, but got {str(data)[:80]}")


class Answer:
    """The judge's end: what the answer defines, by name."""

    def __init__(self, link: int) -> None:
        """Wait until the answer has been executed.

        Raises:
            Exception: what the answer raised meanwhile.
        """
        self._link = link
        self._ask(None)

    def __getitem__(self, name: str) -> "Remote":
        """Return what the answer calls ``name``; KeyError where there is none."""
        found = self.call("name", name)
        if not isinstance(found, Remote):
            raise KeyError(name)
        return found

    def call(self, operation: str, *arguments: object) -> Any:  # noqa: ANN401 - any type
        """Have the answer do something; raise what it raises."""
        return self._ask([operation, *(encode(a, _number) for a in arguments)])

    def _ask(self, order: list[Any] | None) -> Any:  # noqa: ANN401 - any type
        try:
            if order is not None:
                write_message(self._link, {"order": order})
            reply = read_message(self._link, _MOST_BYTES)
        except (EOFError, OSError):
            raise RuntimeError("the answer ended, or hung up") from None
        error = reply.get("error")
        if error is not None:
            raise _error(str(error), str(reply.get("text")))
        return decode(reply.get("value"), lambda number: Remote(self, number))


class Remote:
    """What stands for an object of the answer that is no plain data."""

    def __init__(self, answer: Answer, number: int) -> None:
        object.__setattr__(self, "_answer", answer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        """Call it there with plain data, or with other objects of the answer."""
        return self._answer.call("call", self, list(arguments), named)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any type
        return self._answer.call("get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._answer.call("set", self, name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._answer.call("list", self))

    def __len__(self) -> int:
        return int(self._answer.call("len", self))


def _number(value: object) -> int:
    """Return the number of an object of the other side."""
    if isinstance(value, Remote):
        return int(object.__getattribute__(value, "_number"))
    raise TypeError(f"expected plain data, but got {type(value).__name__}")


def _error(name: str, text: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError and others want more
            pass
    return RuntimeError(f"{name}: {text}")


def serve(link: int, source: str) -> None:
    """The answer's end: execute ``source`` and do as the judge says, until it is gone.

    Everything here may have been changed by the answer: that harms only itself.
    """
    space: dict[str, Any] = {"__name__": "answer"}
    kept: list[object] = []

    def keep(value: object) -> int:
        kept.append(value)
        return len(kept) - 1

    def reply(work: Callable[[], object]) -> None:
        try:
            message = {"value": encode(work(), keep)}
        except BaseException as error:  # noqa: BLE001 - whatever it raises is its result
            text = (str(error).splitlines() or [""])[0][:_MOST_TEXT]
            message = {"error": type(error).__name__, "text": text}
        write_message(link, message)

    def obey(operation: str, *data: object) -> object:
        return _obey(operation, [decode(d, kept.__getitem__) for d in data], space)

    reply(lambda: exec(compile(source, "answer", "exec"), space))
    while True:
        order = read_message(link)["order"]  # EOFError: the judge has ended
        reply(partial(obey, *order))


def _obey(operation: str, arguments: list[Any], space: dict[str, Any]) -> object:
    first, *others = arguments
    match operation:
        case "name":
            return space.get(first)
        case "call":
            return first(*others[0], **others[1])
        case "get":
            return getattr(first, others[0])
        case "set":
            setattr(first, *others)
            return None
        case "len":
            return len(first)
        case "list":
            items = []
            for item in first:
                items.append(item)
                if len(items) > _MOST_ITEMS:
                    raise ValueError(f"more than {_MOST_ITEMS} items")
            return items
    raise ValueError(f"unknown operation {operation!r}")
