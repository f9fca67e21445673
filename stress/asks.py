"""What the assistants of a stress run ask of the tools, and what they must hear. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from simulation.scenario import Scenario, ToolCall
from simulation.webhook_client import Verdict

CARDS: Final = (
    (1, "1881"), (2, "7302"), (5, "4242"), (6, "6110"), (7, "9087"), (16, "5150"), (17, "8833"), (18, "9999"),
    (19, "1204"), (22, "2468"), (23, "6655"), (24, "3141"), (26, "4096"), (27, "8080"), (28, "1729"), (29, "6174"),
    (30, "0451"), (32, "7007"), (33, "1066"), (34, "5843"), (37, "7550"),
)  # fmt: skip
"""Of the seeded bank: those that are active, with digits that no other card has."""
WRITE_EVERY: Final = 5


@attrs.frozen
class Ask:
    """One call of a tool. `said`: what its answer must hold; None: any answer will do, a refusal too."""

    tool: str
    arguments: Mapping[str, Any]
    said: str | None = None

    def complaint(self, verdict: Verdict) -> str:
        """Why this is no answer to it; empty when it is."""
        if not verdict.accepted:
            return f"{self.tool}: {verdict.problem}"
        if self.said is not None and (verdict.is_error or self.said not in verdict.heard):
            return f"{self.tool}{dict(self.arguments)} was answered {verdict.heard[:200]!r}"
        return ""


@attrs.frozen
class Asks:
    """What each call asks, in turn. Without `calls` each looks for a card of its own, and every fifth time freezes it
    or lets it be used again; many calls share a card."""

    calls: tuple[ToolCall, ...] = ()

    @classmethod
    def of(cls, scenario: Scenario) -> "Asks":
        """The tool calls of its agent's turns, over and over. Raises ValueError when there are none."""
        calls = tuple(call for turn in scenario.agent for call in turn.calls)
        if not calls:
            raise ValueError(f"{scenario.name}: its agent calls no tool")
        return cls(calls)

    def ask(self, call: int, turn: int) -> Ask:
        """The `turn`th of the `call`th call, both from 0."""
        if self.calls:
            asked = self.calls[turn % len(self.calls)]
            return Ask(asked.tool, asked.arguments)
        card_id, last4 = CARDS[call % len(CARDS)]
        if turn % WRITE_EVERY != WRITE_EVERY - 1:
            return Ask("display_card_info_by_last4", {"last4": last4}, f'"last4":"{last4}"')
        status = ("frozen", "active")[turn // WRITE_EVERY % 2]
        return Ask("change_card_status", {"card_id": card_id, "new_status": status}, f'"status":"{status}"')


def as_json(asks: Asks) -> tuple[dict[str, Any], ...]:
    """For another process."""
    return tuple({"tool": call.tool, "arguments": dict(call.arguments)} for call in asks.calls)


def of_json(told: Sequence[Mapping[str, Any]]) -> Asks:
    return Asks(tuple(ToolCall(call["tool"], call["arguments"]) for call in told))
