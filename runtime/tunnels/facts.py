"""What an agent's output tells: frozen facts. Pure.

An address that was printed is not yet an address that works, and neither is a session: only Ready is, with a Url.
"""

from typing import ClassVar

import attrs


@attrs.frozen
class Url:
    """The public address. It may not lead anywhere yet."""

    url: str


@attrs.frozen
class Metrics:
    """Where the agent tells of itself: its `/ready` answers 200 while it is connected."""

    url: str


@attrs.frozen
class Ready:
    """What comes to the public address arrives here."""


@attrs.frozen
class Recovered:
    """Connected again. Says nothing about an agent that was not ready before."""


@attrs.frozen
class Degraded:
    """The agent lives, has lost its connection, and is making another."""

    line: str


@attrs.frozen
class Busy:
    """Refused for now; another start may be let in. With `rest_seconds`, not before that."""

    cause: ClassVar[str] = "tunnel_busy"
    line: str
    rest_seconds: float = 0.0


@attrs.frozen
class Fatal:
    """Refused for good: another start would change nothing."""

    cause: str
    line: str


@attrs.frozen
class Failed:
    """It did not work, for a reason that may pass. While the agent lives, this is only a possible reason of its end."""

    line: str
    cause: str = "tunnel_lost"


Trouble = Busy | Fatal | Failed
Fact = Url | Metrics | Ready | Recovered | Degraded | Trouble
