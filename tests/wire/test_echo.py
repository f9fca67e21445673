"""tests/echo.py, as a program of its own on a real socket: the leg with a client of another make."""

import subprocess
import sys

import trio
from websockets.trio.client import connect

from tests.house_rules import ROOT


async def test_another_library_gets_its_messages_back_from_the_echo() -> None:
    command = [sys.executable, "-m", "tests.echo", "--port", "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        with trio.fail_after(30):
            assert process.stdout is not None
            url = (await process.stdout.receive_some()).decode().split()[-1]
            async with connect(url, max_size=None, proxy=None) as client:
                for message in ("", "héllo", b"", b"\x01\x02", "x" * 70_000, bytes(2_000_000)):
                    await client.send(message)
                    assert await client.recv() == message
                await client.send(["in ", "", "parts é"])
                await client.send([b"\x01", b"", bytes(200_000)])
                await (await client.ping(b"there?")).wait()
                assert await client.recv() == "in parts é"
                assert await client.recv() == b"\x01" + bytes(200_000)
                await client.aclose(1000, "bye")
                assert client.close_code == 1000
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()
