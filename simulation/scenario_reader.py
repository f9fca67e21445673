"""A scenario's YAML to a :class:`~simulation.scenario.Scenario`; every error names the line and what would be right."""

from pathlib import Path
from typing import Any, Final, Literal

from yaml.nodes import Node

from simulation.scenario import (
    ENDINGS,
    FIXTURES,
    LIMITS,
    VOICES,
    AgentTurn,
    Backchannel,
    BargeIn,
    CallerStep,
    Expectations,
    Faults,
    Gaps,
    HangUp,
    Persona,
    PhoneLine,
    PlayWav,
    Policy,
    RowExpectation,
    Say,
    Scenario,
    Silence,
    ToolCall,
    ToolExpectation,
    Wait,
)
from simulation.scenario_faults import read_faults
from simulation.scenario_nodes import Reader, compose

MAX_WAIT_SECONDS = 600.0
MAX_LIMIT = 600_000.0
MAX_SEED = 2**31 - 1
TOP_KEYS = (
    "schema", "name", "about", "policy", "fixture", "seed", "persona", "opening", "line", "faults",
    "caller", "agent", "expect",
)  # fmt: skip
STEP_KEYS = ("say", "wav", "wait", "silence", "barge_in", "backchannel", "hang_up")
EXPECT_KEYS = ("tools", "order", "never", "rows", "unchanged", "said", "never_said", "limits", "ending")
TOOL_KEYS = ("tool", "arguments", "matching", "answer", "refused")
EXTRA_KEYS: Final = {"backchannel": "after", "wav": "words"}
"""What may stand beside the one key of a step."""


def read_scenario(path: Path) -> Scenario:
    """The whole file; see :func:`simulation.scenario.load_scenario`."""
    reader = Reader(path)
    top = reader.mapping(compose(path), "the scenario", TOP_KEYS, ("schema", "name", "caller"))
    if top["schema"].value != "1":
        raise reader.fail(top["schema"], "schema must be 1; this version reads no other")
    caller = reader.sequence(top["caller"], "caller", lambda node: _step(reader, node))
    if not caller:
        raise reader.fail(top["caller"], "caller has no steps; give it at least '- hang_up: true'")
    policy: Policy = "verified"
    if "policy" in top and reader.one_of(top["policy"], "policy", ("verified", "open")) == "open":
        policy = "open"
    opening: Literal["agent", "caller"] = "agent"
    if "opening" in top and reader.one_of(top["opening"], "opening", ("agent", "caller")) == "caller":
        opening = "caller"
    return Scenario(
        name=reader.text(top["name"], "name"),
        caller=caller,
        agent=reader.sequence(top["agent"], "agent", lambda node: _turn(reader, node)) if "agent" in top else (),
        expect=_expectations(reader, top["expect"]) if "expect" in top else Expectations(),
        policy=policy,
        fixture=reader.one_of(top["fixture"], "fixture", FIXTURES) if "fixture" in top else "bank",
        about=reader.text(top["about"], "about") if "about" in top else "",
        persona=_persona(reader, top["persona"]) if "persona" in top else Persona(),
        opening=opening,
        line=_line(reader, top["line"]) if "line" in top else PhoneLine(),
        faults=read_faults(reader, top["faults"]) if "faults" in top else Faults(),
        seed=reader.whole(top["seed"], "seed", 0, MAX_SEED) if "seed" in top else 0,
        path=path,
    )


def _persona(reader: Reader, node: Node) -> Persona:
    entries = reader.mapping(node, "persona", ("voice", "about"))
    return Persona(
        voice=reader.one_of(entries["voice"], "persona.voice", VOICES) if "voice" in entries else Persona().voice,
        about=reader.text(entries["about"], "persona.about") if "about" in entries else "",
    )


def _line(reader: Reader, node: Node) -> PhoneLine:
    entries = reader.mapping(node, "line", ("band_hz", "snr_db", "gaps"))
    gaps = None
    if "gaps" in entries:
        inside = reader.mapping(entries["gaps"], "line.gaps", ("every_ms", "lose_ms"), ("every_ms", "lose_ms"))
        gaps = Gaps(
            reader.whole(inside["every_ms"], "every_ms", 20, 60_000),
            reader.whole(inside["lose_ms"], "lose_ms", 1, 60_000),
        )
        if gaps.lose_ms >= gaps.every_ms:
            raise reader.fail(inside["lose_ms"], "lose_ms must be below every_ms, or nothing is left to hear")
    return PhoneLine(
        band_hz=reader.whole(entries["band_hz"], "band_hz", 1_000, 24_000) if "band_hz" in entries else None,
        snr_db=reader.number(entries["snr_db"], "snr_db", 90.0) if "snr_db" in entries else None,
        gaps=gaps,
    )


