"""The same seed gives the same bytes, whatever was held before in the same process."""

import hashlib
from pathlib import Path

import trio

from db.seed import read_bank_files
from sandbox.hold import conversation_of
from sandbox.options import Options, Task
from sandbox.verdict import Conversation
from sandbox.virtual import Props, hold_virtually
from simulation.scenario import load_scenario
from simulation.speech import Tones

SCRIPTED = Options(virtual=True, scripted=True)


def held(name: str, folder: Path, seed: int = 3) -> Conversation:
    props = Props(trio.run(read_bank_files), Tones(ms_per_word=80), None)
    task = Task(load_scenario(Path(f"scenarios/{name}.yaml")), 1, seed, folder)
    return conversation_of(hold_virtually(task, props, SCRIPTED))


def bytes_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_conversation_leaves_the_same_bytes_when_held_twice(tmp_path: Path) -> None:
    first = held("noisy-line", tmp_path / "first")
    assert first.passed, first.failures
    held("leaves-after-the-greeting", tmp_path / "between")
    held("noisy-line", tmp_path / "second")
    held("noisy-line", tmp_path / "other", seed=4)
    assert set(bytes_of(tmp_path / "first")) == {"call.wav", "timeline.png", "trace.jsonl", "summary.json"}
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")
    assert bytes_of(tmp_path / "first")["call.wav"] != bytes_of(tmp_path / "other")["call.wav"]
