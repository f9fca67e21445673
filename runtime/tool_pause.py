"""The pause behind a tool call: the assistant has not finished, although it says nothing. Pure; time is given to it.

Vapi speaks a filler beside a tool call, and its model thinks before it speaks of the answer. The filler's `stopped` is
not the end of the agent's turn: a tail in between would have the caller speak into the answer. The pause begins with
a tool call, and ends with the next `started` behind the answer, with an interruption, or TAIL_AFTER_TOOL_SECONDS
behind the answer.

A filler takes its time to be synthesised, and most tools answer in less. So a `started` that comes within
TAIL_FILLER_SECONDS of the call may be the filler's, and ends nothing.
"""

from math import inf

import attrs

from runtime import limits


@attrs.define
class ToolPause:
    """Of one call. Mutable: whether there is a pause, the POSTs that are being answered, when the last tool call came,
    and when the pause ends if nothing is said."""

    _lasts: bool = False
    _running: int = 0
    _called_at: float = -inf
    _ends_at: float = -inf

    def on_announced(self, now: float) -> None:
        """Vapi says that it calls a tool. The POST may come later, or to another pod."""
        self._lasts = True
        self._called_at = now
        self._ends_at = now + limits.TAIL_AFTER_TOOL_SECONDS

    def on_called(self, now: float) -> None:
        """The POST is here. Each has its `on_answered`, also when it fails."""
        self.on_announced(now)
        self._running += 1

    def on_answered(self, now: float) -> None:
        self._running -= 1
        self._ends_at = now + limits.TAIL_AFTER_TOOL_SECONDS

    def on_started(self, now: float) -> None:
        """The assistant begins to speak."""
        if not self._running and now >= self._called_at + limits.TAIL_FILLER_SECONDS:
            self._lasts = False

    def on_interrupted(self) -> None:
        """The caller speaks already."""
        self._lasts = False

    def ends_by(self, now: float) -> float:
        """The pause lasts until then at least, if nothing is said; in the past when there is none.

        Never more than TAIL_AFTER_TOOL_SECONDS from now, and at last POST_SECONDS and as much behind the last call.
        """
        if not self._lasts:
            return -inf
        if self._running:
            return min(now, self._called_at + limits.POST_SECONDS) + limits.TAIL_AFTER_TOOL_SECONDS
        return self._ends_at