def _step(reader: Reader, node: Node) -> CallerStep:
    entries = reader.mapping(node, "a caller step", (*STEP_KEYS, *EXTRA_KEYS.values()))
    keys = [key for key in entries if key in STEP_KEYS]
    if len(keys) != 1:
        raise reader.fail(node, f"a caller step has one key out of {', '.join(STEP_KEYS)}; split it into several")
    key = keys[0]
    for extra in entries:
        if extra not in (key, EXTRA_KEYS.get(key)):
            raise reader.fail(entries[extra], f"{extra!r} does not go with {key!r}; leave it out")
    return _step_of(reader, key, entries)


def _step_of(reader: Reader, key: str, entries: dict[str, Node]) -> CallerStep:
    value = entries[key]
    match key:
        case "say":
            return Say(reader.text(value, "say"))
        case "wav":
            words = reader.text(entries["words"], "words") if "words" in entries else ""
            return PlayWav(reader.path.parent / reader.text(value, "wav"), words)
        case "wait":
            return Wait(reader.number(value, "wait", MAX_WAIT_SECONDS))
        case "silence":
            return Silence(reader.number(value, "silence", MAX_WAIT_SECONDS))
        case "barge_in":
            return BargeIn(round(reader.number(value, "barge_in", MAX_WAIT_SECONDS * 1000)))
        case "backchannel":
            said = Backchannel(reader.text(value, "backchannel"))
            if "after" not in entries:
                return said
            return Backchannel(said.text, round(reader.number(entries["after"], "after", MAX_WAIT_SECONDS * 1000)))
    if reader.plain(value) is not True:
        raise reader.fail(value, "hang_up must be true; leave the step out to stay on the line")
    return HangUp()


def _turn(reader: Reader, node: Node) -> AgentTurn:
    entries = reader.mapping(node, "an agent turn", ("say", "calls", "end_call"))
    if not entries:
        raise reader.fail(node, "an agent turn needs 'say' or 'calls'")
    return AgentTurn(
        say=reader.text(entries["say"], "say") if "say" in entries else "",
        calls=reader.sequence(entries["calls"], "calls", lambda item: _call(reader, item))
        if "calls" in entries
        else (),
        end_call=reader.truth(entries["end_call"], "end_call") if "end_call" in entries else False,
    )


def _call(reader: Reader, node: Node) -> ToolCall:
    entries = reader.mapping(node, "an entry of calls", ("tool", "arguments"), ("tool",))
    arguments = reader.table(entries["arguments"], "arguments") if "arguments" in entries else {}
    return ToolCall(reader.text(entries["tool"], "tool"), arguments)


def _expected_tool(reader: Reader, node: Node) -> ToolExpectation:
    entries = reader.mapping(node, "an entry of expect.tools", TOOL_KEYS, ("tool",))
    matching: dict[str, str] = {}
    if "matching" in entries:
        reader.table(entries["matching"], "matching")
        matching = {
            name.value: reader.pattern(value, f"matching.{name.value}") for name, value in entries["matching"].value
        }
    return ToolExpectation(
        tool=reader.text(entries["tool"], "tool"),
        arguments=reader.table(entries["arguments"], "arguments") if "arguments" in entries else {},
        matching=matching,
        answer=reader.pattern(entries["answer"], "answer") if "answer" in entries else None,
        refused=reader.truth(entries["refused"], "refused") if "refused" in entries else None,
    )


def _row(reader: Reader, node: Node) -> RowExpectation:
    entries = reader.mapping(node, "an entry of expect.rows", ("table", "where", "set", "absent"), ("table", "where"))
    absent = reader.truth(entries["absent"], "absent") if "absent" in entries else False
    if absent == ("set" in entries):
        raise reader.fail(node, "an entry of expect.rows has either 'set' or 'absent: true'; give it one of them")
    return RowExpectation(
        table=reader.text(entries["table"], "table"),
        where=reader.table(entries["where"], "where"),
        values=reader.table(entries["set"], "set") if "set" in entries else {},
        absent=absent,
    )


def _limits(reader: Reader, node: Node) -> dict[str, float]:
    entries = reader.mapping(node, "expect.limits", LIMITS)
    return {name: reader.number(value, name, MAX_LIMIT) for name, value in entries.items()}


def _expectations(reader: Reader, node: Node) -> Expectations:
    entries = reader.mapping(node, "expect", EXPECT_KEYS)

    def listed(key: str, read: Any) -> Any:
        return reader.sequence(entries[key], f"expect.{key}", lambda item: read(reader, item)) if key in entries else ()

    def texts(key: str) -> tuple[str, ...]:
        return reader.texts(entries[key], f"expect.{key}") if key in entries else ()

    order: Literal["same", "any"] = "same"
    if "order" in entries and reader.one_of(entries["order"], "order", ("same", "any")) == "any":
        order = "any"
    return Expectations(
        tools=listed("tools", _expected_tool),
        order=order,
        never=texts("never"),
        rows=listed("rows", _row),
        unchanged=texts("unchanged"),
        said=texts("said"),
        never_said=texts("never_said"),
        limits=_limits(reader, entries["limits"]) if "limits" in entries else {},
        ending=reader.one_of(entries["ending"], "ending", ENDINGS) if "ending" in entries else None,
    )
