"""Detector, resampler, recordings: constructed audio in, known answers out."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from simulation.ear import REPROMPT
from simulation.pcm import SAMPLE_RATE_HZ, bytes_for, frames_of, mean_square, mean_square_at
from simulation.recordings import RECORDING_RATE_HZ, read_recording, write_recording
from simulation.resampler import resample, resample_pcm
from simulation.scenario import load_scenario
from simulation.speech import Speech, SpeechError, Tones, file_name, main, read_wav, spoken_lines, write_wav
from simulation.voice_activity import VoiceActivity, speech_segments

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def tone(seconds: float, dbfs: float = -20.0, hertz: float = 313.0) -> bytes:
    peak = 32_768 * 10 ** (dbfs / 20) * math.sqrt(2)
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (peak * np.sin(2 * np.pi * hertz * at)).astype("<i2").tobytes()


def quiet(seconds: float) -> bytes:
    return bytes(bytes_for(seconds))


@pytest.mark.parametrize("lead", [0.0, 0.1, 0.1234, 0.5017])
@pytest.mark.parametrize("length", [0.06, 0.333, 1.0])
def test_detector_finds_onset_and_end_within_one_frame(lead: float, length: float) -> None:
    (found,) = speech_segments(quiet(lead) + tone(length) + quiet(0.4))
    assert found.start / SAMPLE_RATE_HZ == pytest.approx(lead, abs=0.010)
    assert found.end / SAMPLE_RATE_HZ == pytest.approx(lead + length, abs=0.0101)


def test_detector_ignores_what_is_short_or_faint() -> None:
    assert speech_segments(quiet(0.1) + tone(0.03) + quiet(0.3)) == []
    assert speech_segments(tone(1.0, dbfs=-47)) == []


def test_detector_holds_on_down_to_its_lower_threshold() -> None:
    (found,) = speech_segments(tone(0.5, dbfs=-40) + tone(0.5, dbfs=-48) + tone(0.5, dbfs=-54))
    assert found.end / SAMPLE_RATE_HZ == pytest.approx(1.0, abs=0.011)


def test_detector_counts_silence_in_samples_however_it_comes() -> None:
    hearing = VoiceActivity()
    data = tone(0.2) + quiet(1.7)
    for start in range(0, len(data), 1001):
        hearing.feed(data[start : start + 1001])
    assert hearing.silence_ms == pytest.approx(1700, abs=10)
    assert hearing.speech_ms == pytest.approx(200, abs=10)
    assert not hearing.speaking


def test_detector_says_speaking_only_while_it_is() -> None:
    hearing = VoiceActivity()
    hearing.feed(tone(0.04))
    assert not hearing.speaking
    hearing.feed(tone(0.04))
    assert hearing.speaking
    hearing.feed(quiet(0.02))
    assert not hearing.speaking
    assert hearing.onset == 0
    hearing.forget()
    assert (hearing.onset, hearing.last_speech, hearing.silence_ms) == (None, None, 0.0)


@pytest.mark.parametrize("hertz", [100.0, 1000.0, 3400.0, 6500.0])
def test_resampler_keeps_a_sine_a_sine(hertz: float) -> None:
    at_16, at_24 = np.arange(16_000) / 16_000, np.arange(24_000) / 24_000
    made = resample(np.sin(2 * np.pi * hertz * at_16), 16_000, 24_000)
    assert len(made) == 24_000
    error = (made - np.sin(2 * np.pi * hertz * at_24))[400:-400]
    assert 20 * math.log10(np.sqrt(np.mean(error**2)) / math.sqrt(0.5)) < -70


def test_resampler_lets_nothing_fold_back() -> None:
    at = np.arange(24_000) / 24_000
    made = resample(np.sin(2 * np.pi * 9_500.0 * at), 24_000, 16_000)
    assert np.max(np.abs(made[400:-400])) < 10 ** (-70 / 20)


def test_resampler_keeps_levels_lengths_and_range() -> None:
    assert resample_pcm(b"", 16_000, 24_000) == b""
    loud = np.full(1600, 32_767, "<i2").tobytes()
    assert len(resample_pcm(loud, 16_000, 24_000)) == 2 * 2400
    middle = np.frombuffer(resample_pcm(loud, 16_000, 24_000), "<i2")[600:1800]
    assert middle.min() >= 32_700
    assert resample_pcm(loud, 24_000, 24_000) == loud
    with pytest.raises(ValueError, match="positive"):
        resample(np.zeros(4), 0, 24_000)


def test_tones_have_no_two_frames_alike_and_are_audible_throughout() -> None:
    made = Tones().pcm("slt", "one two three four five")
    frames = frames_of(made)
    assert len(made) == bytes_for(0.6)
    assert len(set(frames)) == len(frames)
    (found,) = speech_segments(made)
    assert (found.start, found.end) == (0, len(made) // 2)
    assert made != Tones().pcm("rms", "one two three four five")


def test_level_of_a_full_square_wave_is_zero_dbfs() -> None:
    assert mean_square((-32_768).to_bytes(2, "little", signed=True) * 100) == mean_square_at(0.0)


def test_speech_says_which_command_renders_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpeechError, match=r"^no recording of 'hello' by slt in .*simulation\.speech render"):
        Speech(tmp_path, tmp_path / "cache").pcm("slt", "hello")


def at_16(seconds: float) -> bytes:
    return resample_pcm(tone(seconds), SAMPLE_RATE_HZ, RECORDING_RATE_HZ)


def test_speech_reads_what_was_rendered_and_refuses_what_is_no_recording(tmp_path: Path) -> None:
    write_recording(tmp_path / file_name("slt", "hello"), at_16(0.1))
    pcm = Speech(tmp_path).pcm("slt", "hello")
    assert pcm == resample_pcm(at_16(0.1), RECORDING_RATE_HZ, SAMPLE_RATE_HZ)
    assert len(pcm) == bytes_for(0.1)
    for name, content in {"broken.wav": b"RIFF", "broken.flac": b"fLaC"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SpeechError, match="cannot be read"):
            (read_wav if name.endswith("wav") else read_recording)(tmp_path / name)
    write_wav(tmp_path / "stereo.wav", tone(0.1), channels=2)
    with pytest.raises(SpeechError, match="is not mono"):
        read_wav(tmp_path / "stereo.wav")
    with pytest.raises(SpeechError, match="is not mono at 16000 Hz"):
        read_recording(tmp_path / "stereo.wav")
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def synthesiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for flite: two tones, a long pause between, silence round them; each call is a line in `asked`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write_wav(folder / "said.wav", quiet(0.2) + tone(0.2) + quiet(0.9) + tone(0.3) + quiet(0.5))
    (folder / "flite").write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n/bin/cp {folder}/said.wav "$6"\n')
    (folder / "flite").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_speech_renders_once_what_is_missing_when_flite_is_there(synthesiser: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pcm = Speech(tmp_path, cache).pcm("awb", "hello \N{EM DASH} you")
    assert [path.name for path in cache.iterdir()] == [file_name("awb", "hello \N{EM DASH} you")]
    assert Speech(tmp_path, cache).pcm("awb", "hello \N{EM DASH} you") == pcm
    (asked,) = (synthesiser / "asked").read_text().splitlines()
    assert asked.startswith("-voice awb -t hello, you -o")
    first, second = speech_segments(pcm)
    assert (first.start, second.end) == (0, len(pcm) // 2)
    assert (second.start - first.end) / SAMPLE_RATE_HZ == pytest.approx(0.3, abs=0.011)


@pytest.mark.usefixtures("synthesiser")
def test_speech_does_without_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Speech(tmp_path, tmp_path / "file" / "cache").pcm("slt", "hello")


SPOKEN = """
schema: 1
name: spoken
persona: {voice: awb}
faults: {vapi: {filler: One moment.}}
caller: [{say: hello}, {backchannel: mhm}]
agent: [{say: good day}]
"""


@pytest.mark.usefixtures("synthesiser")
def test_render_makes_what_is_missing_and_prune_removes_what_is_not_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("schema: 2")
    (tmp_path / "b.yaml").write_text(SPOKEN)
    assert main(["render", *map(str, sorted(tmp_path.glob("*.yaml")))]) == 1
    assert "a.yaml:1:" in capsys.readouterr().err
    needed = {("awb", "hello"), ("awb", "mhm"), ("rms", "good day"), ("rms", "One moment."), ("rms", REPROMPT)}
    assert {path.name for path in (tmp_path / "audio").iterdir()} == {file_name(*line) for line in needed}
    (tmp_path / "audio" / "old.wav").touch()
    (tmp_path / "audio" / "README.md").touch()
    assert main(["prune", str(tmp_path / "b.yaml")]) == 1
    assert (tmp_path / "audio" / "old.wav").exists()
    (tmp_path / "a.yaml").unlink()
    assert main(["prune", str(tmp_path / "b.yaml")]) == 0
    assert capsys.readouterr().out.endswith(f"removed {tmp_path}/audio/old.wav\n")
    assert len(list((tmp_path / "audio").iterdir())) == len(needed) + 1


def test_render_command_explains_its_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 2
    assert main(["render", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml:1: cannot be read" in capsys.readouterr().err


def test_shipped_scenarios_have_every_line_recorded_and_nothing_else() -> None:
    lines = {line for path in SCENARIOS.glob("*.yaml") for line in spoken_lines(load_scenario(path))}
    files = {path.name: path.stat().st_size for path in (SCENARIOS / "audio").iterdir() if path.suffix != ".md"}
    assert set(files) == {file_name(*line) for line in lines}
    assert sum(files.values()) < 12_000_000
    speech = Speech(SCENARIOS / "audio")
    for line in lines:
        pauses = pairwise(speech_segments(speech.pcm(*line), min_silence_ms=20))
        # A pause as long as the cloud's endpointing would end the caller's turn in the middle.
        assert max(((after.start - before.end) / 24 for before, after in pauses), default=0) < 350, line
