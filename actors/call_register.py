"""CallRegister tells the database which calls this pod carries, so that other pods on it may answer their tools."""

from collections import Counter

import attrs
import structlog
import trio

from db.door import Database, DatabaseUnavailable
from runtime import limits
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="CallRegister")


@attrs.define(eq=False)
class CallRegister:
    """A call never waits for this, nor do its own tools: while the database is away, the news waits here.

    Ends: when `close` was called and the news is written.
    Restart: yes; the news is kept in this object.
    Cancelled: what is not written is lost; a call that is not told of as over counts as such when it is too old.
    """

    database: Database
    pod_id: str
    counts: Counter[str] = attrs.field(factory=Counter)
    _news: dict[str, str | None] = attrs.field(factory=dict)
    """Per call that has news: Vapi's id when it has begun, None when it is over. Mutable, REGISTER_CALLS at most."""
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _left_behind: bool = True
    """Calls of an earlier process of this name may stand there as live."""
    _closing: bool = False

    def note_live(self, call_id: str, vapi_call_id: str) -> None:
        self._note(call_id, vapi_call_id)

    def note_over(self, call_id: str) -> None:
        self._note(call_id, None)

    def _note(self, call_id: str, news: str | None) -> None:
        self._news.pop(call_id, None)  # the newest last
        self._news[call_id] = news
        while len(self._news) > limits.REGISTER_CALLS:
            self._news.pop(next(iter(self._news)))
            self.counts["register_dropped"] += 1
        self._changed.set()

    def close(self) -> None:
        self._closing = True
        self._changed.set()

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while self._left_behind or self._news or not self._closing:
            if not (self._left_behind or self._news):
                self._changed = trio.Event()
                await self._changed.wait()
                continue
            try:
                await self._tell()
            except DatabaseUnavailable as exc:
                self.counts["register_retries"] += 1
                _log.info("database_unavailable", error=str(exc))
                await trio.sleep(limits.REGISTER_RETRY_SECONDS)

    async def _tell(self) -> None:
        """An actor barrier round one piece of news: what the database will never take must not end the process."""
        call_id, news = ("", None) if self._left_behind else next(iter(self._news.items()))
        try:
            await (self._end_those_left_behind() if self._left_behind else self._write(call_id, news))
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001  # an actor barrier
            _log.exception("register_failed", call=call_id)
            self.counts["register_dropped"] += 1
        self._left_behind = False
        if self._news.get(call_id, "") == news:  # nothing newer came meanwhile
            del self._news[call_id]

    async def _end_those_left_behind(self) -> None:
        ended = await self.database.end_calls_of(self.pod_id)
        if ended:
            _log.info("calls_left_behind", calls=ended)

    async def _write(self, call_id: str, news: str | None) -> None:
        if news is None:
            await self.database.end_call(call_id)
        else:
            await self.database.keep_call(call_id, news, self.pod_id)
