"""The sandbox's entry point: the same doors inside hypercorn's lifespan.

    hypercorn --workers 0 --worker-class trio --bind 127.0.0.1:8011 runtime.app:app

hypercorn's own bind serves `/healthz` only, and is for this machine.
With `--workers 0` a failed start is one line and a non-zero exit code. hypercorn then handles no signal, so
the doors do: SIGTERM drains them, and when they are closed hypercorn is told to stop as by Ctrl-C.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NoReturn

import trio
from h11 import LocalProtocolError

from runtime import limits
from runtime.doors import Doors
from runtime.errors import SettingsError, StartError
from runtime.http_door import contain_hypercorn
from runtime.logs import configure_logging
from runtime.serve import serve
from runtime.settings import read_settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The ASGI application. It reads nothing and opens nothing until its lifespan starts."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        found = scope["path"] == "/healthz"
        body = b'{"status":"ok"}' if found else b'{"error":"not found"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await receive()
        with suppress(LocalProtocolError):  # a request with bytes behind it has had its 400
            await send({"type": "websocket.close", "code": 1000})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    contain_hypercorn()  # before it listens

    async def ready(doors: Doors) -> None:
        print(f"voice listening on {doors.voice_url}", flush=True)  # noqa: T201  # what the entry point promises
        await send({"type": "lifespan.startup.complete"})

    try:
        settings = read_settings()
        configure_logging(settings.log_level, settings.pod_id)
        if not await serve(settings, ready):
            _give_up("a door fell; the log says why", 3)
    except (SettingsError, StartError) as exc:
        _give_up(str(exc), 2)
    _stop_hypercorn()
    with trio.move_on_after(limits.HYPERCORN_STOP_SECONDS):
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    # hypercorn shields work on its own connections without a deadline. Everything of ours is closed.
    _give_up("hypercorn did not let go of its own connections; everything else was closed in order", 0)


def _give_up(line: str, code: int) -> NoReturn:
    """Exit now. Told of a failed start, hypercorn would print a traceback of thirty lines and exit with 1; and
    it may not stop at all. Nothing of ours is open at this point."""
    sys.stderr.write(f"voice: {line}\n")
    sys.stderr.flush()
    os._exit(code)


@trio.lowlevel.enable_ki_protection
def _stop_hypercorn() -> None:
    """As Ctrl-C would: under this protection Trio hands the KeyboardInterrupt to hypercorn's main task."""
    signal.raise_signal(signal.SIGINT)
