"""What the tunnel has to know of an agent program: how it is run, and what its lines mean."""

from collections.abc import Mapping
from typing import Protocol

import attrs

from runtime.setting_values import Bind
from runtime.tunnels.facts import Fact


@attrs.frozen
class Command:
    """A program with its arguments, and what it finds in its environment beside the little that all get.

    Secrets are in the environment only, since anybody on the machine can read arguments. `hidden` are words that its
    output may repeat, and that must not reach a log.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    hidden: tuple[str, ...] = attrs.field(default=(), repr=False)


class Engine(Protocol):
    @property
    def name(self) -> str:
        """For people."""

    @property
    def url(self) -> str | None:
        """The public address where it is known from the start; otherwise a line tells it."""

    @property
    def account(self) -> str | None:
        """What processes have to share when they take turns; None when they cannot be in each other's way."""

    def command(self, door: Bind, home: str) -> Command:
        """`door` is the webhook door, `home` an empty folder that lasts as long as the agent."""

    def facts(self, line: str) -> tuple[Fact, ...]:
        """What this line of its output means. Pure; nothing for most lines, and never an error."""


def one_line(text: str, characters: int = 300) -> str:
    return " ".join(text.split())[:characters]
