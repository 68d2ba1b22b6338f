"""The connections to a hosted model: the URL, the key, and nothing of the environment.

For a model that is compared with ours, and for one that judges answers. Not done here:
what they are asked and how answers are read.
"""

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lora_qd.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ROUTE = "/chat/completions"
"""What follows the URL of an API."""


def open_client(
    url: str, key: str, *, timeout_s: float, max_retries: int
) -> "AsyncOpenAI":
    """Return a client that sends ``key`` and nothing of the environment.

    Raises:
        MissingExtraError: the extra ``skills`` is not installed.
    """
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise MissingExtraError("a hosted model", "skills") from error
    client = AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        organization="",
        project="",
        timeout=timeout_s,
        max_retries=max_retries,
    )
    # Without arguments the package reads variables that nobody named here; with empty
    # ones it sends empty headers.
    client.organization = client.project = None
    client._custom_headers = {}  # OPENAI_CUSTOM_HEADERS has no argument
    return client


def key_in(variable: str | None, *, where: str, remedy: str) -> str | None:
    """Return the key in an environment variable; None if none is named.

    Args:
        variable: its name.
        where: whose key it is, for an error.
        remedy: where another variable is named.

    Raises:
        InputError: the variable is not set, or what it holds is no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise InputError(
            f"expected the key of {where} in {variable}, but that variable is not set; "
            f"export it, or name another: {remedy}"
        )
    check_key(key)
    return key


def check_key(key: str | None) -> None:
    """Refuse a key that no header can hold.

    Raises:
        InputError: it is empty, or has spaces or characters beyond ASCII.
    """
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            "expected an API key of ASCII characters without spaces, but got others or "
            "none; check what its environment variable holds"
        )


def checked_url(url: str) -> str:
    """Return ``url`` without the route.

    Raises:
        InputError: it is no URL of an API, or has a password, which would be shown.
    """
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_fine &= parts.port != 0 and not (parts.query or parts.fragment)
        has_password = "@" in parts.netloc
    except ValueError:
        is_fine = has_password = False
    if has_password:
        raise InputError(
            "expected a URL without a name and password, but got one before the @; "
            "give the key in an environment variable"
        )
    if not is_fine or re.search(r"\s", url):
        raise InputError(
            f"expected the URL of an API such as https://host/v1, but got {url!r}; "
            "mend it"
        )
    return url.rstrip("/").removesuffix(ROUTE)
