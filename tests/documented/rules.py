"""How each documented command is run in the test, where it is not run as it stands; and what has to come of it.

A command that no rule fits is run as it stands, and has to end with 0 within its time. So nobody can write a command
into a document that is not run: one that serves, or takes long, needs a rule here.
"""

import re
from collections.abc import Mapping
from typing import Final

import attrs

SECONDS: Final = 100.0
VAPI_PORT: Final = 9199  # not 9100: a document may start its own there
SIMULATED: Final[Mapping[str, str]] = {
    "VAPI_API_KEY": "simulated-key",
    "VAPI_BASE_URL": f"http://127.0.0.1:{VAPI_PORT}",
}
TWO: Final = "scenarios/leaves-in-mid-sentence.yaml scenarios/leaves-after-the-greeting.yaml"
TOUCHED: Final = (
    "tests/tools tests/db tests/docs tests/simulation/test_shipped_scenarios.py tests/test_house_rules.py"
    " tests/test_images.py"
)
FEWER: Final = "two of the scenarios: all of them in real time take three minutes, and other tests hold them"
NO_ACCOUNT: Final = "Vapi is the simulated one: a test has no account, and its machine no way to the internet"


@attrs.frozen(kw_only=True)
class Rule:
    """`pattern` fits the whole command, as it is written but without `.venv/bin/`.

    `run`: in its place; may name groups of the pattern. `why`: it is led elsewhere, made shorter, or not run at all.
    `ready`: it serves for ever, and this word of its output says that it does; it stays until its block is over, or,
    with `brief`, until `then` has been run. `leaves`: files that are there afterwards. `given`: a variable that must
    have been exported for the rule to fit; `own_files`: the reader must have written files. `follows`: one of the text
    that belongs to the block before it.
    """

    pattern: str
    given: str = ""
    own_files: bool = False
    follows: bool = False
    run: str = ""
    why: str = ""
    never: bool = False
    environ: Mapping[str, str] = {}
    companions: tuple[str, ...] = ()
    seconds: float = SECONDS
    code: int = 0
    says: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    ready: str = ""
    brief: bool = False
    stopped: tuple[int, ...] = (0,)
    then: tuple[str, ...] = ()


@attrs.frozen
class Companion:
    """A program that a documented command needs beside it."""

    command: str
    ready: str


# {scenario} is the last one that the document had its reader write, else FIRST_SCENARIO.
FIRST_SCENARIO: Final = "scenarios/freeze-card.yaml"
CALL: Final = "voice run {scenario} --agent ws://127.0.0.1:8008/voice"
COMPANIONS: Final[Mapping[str, Companion]] = {
    "vapi": Companion(f"voice simulate vapi --port {VAPI_PORT} --scenario {{scenario}}", "vapi listening on"),
}

