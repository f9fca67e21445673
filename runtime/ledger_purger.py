"""LedgerPurger forgets the answers of tools that nobody will ask for again."""

import attrs
import structlog
import trio

from db.door import Database, DatabaseUnavailable
from runtime import limits
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="LedgerPurger")


@attrs.define
class LedgerPurger:
    """Forgets answers after a day. Ends: never. Restart: yes. Cancelled: nothing is lost."""

    database: Database

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while True:
            await trio.sleep(limits.LEDGER_PURGE_EVERY_SECONDS)  # first, so that no failure uses up its restarts
            try:
                purged = await self.database.purge_answers()
                if purged:
                    _log.info("answers_purged", answers=purged)
            except DatabaseUnavailable as exc:
                _log.info("purge_postponed", error=str(exc))
