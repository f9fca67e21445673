"""Every message back to who sent it, over the product's own leg: something to point a conformance suite at.

    python -m tests.echo [--port 9001]

It takes any WebSocket on this machine's loopback until Ctrl-C, messages of up to 16 MiB, text and binary, and refuses
every extension. Autobahn's suite, for one, plays its 300 cases to it (in a container; sections 12 and 13 are about
compression, which there is none of):

    docker run --rm --network host -v $PWD/runs/autobahn:/reports crossbario/autobahn-testsuite \\
        wstest -m fuzzingclient -s /reports/fuzzingclient.json

with `{"outdir": "/reports", "servers": [{"url": "ws://127.0.0.1:9001"}], "cases": ["*"],
"exclude-cases": ["12.*", "13.*"]}` as that file. 6.4.3 and 6.4.4 are NON-STRICT: we look at text when its frame is
whole. What else a suite finds belongs into tests/runtime/tap_streams.py.
"""

import argparse
from contextlib import suppress
from functools import partial
from typing import cast
from unittest import mock

import trio

from runtime import limits
from runtime.http_door import behind_the_barrier
from runtime.leg import Closed, LegClosed, LegStalled, Text
from runtime.switchboard import Switchboard
from runtime.voice_ws import Framing
from runtime.ws_handshake import VapiWire, receive_upgrade, tune
from runtime.ws_leg import WebSocketLeg


async def serve(port: int, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """On 127.0.0.1, until cancelled; started with its port, which port 0 picks."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    switchboard = Switchboard()

    async def connection(stream: trio.SocketStream) -> None:
        await behind_the_barrier(partial(_connection, switchboard, stream), stream)

    async with trio.open_nursery() as nursery:
        await nursery.start(switchboard.run)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(connection, listeners)


async def _connection(switchboard: Switchboard, stream: trio.SocketStream) -> None:
    tune(stream)
    line = switchboard.line(stream.socket)
    try:
        async with trio.open_nursery() as nursery:
            upgrade = await receive_upgrade(nursery, line)
            if upgrade is not None:
                await _echo(await upgrade.accept(cast(Framing, VapiWire())))
            nursery.cancel_scope.cancel()
    finally:
        line.close()


async def _echo(leg: WebSocketLeg) -> None:
    with suppress(LegClosed, LegStalled):
        while not isinstance(received := await leg.receive(), Closed):
            if isinstance(received, Text):
                await leg.send_text(received.data)
            else:
                await leg.send_audio(received.pcm)
    await leg.aclose(1000, "")


async def _main(port: int) -> None:
    async with trio.open_nursery() as nursery:
        print(f"echo listening on ws://127.0.0.1:{await nursery.start(serve, port)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo server, to point a WebSocket conformance suite at.")
    parser.add_argument("--port", type=int, default=9001)
    with suppress(KeyboardInterrupt), mock.patch.object(limits, "CALLER_TEXT_BYTES", limits.VAPI_MESSAGE_BYTES):
        trio.run(_main, parser.parse_args().port)
