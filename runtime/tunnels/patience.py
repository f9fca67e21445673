"""When to start an agent again, and when not to any more. Pure, but for the dice."""

import random

import attrs

from runtime import limits
from runtime.tunnels.facts import Busy, Fatal, Trouble


@attrs.define
class Patience:
    """Mutable: `starts`, since the last agent that held; `rest` and `rest_until`, what a rate limit asks of all starts.

    Fatal troubles are final. Others are met with pauses of full jitter, up to `attempts` starts. An agent that held for
    a while is started again at once.
    """

    attempts: int
    starts: int = 0
    rest: Trouble | None = None
    rest_until: float = 0.0

    def pause(self, trouble: Trouble, ready_seconds: float, now: float) -> float | None:
        """Seconds until the next start; None: give up."""
        if isinstance(trouble, Busy) and trouble.rest_seconds:
            self.rest, self.rest_until = trouble, now + trouble.rest_seconds * random.uniform(1.0, 1.5)
        if ready_seconds >= limits.TUNNEL_STEADY_SECONDS:
            self.starts = 0
        if isinstance(trouble, Fatal) or self.starts >= self.attempts:
            return None
        most = limits.TUNNEL_RETRY_SECONDS * 2.0 ** (self.starts - 1) if self.starts else 0.0
        return max(random.uniform(0, min(most, limits.TUNNEL_RETRY_MOST_SECONDS)), self.rest_seconds(now))

    def rest_seconds(self, now: float) -> float:
        return max(0.0, self.rest_until - now)
