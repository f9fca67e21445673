"""Who may ask the console: this machine, under a name that is this machine's, and no web page but its own.

A page of any site can make its visitor's browser ask an address of the visitor's own machine; and a name can be made
to lead there (DNS rebinding). So Host has to be a bare address, localhost or one of CONSOLE_HOSTS, and Origin, which a
browser sends and a page cannot change, has to be the console's own. Figures and readiness are for whoever reaches the
door; the page and the calls are for this machine only, because they show what people say.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs

from runtime.asgi_guard import App, Message, Receive, Send

FOR_ALL: Final = ("/metrics", "/readyz")


@attrs.frozen
class ConsoleGuard:
    """An ASGI app round another. What it refuses gets a 403 with one line."""

    app: App
    hosts: Sequence[str]
    """CONSOLE_HOSTS, in lower case."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal:
                await _refuse(refusal, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Message) -> str:
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"the console is not asked for as {host[:100]!r}: use its address, or add the name to CONSOLE_HOSTS"
        if not _same_origin(headers, host):
            return "pages of other sites may not ask the console"
        if scope["path"] not in FOR_ALL and not _is_here(scope.get("client")):
            return (
                "the page is for this machine only: use `ssh -L 8010:127.0.0.1:8010`; /metrics and /readyz are for all"
            )
        return ""

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        return name == "localhost" or name in self.hosts or _is_address(name)


def _name(host: str) -> str:
    """Of Host, without the port, in lower case; what cannot be read is nobody's."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: dict[str, str], host: str) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or _place(origin) == host.lower()


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_here(client: Sequence[object] | None) -> bool:
    """On this machine; a unix socket has no peer's address."""
    if not client:
        return True
    try:
        address = ipaddress.ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _refuse(line: str, send: Send) -> None:
    body = f"{line}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