RULES: Final[tuple[Rule, ...]] = (
    # The two commands of a newcomer, and their like.
    Rule(
        pattern=r"make demo",
        says=("0 failed",),
        leaves=("runs/*/call.wav", "runs/*/timeline.png", "runs/*/trace.jsonl", "runs/*/summary.json"),
    ),
    Rule(
        pattern=r"make watch",
        ready="console: ",
        brief=True,
        stopped=(0, 2, 130),  # make says 2, and that it was interrupted
        then=("curl -sSf http://127.0.0.1:8010/", "curl -sSf http://127.0.0.1:8010/metrics"),
    ),
    Rule(
        pattern=r"make test",
        own_files=True,
        run="make unit",
        environ={"PYTEST_ADDOPTS": f"-n 2 {TOUCHED}"},
        why="what looks at files that a reader adds, lint and types with the guide's `make check`: CI has run the"
        " whole of it without them",
        says=("== pytest", r"\d{3,} passed"),
        seconds=300,
    ),
    Rule(
        pattern=r"make test",
        run="make types unit",
        environ={"PYTEST_ADDOPTS": "tests/tools tests/test_house_rules.py"},
        why="two parts of the suite, and lint with the guide's `make check`: CI has just run the whole of it",
        says=("== mypy", "== pytest", r"\d+ passed"),
        seconds=300,  # mypy has no cache in a clone
    ),
    Rule(pattern=r"make check", seconds=300),
    Rule(
        pattern=r"make conversations",
        run=f"make conversations SCENARIOS='{TWO}'",
        why=FEWER,
        says=("2 passed, 0 failed",),
        leaves=("runs/conversations/report.html",),
    ),
    Rule(
        pattern=r"make torture( SEEDS=\d+)?",
        run="make torture SEEDS=20",
        why="fewer seeds",
        says=("20 seeds", "every invariant held in every run"),
    ),
    Rule(
        pattern=r"make planted",
        run="python -m sandbox.planted verified-callers-see-everybody --jobs 2",
        why="one of the faults: all of them take minutes",
    ),
    Rule(
        pattern=r"make fuzz( CASES=\d+)?",
        run="python -m fuzz --cases 600 --jobs 2 && python -m fuzz http --cases 20",
        why="fewer cases, and no siege, which takes two minutes",
    ),
    Rule(
        pattern=r"make bench",
        run="python -m bench --only audio --calls 1 --repetitions 1 --seconds 0.5 --transport plain"
        " --results runs/bench",
        why="one call instead of a hundred, once: it decides nothing, but works",
        leaves=("runs/bench/partial.json",),
    ),
    # Conversations.
    Rule(
        pattern=r"voice run scenarios --html report\.html",
        run=f"voice run {TWO} --html report.html",
        why=FEWER,
        says=("2 passed, 0 failed",),
        leaves=("report.html",),
    ),
    Rule(
        pattern=r"voice run scenarios --virtual --seed 7",
        run=f"voice run {TWO} --virtual --seed 7 --runs runs/a && voice run {TWO} --virtual --seed 7 --runs runs/b"
        " && diff -r runs/a runs/b",
        why="two of the scenarios; twice, to compare what they leave",
    ),
    Rule(
        pattern=r"voice run (?P<what>.*) --live(?P<rest>.*)",
        run=r"voice run \g<what> --live --yes\g<rest>",
        environ={**SIMULATED, "PUBLIC_BASE_URL": "http://127.0.0.1:8009"},
        companions=("vapi",),
        why=f"without the question. {NO_ACCOUNT}",
    ),
    Rule(
        pattern=r"voice stress --calls \d+ --seconds \d+",
        run="voice stress --calls 10 --seconds 3",
        why="fewer calls: the limit of this machine is not what is looked for",
        says=("full first", "passed: nothing lost"),
    ),
    # The machine, the way in, and callers.
    Rule(pattern=r"export VAPI_API_KEY=…", run="export VAPI_API_KEY=simulated-key", why="a key of the simulated Vapi"),
    Rule(pattern=r"export NGROK_AUTHTOKEN=…", run="export NGROK_AUTHTOKEN=token", why="no tunnel is started"),
    Rule(
        pattern=r"voice doctor",
        given="VAPI_API_KEY",
        environ=SIMULATED,
        companions=("vapi",),
        why=NO_ACCOUNT,
        says=("accepted by GET /call",),
    ),
    Rule(
        pattern=r"voice doctor",
        environ={"VAPI_BASE_URL": SIMULATED["VAPI_BASE_URL"]},
        companions=("vapi",),
        code=2,
        says=("VAPI_API_KEY is not set",),
        why="a machine without a key, of which it has to speak; Vapi is the simulated one",
    ),
    Rule(pattern=r"voice settings", says=("VAPI_API_KEY", "DATABASE_URL", "PUBLIC_BASE_URL")),
    Rule(
        pattern=r"voice serve",
        environ=SIMULATED,
        companions=("vapi",),
        why=NO_ACCOUNT,
        ready="console listening on",
        then=(CALL, "curl -sSf http://127.0.0.1:8010/readyz"),
    ),
    Rule(
        pattern=r"hypercorn .*runtime\.app:app",
        environ=SIMULATED,
        companions=("vapi",),
        why=NO_ACCOUNT,
        ready="Running on",
        then=(CALL,),
        stopped=(0, 130),
    ),
    Rule(
        pattern=r"voice pods \d",
        environ={**SIMULATED, "PUBLIC_BASE_URL": "http://127.0.0.1:9000"},
        companions=("vapi",),
        why=NO_ACCOUNT,
        ready="take calls",
        then=(CALL, "curl -sSf http://127.0.0.1:9000/healthz"),
    ),
    Rule(pattern=r"voice simulate vapi.*", ready="vapi listening on", stopped=(130,)),
    Rule(pattern=r"voice simulate engine.*", ready="engine listening on", stopped=(130,)),
    Rule(pattern=r"VAPI_BASE_URL=http://127\.0\.0\.1:\d+ .*voice serve", ready="console listening on"),
    Rule(pattern=r"voice simulate caller .*", says=("caller_hung_up",), leaves=("runs/by-hand/call.wav",)),
    Rule(pattern=r"curl localhost:6100/simulations/by-hand/events", follows=True, says=("verify_caller",)),
    Rule(pattern=r"veris .*", never=True, why="a program of the hosted platform, which retired"),
)

UNKNOWN: Final = Rule(pattern="")


def rule_of(command: str, exported: Mapping[str, str] = {}, own_files: bool = False) -> tuple[Rule, str]:
    """The first rule that fits, and what is run in the command's place."""
    written = command.replace(".venv/bin/", "")
    for rule in RULES:
        found = re.fullmatch(rule.pattern, written)
        if found and (not rule.given or rule.given in exported) and own_files >= rule.own_files:
            return rule, found.expand(rule.run) if rule.run else command
    return UNKNOWN, command
