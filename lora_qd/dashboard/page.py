"""The page: its data, and the HTML around them, in one file or served in parts.

What a model or a stranger wrote travels as JSON in a block that no browser executes,
and the scripts put it on the page as text.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from lora_qd.dashboard.people import known_members
from lora_qd.runs.figures import SECTIONS, Figure
from lora_qd.runs.following import Snapshot
from lora_qd.runs.overview import facts_of, notes_of

SCRIPTS = (
    "svg.js",
    "charts.js",
    "maps.js",
    "numbers.js",
    "hints.js",
    "frame.js",
    "member.js",
    "page.js",
)
"""In the order in which they are loaded."""
STYLE = "style.css"
_MOST_MEMBERS = 3000
"""That a report tells of: 1 MB. Of a larger run the live page knows the others."""


def asset(name: str) -> str:
    """Return the text of a file that is shipped beside this module."""
    return (files("lora_qd.dashboard") / "assets" / name).read_text(encoding="utf-8")


def headline(snapshot: Snapshot, figures: Sequence[Figure]) -> dict[str, Any]:
    """Return what stands above and beside the charts."""
    present = {figure.section for figure in figures}
    return {
        "title": snapshot.directory.path.absolute().name,
        "status": snapshot.status.value,
        "facts": facts_of(snapshot),
        "notes": notes_of(snapshot),
        "sections": [section for section in SECTIONS if section in present],
    }


def report_page(snapshot: Snapshot, figures: Sequence[Figure]) -> str:
    """Return a run's report: one file that needs no other, and no network."""
    shown = [
        row[figure.columns.index(figure.encoding["member"])]
        for figure in figures
        if "member" in figure.encoding
        for row in figure.rows
    ]
    data = {
        **headline(snapshot, figures),
        "live": False,
        "figures": [figure.plain() for figure in figures],
        "members": known_members(snapshot, map(str, shown), most=_MOST_MEMBERS),
    }
    style = asset(STYLE)
    script = "\n".join(asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _fill(
        title=html.escape(data["title"]),
        policy=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        style=f"<style>{style}</style>",
        script=f"<script>{script}</script>",
        data=_data_block(data),
    )


def live_page(head: Mapping[str, Any]) -> str:
    """Return the page of ``loraqd watch``; its charts come by ``/events``.

    Args:
        head: what :func:`headline` returned.
    """
    data = {**head, "live": True, "figures": [], "members": {}}
    return _fill(
        title=html.escape(data["title"]),
        policy="",
        style=f'<link rel="stylesheet" href="/{STYLE}">',
        script="\n".join(f'<script src="/{name}" defer></script>' for name in SCRIPTS),
        data=_data_block(data),
    )


def _fill(**parts: str) -> str:
    """Put the parts into the page; a part's own braces are not looked at."""
    page = asset("page.html")
    pieces = []
    while "{{" in page:
        before, _, rest = page.partition("{{")
        name, _, page = rest.partition("}}")
        pieces += [before, parts[name]]
    return "".join([*pieces, page])


def plain_json(data: object) -> str:
    """Return JSON that is safe inside HTML: no ``<``, ``>`` or ``&`` as they are."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _data_block(data: object) -> str:
    return f'<script type="application/json" id="data">{plain_json(data)}</script>'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
