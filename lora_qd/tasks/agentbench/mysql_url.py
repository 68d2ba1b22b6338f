"""Where a MySQL or MariaDB server is, from an environment variable."""

import os
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from lora_qd.errors import InputError


@dataclass(frozen=True, slots=True)
class Url:
    """Where a server is."""

    user: str
    password: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 3306
    unix_socket: str | None = None

    @property
    def where(self) -> str:
        """The server in an error, without its password."""
        return self.unix_socket or f"{self.host}:{self.port}"


def url_of(variable: str) -> Url:
    """Return the URL in an environment variable.

    Raises:
        InputError: it is not set, or holds no such URL.
    """
    form = "mysql://USER:PASSWORD@HOST:PORT, or with ?unix_socket=/PATH"
    text = os.environ.get(variable)
    if not text:
        raise InputError(
            f"expected a database's URL in the environment variable {variable}, but it "
            f"is not set; set it to {form}"
        )
    try:
        parts = urlsplit(text)
        port = parts.port or 3306
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("mysql", "mariadb") or not parts.username:
        raise InputError(
            f"expected a database's URL in the environment variable {variable}, but it "
            f"holds another text; set it to {form}"
        )
    socket = parse_qs(parts.query).get("unix_socket", [None])[0]
    return Url(
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        host=parts.hostname or "127.0.0.1",
        port=port,
        unix_socket=socket,
    )
