"""The house rules over every module of the product. Each rule is first shown to bite. The rules: house_rules.py."""

import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.house_rules import (
    FILE_LINES,
    FUNCTION_LINES,
    ROOT,
    RULES,
    Module,
    Rule,
    actors,
    arrows,
    barriers,
    environment,
    functions,
    imports,
    libraries,
    product,
    shields,
    state,
    timeouts,
    unbounded,
)

# Where a rule does not hold, and why. An exception that is not needed any more is a failure too.
EXCEPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "shields": {
        "runtime/supervisor.py:_run_once": "a child's scope: only _stop cancels it, and that is bounded",
        "db/asyncio_loop.py:AsyncioLoop": "the loop outlives its users' cancellation; its owner ends it",
    },
    "barriers": {
        "runtime/supervisor.py:_run_once": "the actor barrier",
        "runtime/supervisor.py:open_supervisor": "not swallowed: raised once the children are gone",
        "runtime/http_door.py:behind_the_barrier": "the connection barrier of both doors",
        "runtime/ws_handshake.py:_run": "the connection barrier: the library raises in its reader",
        "runtime/switchboard.py:_serve": "the connection barrier: one line's failure is its own",
        "runtime/ws_leg.py:_take": "not swallowed: raised in the task that receives, whose code it is",
        "runtime/channels.py:offer": "not swallowed: raised in the task that receives, whose code it is",
        "tools/execution.py:answer": "the tool-call barrier",
        "actors/call_register.py:_tell": "an actor barrier round the news of one call",
        "actors/vapi_calls.py:_guarded": "an actor barrier round the work on one call",
        "runtime/recorder.py:_guarded": "an actor barrier round the work on one recording",
        "runtime/doctor/examination.py:_guarded": "the check's barrier: what one meets must not hide the others' rows",
        "simulation/http_server.py:serve_http_connection": "the simulation's connection barrier",
        "simulation/loopback.py:serve": "the simulation's connection barrier",
        "simulation/vapi_cloud.py:_serve_socket": "the simulation's connection barrier",
        "sandbox/job.py:run_job": "the job's barrier: what it cannot open is why it holds nothing",
        "sandbox/job.py:_run_virtually": "the job's barrier: what one conversation raises ends that one",
        "sandbox/job.py:_run_really": "the same, in real time",
        "torture/jobs.py:run_guarded": "a run that raises is a failed run, and told as one",
        "fuzz/batch.py:run_cases": "what falls out of the doors is what is looked for",
    },
    "environment": {
        "runtime/settings.py:read_environment": "the one place",
        "db/embedded.py:_open": "a child process's environment",
        "bench/processes.py:open_program": "a child process's environment",
        "stress/programs.py:open_program": "a child process's environment",
        "runtime/tunnels/child.py:open_child": "a child process's environment",
        "runtime/pods_program.py:open_program": "a child process's environment",
        "runtime/cli_run.py:run": "somebody's agent is started with the user's own environment",
        "simulation/recordings.py:cache_folder": "where the user keeps caches",
    },
    "arrows": {
        "actors/silence_padder.py -> actors.tail": "the pure half of the same actor",
        "actors/tool_dispatcher.py -> actors.engine_reporter": "an actor of the process, which it is handed",
        "runtime/cli.py -> simulation": "the command line opens the simulated world",
        "runtime/cli_run.py -> sandbox.command": "and holds conversations in it",
        "runtime/cli.py -> torture.jobs": "and tortures the product in it",
        "runtime/cli_stress.py -> stress.command": "and puts it under load",
        "runtime/demo.py -> simulation": "the demo is a call in the simulated world",
        "runtime/demo_screen.py -> simulation": "and shows what its engine was told",
    },
    "state": {},
    "functions": {
        "actors/call.py:run_call": "the diagram of a call, read from top to bottom",
        "runtime/doors.py:open_doors": "the diagram of the process, read from top to bottom",
        "runtime/vapi_api.py:call_request": "one literal: the body of POST /call",
    },
    "actors": {},
}


LONG_BODY: Final = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES + 1)
ACTOR: Final = "class A:\n    '''{}'''\n    async def run(self, task_status): pass\n"

