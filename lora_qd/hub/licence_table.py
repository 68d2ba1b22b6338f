"""Licences of base models that ask something of whoever shares an adapter, as data.

The texts themselves are not shipped: a copy comes from the base. The sentences are
those of the licences: sections 1.b.i and 1.b.iii of LICENSE in
github.com/meta-llama/llama3 and of models/llama*/LICENSE in
github.com/meta-llama/llama-models, and section 3.1 of ai.google.dev/gemma/terms.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_META = "Copyright © Meta Platforms, Inc. All Rights Reserved."


@dataclass(frozen=True, slots=True)
class Licence:
    """What a licence is called and what it asks."""

    id: str
    """As the Hub abbreviates it."""
    name: str
    link: str
    is_on_hub: bool = True
    """Whether the Hub knows ``id``; otherwise a card says ``other`` and names it."""
    notice: str = ""
    """The sentence that a NOTICE file holds; empty: none is asked for."""
    attribution: str = ""
    """What a card displays; empty: nothing."""
    policy: str = ""
    """Where its use policy is published; empty: it has none."""
    prefix: str = ""
    """Pattern that the name of a shared model begins with, in whatever case."""
    example: str = ""
    """A beginning that fits ``prefix``."""

    @property
    def needs_text(self) -> bool:
        """Whether a copy of the licence goes with whatever is shared."""
        return bool(self.notice)


def _llama(version: str, example: str = "Llama") -> Licence:
    path = f"https://www.llama.com/llama{version.replace('.', '_')}"
    return Licence(
        id=f"llama{version}",
        name=f"Llama {version} Community License",
        link=f"{path}/license/",
        is_on_hub=version != "4",
        notice=f"Llama {version} is licensed under the Llama {version} Community "
        f"License, {_META}",
        attribution="Built with Llama",
        policy=f"{path}/use-policy/",
        prefix="llama",
        example=example,
    )


_WITH_DUTIES = (
    Licence(  # asks for neither a name nor a line on a page
        id="llama2",
        name="Llama 2 Community License",
        link="https://ai.meta.com/llama/license/",
        notice="Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) "
        "Meta Platforms, Inc. All Rights Reserved.",
        policy="https://ai.meta.com/llama/use-policy/",
    ),
    Licence(
        id="llama3",
        name="Meta Llama 3 Community License",
        link="https://www.llama.com/llama3/license/",
        notice="Meta Llama 3 is licensed under the Meta Llama 3 Community License, "
        f"{_META}",
        attribution="Built with Meta Llama 3",
        policy="https://www.llama.com/llama3/use-policy/",
        prefix=r"llama[-_.]?3(?!\d)",  # the name of a repo cannot hold a space
        example="Llama-3",
    ),
    _llama("3.1", "Llama-3.1"),
    _llama("3.2", "Llama-3.2"),
    _llama("3.3", "Llama-3.3"),
    _llama("4", "Llama-4"),
    Licence(
        id="gemma",
        name="Gemma Terms of Use",
        link="https://ai.google.dev/gemma/terms",
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
        policy="https://ai.google.dev/gemma/prohibited_use_policy",
    ),
)
_PLAIN = (
    Licence("apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    Licence("mit", "MIT License", "https://opensource.org/license/mit"),
    Licence("bsd-3-clause", "BSD 3-Clause License", "https://opensource.org/license/bsd-3-clause"),
    Licence("cc-by-4.0", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
    Licence("cc-by-nc-4.0", "CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
    Licence("cc-by-sa-4.0", "CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
)  # fmt: skip
_MORE_ON_HUB = (
    *("bsd-2-clause", "cc0-1.0", "cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0"),
    *("mpl-2.0", "openrail", "bigscience-bloom-rail-1.0", "bigcode-openrail-m"),
)
LICENCES: Mapping[str, Licence] = {
    each.id: each
    for each in (*_WITH_DUTIES, *_PLAIN, *(Licence(i, i, "") for i in _MORE_ON_HUB))
}
"""By id; of the many without duties the common ones."""

_NAMES = (
    (r"(?<![a-z])llama-?2(?![.\d])", "llama2"),
    (r"(?<![a-z])llama-?3\.1(?!\d)", "llama3.1"),
    (r"(?<![a-z])llama-?3\.2(?!\d)", "llama3.2"),
    (r"(?<![a-z])llama-?3\.3(?!\d)", "llama3.3"),
    (r"(?<![a-z])llama-?3(?![.\db])", "llama3"),
    (r"(?<![a-z])llama-?4(?![.\db])", "llama4"),
    # Gemma 4 and later ones have another licence.
    (r"(?<![a-z])(?:code)?gemma(?!-?[4-9])", "gemma"),
)


def licence_of_name(model: str) -> str | None:
    """Return the licence that the name of a model speaks of; None if it does not.

    A guess: only names that their owners give are told apart.
    """
    name = model.casefold()
    return next((id_ for pattern, id_ in _NAMES if re.search(pattern, name)), None)


def licence_of_config(config: Mapping[str, object]) -> str | None:
    """Return the licence that a base's ``config.json`` speaks of; None if it does not.

    Llama 3 and its successors share a vocabulary that nobody else has; how they
    stretch positions tells them apart. Llama 3.3 looks like 3.1.
    """
    kind = str(config.get("model_type"))
    if kind in ("gemma", "gemma2", "gemma3", "gemma3_text"):
        return "gemma"
    if kind in ("llama4", "llama4_text"):
        return "llama4"
    if kind != "llama" or config.get("vocab_size") != 128256:
        return None
    stretch = config.get("rope_scaling") or config.get("rope_parameters")
    factor = stretch.get("factor") if isinstance(stretch, Mapping) else None
    if factor is None:
        return "llama3"
    return "llama3.2" if factor == 32 else "llama3.1"
