"""The code in a completion."""

import re

_BLOCK = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)(?:```|\Z)", re.S | re.I)
_CODE_LINE = re.compile(r"^(?:def|class|import|from|async|@)\b|^@", re.M)
_NEXT = re.compile(r"\n(?:def |class |#|if |print|@|```|assert )")
"""What ends a continued body, as in HumanEval's stop texts."""


def code_of(text: str, entry_point: str, *, stub: str = "") -> str:
    """Return the Python code that a completion holds.

    That is the last fenced block that defines ``entry_point``, else the last fenced
    block; without fences the text from its first line of code on. A text that defines
    nothing continues ``stub``, as base models do.

    Args:
        text: the completion.
        entry_point: the function that is asked for.
        stub: the function's beginning, up to its body; empty if there is none.
    """
    blocks = [block for block in _BLOCK.findall(text) if block.strip()]
    if blocks:
        defining = [b for b in blocks if _defines(b, entry_point)]
        return str((defining or blocks)[-1])
    if _defines(text, entry_point) or not stub:
        start = _CODE_LINE.search(text)
        return text[start.start() :] if start else text
    end = _NEXT.search(text)
    return stub + (text[: end.start()] if end else text)


def _defines(code: str, name: str) -> bool:
    pattern = (
        rf"^(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*="
    )
    return re.search(pattern, code, re.M) is not None
