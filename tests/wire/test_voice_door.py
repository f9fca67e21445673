"""What callers may get wrong at the voice door: each is told, and the next call works."""

import json
from contextlib import suppress
from functools import partial

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from runtime import limits
from simulation.network import TrioSockets
from simulation.websockets import DialError, open_client_socket
from tests.world import World, open_world

dial = partial(open_client_socket, TrioSockets())


async def closed_with(socket: WebSocketConnection) -> tuple[int, str]:
    with trio.fail_after(10):
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed as exc:
            assert exc.reason is not None
            return exc.reason.code, exc.reason.reason or ""


@pytest.mark.parametrize(
    ("protocol", "message", "code", "reason"),
    [
        ("binary", "hello", 1003, "text_in_binary_mode"),
        ("binary", b"\0" * 959, 1007, "half_a_sample"),
        ("binary", b"\0" * 66_000, 1009, "frame_too_long"),
        ("json", b"\0" * 960, 1003, "binary_in_json_mode"),
        ("json", "{", 1007, "malformed_message"),
        ("json", '{"type":"audio","audio":"!!!"}', 1007, "malformed_message"),
        ("json", '{"type":"audio","audio":"AAA="}', 1000, ""),
        ("json", '{"type":"audio","audio":"AA=="}', 1007, "half_a_sample"),
        ("json", '{"type":"dance"}', 1007, "malformed_message"),
    ],
)
async def test_caller_is_told_when_it_breaks_the_protocol(
    protocol: str, message: str | bytes, code: int, reason: str
) -> None:
    async with open_world() as world:
        async with dial(f"{world.doors.voice_url}?protocol={protocol}") as socket:
            await world.until(lambda: world.event("socket-opened"))
            await socket.send_message(message)
            if code == 1000:  # sound after all: it ends when we do
                await trio.sleep(0.1)
                assert not world.event("call-over")
                return
            assert await closed_with(socket) == (code, reason)
        await world.ended(world.cloud.calls[0])
        assert world.cloud.calls[0].received_texts == ['{"type":"end-call"}']
        assert world.event("call-over")[0].data["by"] == "caller"
        assert (await world.short_call()).ending == "caller_hung_up"


async def test_call_ends_in_order_when_a_json_caller_says_end() -> None:
    async with open_world() as world:
        async with dial(f"{world.doors.voice_url}?protocol=json") as socket:
            await world.until(lambda: world.event("socket-opened"))
            await socket.send_message('{"type":"end"}')
            texts = []
            with pytest.raises(ConnectionClosed) as closed, trio.fail_after(5):
                while True:
                    texts.append(json.loads(await socket.get_message())["type"])
        assert closed.value.reason.code == 1000
        assert texts[-1] == "end"
        await world.ended(world.cloud.calls[0])


async def test_caller_is_refused_when_too_many_calls_run() -> None:
    async with open_world(MAX_CALLS="1") as world, dial(world.doors.voice_url):
        await world.until(lambda: world.event("socket-opened"))
        async with dial(world.doors.voice_url) as second:
            assert await closed_with(second) == (1013, "too_many_calls")
        assert len(world.cloud.calls) == 1


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/voice/x", 404), ("/voice?protocol=mp3", 400)])
async def test_caller_is_refused_before_the_upgrade_when_it_asks_for_something_else(path: str, status: int) -> None:
    async with open_world() as world:
        with pytest.raises(DialError, match=f"status {status}"):
            async with dial(world.doors.voice_url.removesuffix("/voice") + path):
                pass


async def raw(world: World, data: bytes) -> bytes:
    port = int(world.doors.voice_url.split(":")[2].split("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    received = b""
    async with stream:
        if data:
            await stream.send_all(data)
        with trio.move_on_after(1), pytest.raises(trio.BrokenResourceError):
            while chunk := await stream.receive_some():
                received += chunk
            raise trio.BrokenResourceError
    return received


async def test_door_stays_open_when_strangers_send_garbage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)
    async with open_world() as world:
        assert await raw(world, b"") == b""
        silent = capsys.readouterr()
        assert (silent.out, silent.err) == ("", "")  # a TCP connect without bytes logs nothing
        assert b"400" in await raw(world, b"GET /voice HTTP/1.1\r\nHost: x\r\n\r\n")
        await raw(world, bytes(range(256)) * 40)
        await raw(world, b"GET /voice HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000)
        assert (await world.short_call()).ending == "caller_hung_up"


async def test_caller_is_told_when_vapi_cuts_the_call() -> None:
    import attrs

    async with open_world() as world:
        world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, drop_after_seconds=0.3)
        report = await world.call()
        assert (report.close_code, report.close_reason) == (1011, "vapi_lost")
        await world.ended(world.cloud.calls[0])


async def test_vapi_that_stops_reading_stops_the_reads_from_the_caller() -> None:
    """Backpressure is real: the bridge holds no more than its bound, then TCP holds the caller."""
    import attrs

    async with open_world() as world:
        async with dial(world.doors.voice_url) as socket:
            await world.until(lambda: world.event("socket-opened"))
            world.cloud.behaviour = attrs.evolve(world.cloud.behaviour, stop_reading=True)
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    with suppress(ConnectionClosed):
                        while True:
                            await socket.send_message(b"\1\0" * 16_000)

                nursery.start_soon(flood)
                assert await closed_with(socket) == (1011, "vapi_lost")
                nursery.cancel_scope.cancel()
        over = (await world.until(lambda: world.event("call-over"), 12))[0]
        assert over.data["reason"] == "vapi_lost"
        assert over.data["peaks"]["caller_audio_seconds"] <= limits.CALLER_AUDIO_SECONDS + 0.7
        await world.ended(world.cloud.calls[0], 15)
