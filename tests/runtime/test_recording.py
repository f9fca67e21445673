"""A call's audio from the actors' lists to a WAV, sample by sample; and what a damaged spool gives."""

import io
import json
import random
import struct
import wave
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime import frames, limits
from runtime.leg import Audio, MaskedAudio
from runtime.recording import Heard, Recording, Said
from runtime.recording_decoder import WINDOW_BYTES, Waveform, mixed, wav_header
from runtime.recording_spool import AGENT, CALLER, HEADER, Spool, Unrecordable, messages_of

CONNECTED = 1_000.0  # Trio's time
RATE = limits.SAMPLE_RATE_HZ
FRAME = RATE // 50


def ramp(samples: int, first: int = 1) -> bytes:
    """Samples that are all different, so that one in a wrong place shows."""
    return struct.pack(f"<{samples}h", *((first + at) % 30_000 + 1 for at in range(samples)))


def masked(pcm: bytes, mask: bytes = b"\x11\xfe\x00\x83") -> MaskedAudio:
    frame = frames._header(frames.BINARY, len(pcm), frames.MASKED) + mask + frames.xored(pcm, mask)
    return MaskedAudio(frame, len(frame) - len(pcm), len(pcm))


def spooled(tmp_path: Path, caller: Sequence[Heard], agent: Sequence[Said], *, times: int = 1) -> Path:
    """As the Recorder does, in that many goes."""
    path = tmp_path / "c-0123456789ab.frames"
    path.unlink(missing_ok=True)
    spool = Spool.open(path, CONNECTED)
    for nth in range(times):
        share = [side[len(side) * nth // times : len(side) * (nth + 1) // times] for side in (caller, agent)]
        spool.append(*share)  # type: ignore[arg-type]
    spool.close()
    return path


def decoded(path: Path) -> tuple[list[int], list[int], Waveform]:
    """The samples of the left and the right, through Python's own reader of WAV."""
    drawn = Waveform()
    with path.open("rb") as one, path.open("rb") as other:
        data = b"".join(mixed(messages_of(one, CALLER), messages_of(other, AGENT), drawn))
    with wave.open(io.BytesIO(wav_header(len(data)) + data)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 2, 2)
        samples = struct.unpack(f"<{2 * wav.getnframes()}h", wav.readframes(wav.getnframes()))
    return list(samples[0::2]), list(samples[1::2]), drawn


def samples_of(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm[: len(pcm) // 2 * 2]))


def test_both_sides_are_sample_exact_when_frames_come_in_real_time(tmp_path: Path) -> None:
    said, heard = ramp(5 * RATE // 2), ramp(RATE, 7_000)
    cut = [said[at : at + 960] for at in range(0, len(said), 960)]
    caller: list[Heard] = [
        (CONNECTED + nth * 0.02, masked(pcm, bytes([nth % 256, 1, 2, 3]))) for nth, pcm in enumerate(cut)
    ]
    agent = [(CONNECTED + 1.0 + nth * 0.02, heard[nth * 960 : nth * 960 + 960]) for nth in range(50)]
    left, right, drawn = decoded(spooled(tmp_path, caller, agent, times=3))
    assert left == samples_of(said)
    assert right == [0] * RATE + samples_of(heard) + [0] * (RATE // 2)
    assert drawn.size_bytes == len(said)


def test_agent_queues_behind_itself_when_it_is_faster_than_real_time(tmp_path: Path) -> None:
    speech, tail = ramp(2 * RATE), bytes(round(limits.TAIL_SECONDS * RATE) * 2)
    agent = [(CONNECTED + 0.5, speech), (CONNECTED + 0.6, tail), (CONNECTED + 0.7, b"\x09\x00")]
    left, right, _ = decoded(spooled(tmp_path, [], agent))
    assert right == [0] * (RATE // 2) + samples_of(speech) + [0] * (len(tail) // 2) + [9]
    assert left == [0] * len(right)


@pytest.mark.parametrize(("late_seconds", "gap_samples"), [(0.0, 0), (0.06, 0), (0.0601, 1442), (3.0, 3 * RATE)])
def test_message_sticks_to_the_one_before_it_when_it_is_late_by_no_more_than_jitter(
    tmp_path: Path, late_seconds: float, gap_samples: int
) -> None:
    caller: list[Heard] = [(CONNECTED, Audio(ramp(FRAME))), (CONNECTED + 0.02 + late_seconds, Audio(ramp(FRAME)))]
    left, _, _ = decoded(spooled(tmp_path, caller, []))
    assert left == samples_of(ramp(FRAME)) + [0] * gap_samples + samples_of(ramp(FRAME))


def test_recording_begins_with_the_call_when_the_first_word_comes_later(tmp_path: Path) -> None:
    left, right, _ = decoded(spooled(tmp_path, [(CONNECTED + 1.5, masked(b"\x05\x00"))], [(CONNECTED, b"\x06\x00")]))
    assert left == [0] * (RATE * 3 // 2) + [5]
    assert right[0] == 6
    assert right[1:] == [0] * (RATE * 3 // 2)


def test_recording_is_empty_when_nobody_says_anything(tmp_path: Path) -> None:
    assert decoded(spooled(tmp_path, [(CONNECTED, Audio(b""))], []))[:2] == ([], [])


def test_half_a_sample_is_left_out_when_a_message_ends_in_one(tmp_path: Path) -> None:
    caller: list[Heard] = [(CONNECTED, Audio(b"\x01\x00\x02")), (CONNECTED, masked(b"\x03\x00"))]
    assert decoded(spooled(tmp_path, caller, []))[0] == [1, 3]


Script = list[tuple[float, int, bool]]  # (seconds since the last message, samples, masked)
scripts: st.SearchStrategy[Script] = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.07, 0.5, 1.9]), st.integers(0, 30_000), st.booleans()),
    max_size=8,
)


def played(messages: Sequence[tuple[float, bytes]]) -> list[int]:
    """The rule of the time line once more, a sample at a time, in whole milliseconds."""
    line: list[int] = []
    for at, pcm in messages:
        arrives = round((at - CONNECTED) * RATE)
        if arrives > len(line) + RATE * 6 // 100:
            line += [0] * (arrives - len(line))
        line += samples_of(pcm)
    return line


@hypothesis.given(scripts, scripts, st.integers(1, 3))
@hypothesis.settings(max_examples=25)
def test_recording_is_what_a_caller_plays_whatever_comes_when(
    tmp_path_factory: pytest.TempPathFactory, one: Script, other: Script, times: int
) -> None:
    caller: list[Heard] = []
    plain: list[tuple[float, bytes]] = []
    agent: list[Said] = []
    at, rng = CONNECTED, random.Random(1)
    for later, samples, is_masked in one:
        at, pcm = at + later, rng.randbytes(2 * samples)
        caller.append((at, masked(pcm, rng.randbytes(4)) if is_masked else Audio(pcm)))
        plain.append((at, pcm))
    at = CONNECTED
    for later, samples, _ in other:
        at += later
        agent.append((at, rng.randbytes(2 * samples)))
    left, right, drawn = decoded(spooled(tmp_path_factory.mktemp("spool"), caller, agent, times=times))
    expected = played(plain), played(agent)
    longest = max(map(len, expected))
    assert (left, right) == tuple(line + [0] * (longest - len(line)) for line in expected)
    told = json.loads(drawn.json())
    assert len(told["caller"]) == len(told["agent"]) == -(-longest // (RATE // 20))


def test_waveform_shows_peaks_on_a_scale_of_decibels(tmp_path: Path) -> None:
    half, full, quiet = (struct.pack("<h", peak) * (RATE // 20) for peak in (16_384, -32_768, 200))
    agent = [
        (CONNECTED, half),
        (CONNECTED, full),
        (CONNECTED, quiet),
        (CONNECTED, bytes(WINDOW_BYTES)),
        (CONNECTED, half),
    ]
    told = json.loads(decoded(spooled(tmp_path, [(CONNECTED, Audio(full[:4]))], agent))[2].json())
    assert told["step_seconds"] == 0.05
    assert told["seconds"] == 0.15 + 1.0 + 0.05
    assert told["agent"] == [90, 100, 0] + [0] * 20 + [90]
    assert told["caller"] == [100] + [0] * 23


def test_waveform_has_wider_steps_when_the_call_is_long() -> None:
    drawn = Waveform(bytearray([1] * 4_000 + [7]), bytearray([2] * 4_001), 4_001 * 2_400)
    told = json.loads(drawn.json())
    assert (told["step_seconds"], told["seconds"]) == (0.1, 200.05)
    assert told["caller"] == [1] * 2_000 + [7]
    assert told["agent"] == [2] * 2_001


@pytest.mark.parametrize(
    ("missing_bytes", "lost"), [(1, 1), (968, 1), (969, 2), (5 * 968, 5), (5 * 968 + 1, 5), (4_900, 5)]
)
def test_spool_gives_what_is_whole_of_it_when_its_process_was_killed(
    tmp_path: Path, missing_bytes: int, lost: int
) -> None:
    caller: list[Heard] = [(CONNECTED + nth * 0.02, masked(ramp(FRAME, FRAME * nth))) for nth in range(10)]
    path = spooled(tmp_path, caller, [], times=2)
    data = path.read_bytes()
    path.write_bytes(data[:-missing_bytes])
    left, _, _ = decoded(path)
    assert left == samples_of(ramp(FRAME * (10 - lost), 0))


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60)
def test_spool_raises_nothing_when_it_is_damaged(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = spooled(
        tmp_path_factory.getbasetemp(),
        [(CONNECTED, masked(ramp(20))), (CONNECTED, Audio(ramp(3)))],
        [(CONNECTED, ramp(9))],
    )
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(HEADER.size, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with path.open("rb") as file:
        for seconds, pcm in [*messages_of(file, CALLER)]:
            assert -1 < seconds < limits.RECORD_MOST_SECONDS
            assert len(pcm) <= len(raw)


def test_spool_is_refused_when_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c-0123456789ab.frames"
    path.write_bytes(b"a letter to my mother")
    with path.open("rb") as file, pytest.raises(Unrecordable, match="spool"):
        list(messages_of(file, CALLER))
    path.write_bytes(b"")
    with path.open("rb") as file:
        assert list(messages_of(file, CALLER)) == []


def test_spool_is_refused_when_a_call_has_more_audio_than_calls_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECORD_MOST_BYTES", 2_000)
    spool = Spool.open(tmp_path / "c-0123456789ab.frames", CONNECTED)
    spool.append([], [(CONNECTED, bytes(960))])
    with pytest.raises(Unrecordable, match="audio"):
        spool.append([(CONNECTED, Audio(bytes(960)))], [(CONNECTED, bytes(960))])
    spool.close()


def test_recording_keeps_nothing_any_more_when_it_has_failed() -> None:
    recording = Recording("c-0123456789ab", CONNECTED)
    recording.caller.append((CONNECTED, Audio(b"ab")))
    assert recording.unwritten_bytes == 2
    assert recording.take() == ([(CONNECTED, Audio(b"ab"))], [])
    recording.fail("the disk is full")
    recording.caller.append((CONNECTED, Audio(b"ab")))
    recording.agent.append((CONNECTED, b"ab"))
    assert recording.unwritten_bytes == 0
    assert recording.take() == ([], [])
