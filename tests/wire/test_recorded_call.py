"""A call that is recorded: the file is there afterwards, as the caller heard it, and served in ranges."""

import io
import wave
from pathlib import Path

import httpx

from tests.world import open_world


async def test_call_is_recorded_and_the_console_serves_any_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with open_world(CONSOLE_BIND="127.0.0.1:0", RECORD_CALLS="on", RECORDINGS=str(folder)) as world:
        report = await world.short_call()
        record = next(iter(world.doors.house.history))
        recording = await world.until(lambda: record.ending and record.recording)
        await world.until(lambda: recording.state == "ready", 10)
        async with httpx.AsyncClient(base_url=world.doors.console_url, trust_env=False) as http:
            path = f"/calls/{record.id}/recording.wav"
            whole, part = await http.get(path), await http.get(path, headers={"Range": "bytes=44-83"})
            waveform = (await http.get(f"/calls/{record.id}/waveform")).json()
            for asked, status, content in (
                ("bytes=-50", 206, whole.content[-50:]), ("bytes=100-", 206, whole.content[100:]),
                ("bytes=0-0,9-9", 200, whole.content), (f"bytes={len(whole.content)}-", 416, None),
            ):  # fmt: skip
                answer = await http.get(path, headers={"Range": asked})
                assert answer.status_code == status
                assert content in (answer.content, None)
            row = (await http.get("/calls")).json()["calls"][0]
        assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/wav")
        assert (part.status_code, part.content) == (206, whole.content[44:84])
        assert row["recording"] == "ready"
    with wave.open(io.BytesIO(whole.content)) as heard:
        assert (heard.getnchannels(), heard.getframerate(), heard.getsampwidth()) == (2, 24_000, 2)
        right = heard.readframes(heard.getnframes())
        agent = b"".join(right[at : at + 2] for at in range(2, len(right), 4))
    assert agent.strip(b"\0"), "the agent spoke"
    said = report.received_pcm
    assert said.strip(b"\0")[2:2_000] in agent, "what the caller received is what is kept"
    assert waveform["seconds"] > 0.5
    assert max(waveform["agent"]) > 50
    assert (folder.stat().st_mode & 0o777, (folder / f"{record.id}.wav").stat().st_mode & 0o777) == (0o700, 0o600)
