"""What a stress run does, and what it must hold."""

from typing import Any, Final

import attrs

from stress.frames import FRAME_MS

P99_MS: Final = 20.0
IDLE_SHARE: Final = 0.15
FULL_SHARE: Final = 0.95
"""Of a core: a process that uses more is full."""
LATE_MS: Final = 5.0
"""The load's own lateness, p99: beyond it, it measures itself."""


@attrs.frozen
class Plan:
    """`calls` are dialled, `per_second` of them each second; when all are up, `seconds` of steady state are measured.

    `account_slots`: calls at once of the Vapi account; None: as many as there are calls. `asks`: as in
    stress/asks.py, empty for its default; `policy`: TOOL_POLICY.
    """

    calls: int
    seconds: float
    per_second: float
    account_slots: int | None = None
    tool_every_seconds: float = 5.0
    frame_ms: int = FRAME_MS
    policy: str = "open"
    scenario: str = ""
    asks: tuple[dict[str, Any], ...] = ()

    @property
    def slots(self) -> int:
        return self.account_slots or self.calls
