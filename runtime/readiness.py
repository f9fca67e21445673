"""Whether new calls should be sent to this process: what /readyz answers."""

from typing import Literal

import attrs
import trio

from db.door import Database, DatabaseUnavailable
from runtime import limits
from runtime.supervisor import Started

DatabaseState = Literal["up", "down", "unknown"]


@attrs.define(eq=False)
class Readiness:
    """An actor, where there is a console. Mutable: what the database last answered, and when; `draining`, set when no
    more calls are taken.

    Ends: never. Restart: yes; what was answered stays.
    Cancelled: the question is given up.
    """

    database: Database
    draining: bool = False
    database_state: DatabaseState = "unknown"
    database_trouble: str = ""
    _asked_at: float = -limits.READY_KEPT_SECONDS
    _asking: trio.Lock = attrs.field(factory=trio.Lock)

    async def run(self, task_status: Started) -> None:
        """For those who look and do not wait."""
        task_status.started()
        while True:
            await self.look()
            await trio.sleep(limits.READY_KEPT_SECONDS)

    async def look(self) -> None:
        """Ask the database, if nobody has lately. Waits READY_PING_SECONDS at most."""
        async with self._asking:
            if trio.current_time() - self._asked_at < limits.READY_KEPT_SECONDS:
                return
            pool = self.database.statistics()
            if pool.used >= pool.most and pool.last_query_worked:
                return  # it answers others, and all connections are at work: a question would wait for them
            trouble = f"no answer within {limits.READY_PING_SECONDS:g} s"
            try:
                with trio.move_on_after(limits.READY_PING_SECONDS):
                    await self.database.ping()
                    trouble = ""
            except DatabaseUnavailable as exc:
                trouble = exc.reason
            self._asked_at = trio.current_time()
            self.database_state, self.database_trouble = "down" if trouble else "up", trouble

    @property
    def why_not(self) -> list[str]:
        """Empty when this process is ready; else one line for each reason."""
        found = ["this process drains: it takes no more calls"] if self.draining else []
        if self.database_state == "down":
            found.append(f"the database does not answer: {self.database_trouble}")
        return found
