"""Databases that take their time, or are away."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from db.door import Answer, Database, DatabaseUnavailable, Effect, KnownCall, PoolStatistics, Work
from runtime import limits


@attrs.define(eq=False)
class SlowDatabase:
    """`Database`. Mutable: `away`, and how long a tool waits before its transaction, in it with its work done, and
    when it is committed. `runs`: how often an effect was begun."""

    inner: Database
    before_seconds: float = 0.0
    within_seconds: float = 0.0
    after_seconds: float = 0.0
    away: bool = False
    runs: int = 0

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        async def slowly(work: Work) -> Any:
            self.runs += 1
            result = await effect(work)
            await trio.sleep(self.within_seconds)
            return result

        await trio.sleep(self.before_seconds)
        self._be_there()
        answer = await self.inner.run_once(call_id, tool_call_id, fingerprint, slowly)
        await trio.sleep(self.after_seconds)
        self._be_there()
        return answer

    def _be_there(self) -> None:
        if self.away:
            raise DatabaseUnavailable("connection refused")

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        self._be_there()
        return await self.inner.answers(call_id, tool_call_ids)

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        self._be_there()
        await self.inner.keep_call(call_id, vapi_call_id, pod_id)

    async def end_call(self, call_id: str) -> None:
        self._be_there()
        await self.inner.end_call(call_id)

    async def end_calls_of(self, pod_id: str) -> int:
        self._be_there()
        return await self.inner.end_calls_of(pod_id)

    async def find_call(self, *, call_id: str | None = None, vapi_call_id: str | None = None) -> KnownCall | None:
        self._be_there()
        return await self.inner.find_call(call_id=call_id, vapi_call_id=vapi_call_id)

    async def webhook_key(self) -> bytes:
        return await self.inner.webhook_key()

    async def purge_answers(self) -> int:
        self._be_there()
        return await self.inner.purge_answers()

    async def rows(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self.inner.rows(table, where)

    async def ping(self) -> None:
        self._be_there()
        await self.inner.ping()

    def statistics(self) -> PoolStatistics:
        return self.inner.statistics()


@attrs.define(eq=False)
class StuckAtCommit(SlowDatabase):
    """Its server takes a COMMIT and answers nothing more: as db/session.py, it waits its time out, shielded, then for
    its connection. `stuck`: a tool is there."""

    stuck: trio.Event = attrs.field(factory=trio.Event)

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        answer = await SlowDatabase.run_once(self, call_id, tool_call_id, fingerprint, effect)
        self.stuck.set()
        silence_seconds = limits.DATABASE_COMMIT_SECONDS + limits.DATABASE_HAND_BACK_SECONDS
        with trio.move_on_after(silence_seconds, shield=True):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return answer
