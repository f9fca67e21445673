"""The image's health check, at real doors."""

from pathlib import Path

import trio

from runtime.health_check import problem
from runtime.setting_values import Bind
from simulation.background import open_background


async def answering(answer: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        asked = await stream.receive_some()
        assert asked.startswith(b"GET /healthz HTTP/1.1\r\n")
        await stream.send_all(answer)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + b'{"status":"ok"}'


async def found(answer: bytes, unix_path: str = "") -> str:
    """What the check says of a door that answers so."""
    family = trio.socket.AF_UNIX if unix_path else trio.socket.AF_INET
    with trio.socket.socket(family) as door:
        await door.bind(unix_path or ("127.0.0.1", 0))
        door.listen(1)
        at = Bind(unix_path=unix_path) if unix_path else Bind(*door.getsockname())
        async with open_background() as nursery:
            nursery.start_soon(
                trio.serve_listeners, lambda stream: answering(answer, stream), [trio.SocketListener(door)]
            )
            return await trio.to_thread.run_sync(problem, at)


async def test_health_check_is_content_when_the_door_answers() -> None:
    assert await found(OK) == ""


async def test_health_check_finds_the_door_when_it_is_a_unix_socket(tmp_path: Path) -> None:
    assert await found(OK, f"{tmp_path}/door.sock") == ""


async def test_health_check_complains_when_the_door_answers_something_else() -> None:
    assert (await found(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")).endswith("answers 503, and not 200")
    assert "does not answer" in await found(b"")
    assert "does not answer" in await found(b"hello\r\n")


async def test_health_check_complains_when_nobody_is_there() -> None:
    assert "does not answer" in await trio.to_thread.run_sync(problem, Bind(unix_path="/nowhere/door.sock"))