# Per rule: a path, a source that breaks it, and one that does not.
PROOFS: Final[tuple[tuple[Rule, str, str, str], ...]] = (
    (unbounded, "runtime/x.py", "trio.open_memory_channel[int](math.inf)", "trio.open_memory_channel[int](16)"),
    (unbounded, "runtime/x.py", "trio.open_memory_channel(float('inf'))", "queue.Queue(3)"),
    (unbounded, "runtime/x.py", "queue.Queue()", "queue.Queue(maxsize=3)"),
    (shields, "db/x.py", "with trio.CancelScope(shield=True): pass", "with trio.move_on_after(1, shield=True): pass"),
    (shields, "db/x.py", "trio.CancelScope(shield=on)", "trio.CancelScope(deadline=1, shield=True)"),
    (shields, "db/x.py", "scope.shield = True", "trio.CancelScope(shield=False)"),
    (barriers, "actors/x.py", "try: f()\nexcept Exception: pass", "try: f()\nexcept ValueError: pass"),
    (barriers, "actors/x.py", "try: f()\nexcept (OSError, BaseException): g()", "try: f()\nexcept OSError: g()"),
    (barriers, "actors/x.py", "try: f()\nexcept: pass", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    (barriers, "actors/x.py", "try: f()\nexcept trio.Cancelled: pass", "with suppress(OSError): pass"),
    (barriers, "actors/x.py", "with suppress(Exception): pass", "with suppress(KeyError, OSError): pass"),
    (environment, "tools/x.py", "import os\nos.environ['A']", "import os\nos.getpid()"),
    (environment, "tools/x.py", "import os\nos.getenv('A')", "environ = 1"),
    (environment, "tools/x.py", "from os import environ", "from os import getpid"),
    (arrows, "actors/x.py", "from actors.tail import Tail", "from runtime.leg import Leg"),
    (arrows, "actors/x.py", "from db.pool import open_database", "from db.door import Database"),
    (arrows, "actors/x.py", "from db import queries", "from tools import card_tools"),
    (arrows, "tools/x.py", "import runtime.record", "import runtime.limits"),
    (arrows, "db/x.py", "from tools.registry import Tool", "from runtime import limits"),
    (arrows, "runtime/x.py", "def f():\n    from simulation.engine import Engine", "from actors.call import run_call"),
    (arrows, "simulation/x.py", "from runtime import limits", "from simulation.engine import Engine"),
    (arrows, "sandbox/x.py", "from actors import tail", "from runtime import limits"),
    (arrows, "sandbox/planted/x.py", "from fuzz.cli import app", "from actors import tail"),
    (libraries, "actors/x.py", "import httpx", "import trio"),
    (libraries, "runtime/x.py", "from asyncpg import connect", "import structlog"),
    (libraries, "actors/x.py", "import trio_websocket._impl", "import httpx2"),
    (state, "actors/x.py", "_seen = {}", "_SEEN: Final = {'a': 1}"),
    (state, "actors/x.py", "_seen: dict[str, int] = {}", "_SEEN: Mapping[str, int] = {}"),
    (state, "actors/x.py", "calls = collections.deque()", "CALLS = ('a', 'b')"),
    (state, "actors/x.py", "NAMES = [n for n in f()]", "def f():\n    names = []"),
    (state, "actors/x.py", "def f():\n    global n\n    n = 1", "class A:\n    n: list[int] = []"),
    (functions, "actors/x.py", LONG_BODY, LONG_BODY.replace("    x = 1\n", "", 1)),
    (functions, "actors/x.py", "x = 1\n" * (FILE_LINES + 1), "x = 1\n" * FILE_LINES),
    (timeouts, "actors/x.py", "async def f(*, timeout=5): pass", "async def f(*, seconds): pass"),
    (timeouts, "actors/x.py", "class A:\n    async def f(self, timeout): pass", "def f(timeout): pass"),
    (actors, "actors/x.py", ACTOR.format("It works."), ACTOR.format("Ends: x. Restart: y. Cancelled: z.")),
)  # fmt: skip


def named(rule: Rule) -> str:
    return rule.__name__  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("rule", "path", "bad", "good"), PROOFS)
def test_rule_bites_when_it_is_broken_and_only_then(rule: Rule, path: str, bad: str, good: str) -> None:
    assert list(rule(Module(path, bad)))
    assert not list(rule(Module(path, good)))


def test_every_rule_is_shown_to_bite() -> None:
    assert {named(rule) for rule in RULES} == {named(proof[0]) for proof in PROOFS}


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_product_keeps_the_rule(rule: Rule) -> None:
    excused = EXCEPTIONS.get(named(rule), {})
    faults = [fault for module in product() for fault in rule(module)]
    wrong = [f"{fault.place} (line {fault.line}): {fault.what}" for fault in faults if fault.place not in excused]
    assert wrong == []
    assert sorted(set(excused) - {fault.place for fault in faults}) == [], "exceptions that are not needed any more"


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """A way from a module back to itself, or nothing."""
    done: set[str] = set()

    def search(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        for following in sorted(graph.get(name, set()) - done):
            if found := search(following, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := search(name, []))), [])


def test_modules_import_each_other_without_a_cycle() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    modules = product()
    known = {module.name for module in modules}
    graph = {module.name: {name for _, name in imports(module, at_load=True) if name in known} for module in modules}
    assert cycle(graph) == []


# Written in pieces, so that this file does not hold what it looks for.
TRACES: Final = re.compile(
    "|".join(
        (
            r"pypi\." + "org", "python" + r"hosted\.org", r"npm" + r"js\.", r"--(extra-)?index" + "-url",
            "index" + r"_url\s*=",
            r"(?<![\w.])/(home|Users)" + r"/[a-z]\w*/", r"(?<![\w.])/root" + "/", re.escape(str(ROOT)) + r"\b",
        )
    )
)  # fmt: skip


def traces(text: str) -> list[str]:
    return [match.group() for match in TRACES.finditer(text)]


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    assert traces("https://pypi" + ".org/simple") != []
    assert traces(f"cd {ROOT}/runtime") != []
    assert traces("see /home" + "/ann/notes") != []
    assert traces("pip install -r requirements.lock; /var/log; https://api.vapi.ai/home/x") == []
    listed: Any = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    found = {}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        raw = path.read_bytes() if path.is_file() else b""
        if b"\x00" not in raw[:1000] and (seen := traces(raw.decode("utf-8", "replace"))):
            found[name] = seen
    assert found == {}
