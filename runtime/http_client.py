"""HTTP requests out of this process. The only module that knows httpx, so that a successor is one import.

One client, one TLS context (SSL_CERT_FILE is honoured by `ssl` itself), no redirects, no retries.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import httpx  # noqa: ASYNC127  # what was asked for; httpx2 has the same API, and only this module would change
import msgspec
import trio

# Named, because Vapi's edge answers 403 "error code: 1010" to a request without one.
USER_AGENT = "mini-bcs-voice-vapi/0.1"
MOST_CONNECTIONS: Final = 100  # out of this process at once


class Unreachable(Exception):
    """No reply came. `sent` says whether the request may have been taken all the same."""

    def __init__(self, line: str, *, sent: bool) -> None:
        super().__init__(line)
        self.sent = sent


@attrs.frozen
class Reply:
    status: int
    body: bytes
    date: str = ""
    """When the server thinks it is, as it writes that; empty when it does not say."""

    def json(self) -> Any:
        """The parsed body; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


@attrs.frozen
class HttpClient:
    _client: httpx.AsyncClient

    async def request(
        self, method: str, url: str, *, seconds: float, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request, whole reply read, within `seconds`. Raises Unreachable."""
        content = None if json is None else msgspec.json.encode(json)
        all_headers = {"Content-Type": "application/json", **(headers or {})} if content else dict(headers or {})
        try:
            with trio.fail_after(seconds):
                reply = await self._client.request(method, url, content=content, headers=all_headers)
                return Reply(reply.status_code, reply.content, reply.headers.get("date", ""))
        except trio.TooSlowError:
            raise Unreachable(f"no answer within {seconds:g} s", sent=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise Unreachable(_line(exc), sent=False) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Unreachable(_line(exc), sent=True) from exc


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


@asynccontextmanager
async def open_http_client(ssl_context: ssl.SSLContext) -> AsyncIterator[HttpClient]:
    async with httpx.AsyncClient(
        verify=ssl_context,
        timeout=None,  # every request is under a Trio deadline
        headers={"User-Agent": USER_AGENT},
        limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=20, keepalive_expiry=15),
        trust_env=False,
    ) as client:
        yield HttpClient(client)
