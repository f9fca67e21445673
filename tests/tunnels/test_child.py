"""An agent as a child process: its lines, its end, and what is left of it."""

import os
import signal
from pathlib import Path

import pytest
import trio

from runtime import limits
from runtime.tunnels.child import Child, Lines, open_child
from runtime.tunnels.engine import Command
from tests.tunnels.agents import of_group, until

FOREVER = "while :; do sleep 0.1; done"


def shell(script: str, **environment: str) -> Command:
    return Command(("/bin/sh", "-c", script), environment)


async def run(command: Command) -> Child:
    """To its end, by itself."""
    with trio.fail_after(10):
        async with open_child(command, lambda _: None) as child:
            await child.ended.wait()
        return child


@pytest.mark.parametrize("code", [0, 7])
async def test_child_has_ended_with_its_code_when_the_program_exits(code: int) -> None:
    child = await run(shell(f"echo out; echo err >&2; printf unfinished; exit {code}"))
    assert (child.code, list(child.lines)) == (code, ["out", "err", "unfinished"])
    assert not child.could_not_run


async def test_child_says_so_when_the_program_is_missing() -> None:
    child = await run(Command(("/nonexistent/ngrok", "http")))
    assert child.could_not_run


async def test_child_has_ended_when_the_program_was_killed() -> None:
    child = await run(shell("kill -9 $$"))
    assert child.code == 128 + signal.SIGKILL


async def test_child_leaves_nothing_when_the_shell_round_it_was_killed() -> None:
    up = trio.Event()
    async with open_child(shell(f"trap '' TERM; echo up; {FOREVER}"), lambda _: up.set()) as child:
        await up.wait()
        os.kill(child.process.pid, signal.SIGKILL)
        with trio.fail_after(5):
            await child.ended.wait()
    await until(lambda: not of_group(child.process.pid), limits.TUNNEL_STOP_SECONDS / 2)


async def test_child_is_gone_at_once_when_the_body_is_cancelled() -> None:
    with trio.fail_after(limits.TUNNEL_STOP_SECONDS / 2):
        with trio.CancelScope() as scope:
            async with open_child(shell(f"trap 'exit 0' TERM; echo up; {FOREVER}"), lambda _: scope.cancel()) as child:
                await trio.sleep_forever()
    assert child.process.returncode == 0
    await until(lambda: not of_group(child.process.pid))


async def test_child_is_killed_when_it_ignores_being_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TUNNEL_STOP_SECONDS", 0.3)
    up = trio.Event()
    async with open_child(shell(f"trap '' TERM; echo up; {FOREVER}"), lambda _: up.set()) as child:
        await up.wait()
    assert child.process.returncode == -signal.SIGKILL
    await until(lambda: not of_group(child.process.pid))


async def test_child_is_read_while_it_is_being_stopped_when_it_has_much_to_say() -> None:
    script = "trap 'head -c 300000 /dev/zero; echo; exit 0' TERM; echo up; " + FOREVER
    up = trio.Event()
    with trio.fail_after(limits.TUNNEL_STOP_SECONDS / 2):
        async with open_child(shell(script), lambda _: up.set()) as child:
            await up.wait()
    assert child.process.returncode == 0


async def test_child_keeps_the_last_lines_when_there_is_a_flood() -> None:
    heard = 0

    def count(line: str) -> None:
        nonlocal heard
        heard += 1
        assert len(line) <= limits.TUNNEL_LINE_BYTES

    with trio.fail_after(10):
        script = "seq 1 100000; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last"
        async with open_child(shell(script), count) as child:
            await child.ended.wait()
    assert heard == 100_002
    assert len(child.lines) == limits.TUNNEL_LINES
    assert child.last_line == "last"


async def test_child_gets_its_own_secret_and_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAPI_API_KEY", "k-hunter2")
    command = Command(("/bin/sh", "-c", "env; echo $TOKEN"), {"TOKEN": "t-hunter2"}, ("t-hunter2",))
    child = await run(command)
    assert "hunter2" not in "\n".join(child.lines)
    assert child.last_line == "********"
    assert "PATH" in "\n".join(child.lines)


async def test_program_ends_when_our_end_of_its_input_is_closed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"trap 'echo told >{told}; exit 0' TERM; echo up; {FOREVER}"
    up = trio.Event()
    async with open_child(shell(script), lambda _: up.set()) as child:
        await up.wait()
        assert child.process.stdin is not None
        await child.process.stdin.aclose()  # what the kernel does when we are killed
        with trio.fail_after(5):
            await child.ended.wait()
    assert told.read_text() == "told\n"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_are_the_same_when_they_come_in_pieces(size: int) -> None:
    data = "one\r\ntwo\n\nümlaut\nrest".encode()
    lines = Lines()
    found = [line for start in range(0, len(data), size) for line in lines.feed(data[start : start + size])]
    assert [*found, *lines.rest()] == ["one", "two", "", "ümlaut", "rest"]
    assert lines.rest() == []


def test_lines_hold_little_when_a_line_never_ends() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 8192) == []
    assert len(lines._rest) <= limits.TUNNEL_LINE_BYTES
    assert len(lines.feed(b"y\nz\n")[0]) == limits.TUNNEL_LINE_BYTES
