"""The SQL or shell code in an answer."""

import re

_BLOCK = re.compile(r"```[ \t]*([A-Za-z]*)[ \t]*\r?\n(.*?)(?:```|\Z)", re.S)


def code_in(answer: str, languages: tuple[str, ...]) -> str:
    """Return the last fenced block in one of ``languages``.

    Without one it is the last block without a language, else the answer as it is.
    """
    blocks = _BLOCK.findall(answer)
    for wanted in (languages, ("",)):
        fitting = [code for name, code in blocks if name.lower() in wanted]
        if fitting:
            return str(fitting[-1]).strip()
    return answer.strip()
