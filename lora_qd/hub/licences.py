"""The licence of a base model: which it is, what it asks, and the files that go along.

What is known to ask for something is in ``licence_table``. Not done: legal advice, and
the licences of data sets.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lora_qd.errors import InputError
from lora_qd.hub.identity import Base
from lora_qd.hub.licence_table import (
    LICENCES,
    Licence,
    licence_of_config,
    licence_of_name,
)

_ID = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,60}")
_MOST_BYTES = 1_000_000
_KINDS = {
    "LICENSE": re.compile(r"licen[sc]e(\.(txt|md))?", re.IGNORECASE),
    "NOTICE": re.compile(r"notice(\.(txt|md))?", re.IGNORECASE),
    "USE_POLICY.md": re.compile(r"use[_-]policy(\.(txt|md))?", re.IGNORECASE),
}
"""What files are called in a base's directory, by what they are called when shared."""


@dataclass(frozen=True, slots=True)
class LicenceOptions:
    """What is said of the base's licence from outside."""

    licence: str | None = None
    """Its id as the user gives it; it wins over whatever is found."""
    licence_file: Path | None = None
    """Its text, where the base has none; a use policy is looked for beside it."""
    hub_licence: str | None = None
    """Its id as the Hub's page of the base says it."""
    hub_texts: Mapping[str, bytes] = field(default_factory=dict)
    """Texts of the base's repository on the Hub, by file name."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an adapter of a base is shared under."""

    licence: Licence | None
    """None: nobody says."""
    source: str
    """Who says so, for the card."""
    files: Mapping[str, bytes]
    """What goes along, by name."""


def terms_of(base: Base, repo_id: str, options: LicenceOptions) -> Terms:
    """Return the terms of sharing adapters of ``base`` as ``repo_id``.

    Raises:
        InputError: a duty of the licence is not met; the message names it.
    """
    id_, source = _identify(base, options)
    files = _texts(base, options)
    if id_ is None:
        return Terms(None, source, files)
    slug = id_.casefold()
    if not _ID.fullmatch(slug):
        raise InputError(
            f"expected a licence such as apache-2.0 or llama3 from {source}, but got "
            f"{id_!r}; pass --licence as the Hub abbreviates it"
        )
    licence = LICENCES.get(slug) or Licence(slug, slug, "", is_on_hub=False)
    _require_name(licence, base, repo_id)
    if licence.needs_text and "LICENSE" not in files:
        raise InputError(
            f"expected a copy of the {licence.name}, which asks for it to go with "
            f"adapters of {base.model}, but found none; pass --licence-file with the "
            f"text of {licence.link}"
        )
    if licence.notice:
        files["NOTICE"] = _notice(licence, base, files.get("NOTICE", b""))
    return Terms(licence, source, files)


def is_licence_text(name: str) -> bool:
    """Tell whether a base's file of this name goes along."""
    return any(pattern.fullmatch(name) for pattern in _KINDS.values())


def _require_name(licence: Licence, base: Base, repo_id: str) -> None:
    owner, _, name = repo_id.partition("/")
    if licence.prefix and not re.match(licence.prefix, name, re.IGNORECASE):
        raise InputError(
            f"expected a name that begins with {licence.example}, as the "
            f"{licence.name} of {base.model} asks, but got {repo_id}; choose a name "
            f"like {owner}/{licence.example}-{name}"
        )


def _identify(base: Base, options: LicenceOptions) -> tuple[str | None, str]:
    """Return the licence's id and who says so; the first who knows is believed."""
    config = _json(base.directory / "config.json") if base.directory else {}
    card = _front_matter(base.directory / "README.md") if base.directory else {}
    from_card = card.get("license")
    if from_card == "other" and card.get("license_name"):
        from_card = card["license_name"]
    answers = (
        (options.licence, "whoever shared this says"),
        (from_card, "the base's model card says"),
        (options.hub_licence, "the base's page on the Hub says"),
        (licence_of_name(base.model), "the base's name suggests"),
        (licence_of_config(config), "the base's configuration suggests"),
    )
    for id_, source in answers:
        if isinstance(id_, str) and id_ not in ("", "other", "unknown"):
            return id_, source
    return None, "nothing says"


def _texts(base: Base, options: LicenceOptions) -> dict[str, bytes]:
    """Return the texts that go along, by their names in the shared repository."""
    found: dict[str, bytes] = {}
    if options.licence_file is not None:
        found["LICENSE"] = _read(options.licence_file)
        found |= {**_texts_in(options.licence_file.parent, but="LICENSE"), **found}
    if base.directory is not None:
        found = _texts_in(base.directory) | found
    for name in sorted(options.hub_texts):
        for kind, pattern in _KINDS.items():
            if pattern.fullmatch(name):
                found.setdefault(kind, options.hub_texts[name])
    for kind, content in found.items():
        _require_text(kind, content)
    return found


def _texts_in(directory: Path, but: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(directory.iterdir()):
        for kind, pattern in _KINDS.items():
            if kind != but and pattern.fullmatch(path.name) and path.is_file():
                found.setdefault(kind, _read(path))
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"expected the text of a licence at {path}, but got: {error.strerror}; "
            "check the path"
        ) from error


def _require_text(kind: str, content: bytes) -> None:
    try:
        is_text = 0 < len(content) <= _MOST_BYTES and bool(content.decode().strip())
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise InputError(
            f"expected the base's {kind} to be a text in UTF-8 of at most "
            f"{_MOST_BYTES:,} bytes, but it is not; pass --licence-file"
        )


def _notice(licence: Licence, base: Base, theirs: bytes) -> bytes:
    """Return the licence's sentence, what was changed, and the base's own notice."""
    text = theirs.decode()
    lines = [] if licence.notice in text else [licence.notice, ""]
    lines += [
        f"The adapters in this repository change {base.model} when they are applied to "
        "it; they",
        "hold none of its weights.",
    ]
    if text.strip():
        lines += ["", text.strip()]
    return ("\n".join(lines) + "\n").encode()


def _json(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whatever it is, it names no licence
        return {}
    return content if isinstance(content, dict) else {}


def _front_matter(path: Path) -> Mapping[str, object]:
    """Return the metadata at the top of a model card; empty if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    match = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        content = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
