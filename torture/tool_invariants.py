"""Each tool call ran at most once, was answered once for each request, and was reported once or counted as dropped."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from torture.plan import FaultKind
from torture.witness import Witness, witnesses
from torture.world import SIMULATION_ID, World

REPLACES: Final = "request_card_replacement"
# What may cost a POST its answer: its connection, the process, or the end of its call.
_MAY_LOSE_AN_ANSWER: Final[tuple[FaultKind, ...]] = ("webhooks reset", "webhooks stall", "sigterm")


def tools_run_once(world: World) -> Iterator[str]:
    for tool_call_id, runs in world.database.runs.items():
        if runs > 1:
            yield f"{tool_call_id} was kept {runs} times"
    for call in witnesses(world):
        yield from _answers(world, call)
    yield from _reports(world)
    replaced = {entry.data["id"] for entry in world.chronicle.of("tool-call", "tool") if entry.data["name"] == REPLACES}
    kept = sum(answer.error is None for id_, answer in world.database.answered.items() if id_ in replaced)
    if world.finished and world.replacements != kept:
        yield f"{world.replacements} cards were replaced, the ledger knows of {kept}"


def _answers(world: World, call: Witness) -> Iterator[str]:
    """Each POST of Vapi got its answer, and the same answer for the same id."""
    if call.at_vapi is None:
        return
    heard: dict[str, str] = {}
    for exchange in call.at_vapi.exchanges:
        if exchange.status is None:
            if not world.plan.has(*_MAY_LOSE_AN_ANSWER):
                yield f"{call.id}: a POST got no answer: {exchange.failure}"
            continue
        for verdict in exchange.verdicts:
            if not verdict.accepted:
                yield f"{call.id}: {verdict.tool_call_id} was not answered: {verdict.problem}"
            elif not verdict.is_error:
                before = heard.setdefault(verdict.tool_call_id, verdict.heard)
                if before != verdict.heard:
                    yield f"{call.id}: {verdict.tool_call_id} was answered {before!r}, then {verdict.heard!r}"
                if verdict.tool_call_id not in world.database.answered:
                    yield f"{call.id}: {verdict.tool_call_id} was answered and is not in the ledger"


def _reports(world: World) -> Iterator[str]:
    """As many reports as executions, less what was counted as dropped; and none twice."""
    if world.house is None:
        return
    counts = world.house.reporter.counts
    executed = Counter[str]()
    arguments = {entry.data["id"]: _key(entry.data["arguments"]) for entry in world.chronicle.of("tool-call", "tool")}
    for entry in world.chronicle.of("tool-answer", "tool"):
        if not entry.data["duplicate"]:
            executed[entry.data["name"] + arguments[entry.data["id"]]] += 1
    told = Counter(event.name + _key(event.arguments) for event in world.engine.events(SIMULATION_ID))
    if counts["reported"] + counts["dropped"] > sum(executed.values()):
        yield f"{counts['reported']} reported and {counts['dropped']} dropped of {sum(executed.values())} executions"
    if told - executed:
        yield f"the engine was told more than was done: {dict(told - executed)}"
    if sum(told.values()) < counts["reported"]:
        yield f"{counts['reported']} counted as reported, the engine has {sum(told.values())}"
    missing = sum(executed.values()) - counts["reported"] - counts["dropped"]
    if missing > _repeated_failures(world):
        yield f"{missing} executions were neither reported nor counted as dropped"


def _key(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True)


def _repeated_failures(world: World) -> int:
    """A call that failed, was sent again and failed in the same way is one entry of the trace."""
    outcomes = Counter[tuple[str, str, Any]]()
    for entry in world.chronicle.of("tool-answer", "tool"):
        if not entry.data["duplicate"] and entry.data.get("error") is not None:
            outcomes[entry.call, entry.data["id"], entry.data["error"]] += 1
    return sum(count - 1 for count in outcomes.values())
