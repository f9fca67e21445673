"""What is said of files that cannot be used: scenarios, recordings, the store of an engine."""

import json
import sys
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from runtime.errors import SettingsError
from sandbox import command
from sandbox.options import Options
from simulation import recordings, speech
from simulation.ear import EarError
from simulation.engine_store import StoreError, open_store
from simulation.recogniser import the_recogniser
from simulation.scenario import ScenarioError, load_scenario
from simulation.speech import Speech, SpeechError
from tests.docs.programs import ears
from tests.docs.symptom import Symptom, in_virtual_time, said, seen

HEAD: Final = "schema: 1\nname: n\n"
CALLER: Final = HEAD + "caller:\n  - hang_up: true\n"

# A file, and what varies in what is said of it.
FILES: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ("", {}),
    ("a: [1", {"what_is_wrong": "expected ',' or ']', but got '<stream end>'"}),
    ("\x07", {"what_is_wrong": ""}),
    ("- 1", {"where": "the scenario", "keys": ""}),
    ("schema: 1\nname: n", {"where": "the scenario", "key": "caller"}),
    ("schema: 2\nname: n\ncaller: []", {}),
    (HEAD + "caller: []", {}),
    (HEAD + "caller: hello", {"where": "caller"}),
    (HEAD + "colour: red\ncaller: []", {"key": "colour", "where": "the scenario", "keys": ""}),
    (HEAD + "name: m\ncaller: []", {"key": "name", "where": "the scenario"}),
    (HEAD + "caller:\n  - say: x\n    wait: 1", {"keys": ""}),
    (HEAD + "caller:\n  - say: 4242", {"where": "say"}),
    (HEAD + "caller:\n  - say: ' '", {"where": "say"}),
    (HEAD + "caller:\n  - wait: soon", {"where": "wait", "most": 600}),
    (HEAD + "caller:\n  - hang_up: no", {}),
    (CALLER + "policy: loose", {"where": "policy", "value": "loose", "choices": ""}),
    (CALLER + "agent:\n  - {}", {}),
    (CALLER + "agent:\n  - calls:\n      - tool: t\n        arguments: [1]", {"where": "arguments"}),
    (CALLER + "agent:\n  - say: x\n    end_call: 1", {"where": "end_call"}),
    (CALLER + "seed: -1", {"where": "seed", "least_to_most": "0 to 2147483647"}),
    (CALLER + "line:\n  gaps:\n    every_ms: 100\n    lose_ms: 100", {}),
    (CALLER + "faults:\n  vapi:\n    model_ms: fast", {"where": "faults.vapi.model_ms", "value": "fast", "kind": ""}),
    (HEAD + "caller:\n  - say: x\n    after: 3", {"key": "after", "step": "say"}),
    (CALLER + "expect:\n  tools:\n    - tool: t\n      answer: '['", {"where": "answer", "what_is_wrong": ""}),
    (CALLER + "expect:\n  rows:\n    - {table: t, where: {}}", {}),
    (CALLER + "agent:\n  - calls:\n      - {tool: t, arguments: {? [1] : 2}}", {"what_is_wrong": ""}),
    *((CALLER + f"seed: {value}", {}) for value in ("!!int x", "!!bool x", "!!timestamp x", "2026-02-31")),
)  # fmt: skip
# What stands before the parts above that are too long to be written here.
BEHIND: Final = {"keys": ("the keys ", "one of ", "out of "), "choices": ("one of ",), "kind": ("must be ",),
                 "what_is_wrong": ("is not YAML: ", "expression: ", "be read: ")}  # fmt: skip
LINE: Final = json.dumps({"simulation_id": "s", "received_at": "x", "mono": 1, "event": {}})
STORES: Final = (
    "x\n" + LINE + "\n", "[]\n", "{}\n", LINE.replace('"s"', "5") + "\n", LINE.replace(": 1", ': "1"') + "\n",
    LINE + "\n",
)  # fmt: skip


def scenario_errors(folder: Path) -> Iterator[Symptom]:
    path = folder / "s.yaml"
    for text, varies in FILES:
        path.write_text(text, encoding="utf-8")
        yield _seen_at(path, said(ScenarioError, partial(load_scenario, path)), varies)
    path.write_bytes(b"\xff\xfe\x00")
    yield _seen_at(path, said(ScenarioError, partial(load_scenario, path)), {})
    none = folder / "none.yaml"
    yield _seen_at(none, said(ScenarioError, partial(load_scenario, none)), {"why": "No such file or directory"})


def _seen_at(path: Path, line: str, varies: dict[str, object]) -> Symptom:
    place, _, rest = line.partition(": ")
    full = {}
    for name, value in varies.items():
        if value == "":
            before = next(words for words in BEHIND[name] if words in rest)
            value = rest.rpartition(before)[2].partition(";")[0]
        full[name] = value
    found = seen(rest, **full)
    assert place.startswith(f"{path}:"), place
    return Symptom(found.raw, f"<file>:<line>: {found.shown}")


def store_errors(folder: Path) -> Iterator[Symptom]:
    path = folder / "store.jsonl"
    for content in STORES:
        path.write_text(content)
        line = said(StoreError, partial(open_store(path).__enter__))
        rest = line.partition(": ")[2]
        complaint = {"what_is_wrong": rest.rpartition("; mend")[0]} if content == STORES[-1] else {}
        yield Symptom(line, f"<file>:<line>: {seen(rest, **complaint).shown}")
    path.write_text("")
    with open_store(path):
        yield seen(said(StoreError, open_store(path).__enter__), file=path)


def speech_errors(folder: Path) -> Iterator[Symptom]:
    """Of recordings, and of the programs that speak and hear."""
    none = folder / "none.wav"
    line = said(SpeechError, partial(recordings.read_wav, none))
    yield seen(line, why=line.partition("read: ")[2].rpartition(";")[0], file=none)
    flac = folder / "none.flac"
    line = said(SpeechError, partial(recordings.read_recording, flac))
    yield seen(line, why=line.partition("read: ")[2].rpartition(";")[0], file=flac)
    for read in (recordings.read_wav, recordings.read_recording):
        stereo = folder / "stereo.wav"
        with wave.open(str(stereo), "wb") as made:
            made.setparams((2, 2, 8_000, 0, "NONE", ""))
            made.writeframes(bytes(400))
        yield seen(said(SpeechError, partial(read, stereo)), file=stereo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        line = said(SpeechError, partial(recordings.render, "slt", "hello"))
        yield seen(line, why=line.partition("'hello': ")[2].rpartition(";")[0], words="hello")
        patch.setattr(speech, "cache_folder", lambda: folder)
        line = said(SpeechError, partial(Speech(folder).pcm, "slt", "hello"))
        yield seen(line, words="hello", voice="slt", folder=folder)
        path = folder / "spoken.yaml"
        path.write_text("schema: 1\nname: spoken\ncaller:\n  - say: hello\n")
        line = said(SettingsError, partial(command._require_speech, [load_scenario(path)], Options()))
        yield seen(line, file=path, folder=folder, words="hello", voice="slt")
    yield seen(said(SpeechError, partial(recordings._trimmed, bytes(3200), "hello")), words="hello")
    yield from _no_ear()
    yield from in_virtual_time(ears)


def _no_ear() -> Iterator[Symptom]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pocketsphinx", None)
        line = said(EarError, the_recogniser.__wrapped__)
        yield seen(line, why=line.partition("no ear: ")[2].rpartition(";")[0])
