"""What a page did in a browser, as far as tests ask."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Seen:
    """The errors and the requests of a tab."""

    errors: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions that nobody caught."""
    hosts: set[str] = field(default_factory=set)
    """Names or addresses that were asked, whether they answered or not."""

    def watch(self, tab):
        tab.on("console", self._note_message)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("request", lambda request: self._note_host(request.url))
        tab.on("websocket", lambda socket: self._note_host(socket.url))

    def _note_message(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _note_host(self, url):
        host = urlsplit(url).hostname
        if host:  # data: and blob: have none
            self.hosts.add(host)
