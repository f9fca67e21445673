"""`voice tunnel check`: bring the tunnel up, see that it leads here, take it down. No call is made.

It opens the webhook door's address itself, so no `voice serve` may be running there.
"""

import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from rich.console import Console

from runtime.errors import NoAnswer, SettingsError, StartError
from runtime.http_client import HttpClient, open_http_client
from runtime.http_door import HttpDoor
from runtime.listeners import bound, close_all, listen
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tls import trusting
from runtime.tunnels.choose import choose_engine
from runtime.tunnels.engine import Engine
from runtime.tunnels.probe import Probe, probe_until
from runtime.tunnels.tunnel import Tunnel
from runtime.tunnels.way_in import FixedAddress, WayIn

# docs/tunnels.md explains them.
EXIT_CODES: Final[Mapping[str, int]] = {
    "ok": 0,
    "settings": 2,
    "tunnel_lost": 3,
    "tunnel_busy": 10,
    "tunnel_auth": 11,
    "tunnel_quota": 12,
    "tunnel_timeout": 13,
    "leads_elsewhere": 14,
}


async def check_tunnel(settings: Settings, console: Console) -> int:
    """The exit code, one of EXIT_CODES; each step and what is wrong are printed."""
    nonce = secrets.token_hex(8)
    try:
        engine = choose_engine(settings)
        async with AsyncExitStack() as stack:
            door, listeners = await _listen(settings, stack)
            http = await stack.enter_async_context(open_http_client(trusting(settings.ssl_cert_file)))
            nursery = await stack.enter_async_context(trio.open_nursery())
            await nursery.start(HttpDoor(_healthz(settings.pod_id, nonce), listeners).run)
            _say(console, f"listening on {door}")
            way_in = await _way_in(settings, engine, door, http, nonce, nursery, console)
            cause = await _check(settings, way_in, http, nonce, console)
            nursery.cancel_scope.cancel()
    except (SettingsError, StartError) as exc:
        _say(console, f"failed: {exc}")
        return EXIT_CODES["settings"]
    _say(console, "the tunnel works" if cause == "ok" else f"the tunnel does not work: {cause}")
    return EXIT_CODES[cause]


async def _way_in(
    settings: Settings, engine: Engine | None, door: Bind, http: HttpClient, nonce: str,
    nursery: trio.Nursery, console: Console,
) -> WayIn:  # fmt: skip
    if engine is None:
        _say(console, "no tunnel is started: the address is fixed")
        return FixedAddress(settings.public_base_url or f"http://{door.seen_from_here}")
    _say(console, f"starting {engine.name}")
    # The probe below is the check's own, and tells more.
    tunnel = Tunnel(engine, attrs.evolve(settings, tunnel_probe="off"), door, http, nonce)
    await nursery.start(tunnel.run)
    return tunnel


async def _check(settings: Settings, way_in: WayIn, http: HttpClient, nonce: str, console: Console) -> str:
    begun = trio.current_time()
    with way_in.use():
        try:
            url = await way_in.base_url()
        except NoAnswer as exc:
            _say(console, f"failed: {exc.line}")
            return exc.cause
        _say(console, f"address: {url} (after {trio.current_time() - begun:.1f} s)")
        if settings.tunnel_probe == "off":
            _say(console, "TUNNEL_PROBE=off: whether it leads here is not looked at")
            return "ok"
        found: Probe | str | None = None
        async with trio.open_nursery() as nursery:

            async def probe() -> None:
                nonlocal found
                found = await probe_until(http, f"{url}/p/{settings.pod_id}", nonce, settings.tunnel_ready_seconds)
                nursery.cancel_scope.cancel()

            nursery.start_soon(probe)
            found = await way_in.lost(url)
            nursery.cancel_scope.cancel()
    if isinstance(found, Probe):
        _say(console, found.line)
        return "ok" if found.finding == "here" else "leads_elsewhere"
    _say(console, f"failed: {found}")
    return "tunnel_lost"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


async def _listen(settings: Settings, stack: AsyncExitStack) -> tuple[Bind, list[trio.SocketListener]]:
    """Where it listens, with the port that was picked; `stack` closes it."""
    listeners = await listen("WEBHOOK_BIND", settings.webhook_bind)
    stack.push_async_callback(close_all, listeners)
    if settings.webhook_bind.unix_path:
        stack.callback(Path(settings.webhook_bind.unix_path).unlink, missing_ok=True)
    return bound(settings.webhook_bind, listeners), listeners


def _healthz(pod_id: str, nonce: str) -> Any:
    """The one page of the real webhook door that this needs."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001  # ASGI
        found = scope["type"] == "http" and scope["path"] == f"/p/{pod_id}/healthz"
        body = b'{"status":"ok","nonce":"%s"}' % nonce.encode() if found else b"{}"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
