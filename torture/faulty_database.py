"""The bank in memory, with a switch for each way a database fails a tool, and a count of what it has done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from db.door import Answer, Database, DatabaseUnavailable, Effect, KnownCall, PoolStatistics, Work


class BrokenDriver(Exception):
    """What no part of the product expects."""


@attrs.define(eq=False)
class FaultyDatabase:
    """`Database`. Mutable: `away`, `seconds` (how long each call takes), `breaks`; `runs`, per tool call id the
    times that its effect was kept."""

    inner: Database
    away: bool = False
    breaks: bool = False
    seconds: float = 0.0
    runs: Counter[str] = attrs.field(factory=Counter)
    answered: dict[str, Answer] = attrs.field(factory=dict)

    async def _trouble(self) -> None:
        if self.seconds:
            await trio.sleep(self.seconds)
        if self.breaks:
            raise BrokenDriver("the driver has a bug")
        if self.away:
            raise DatabaseUnavailable("the simulated server is away")

    async def run_once(self, call_id: str, tool_call_id: str, fingerprint: str, effect: Effect) -> Answer:
        await self._trouble()

        async def slowly(work: Work) -> Any:
            result = await effect(work)
            await trio.sleep(self.seconds)  # a transaction that may be cancelled with its work done
            return result

        answer = await self.inner.run_once(call_id, tool_call_id, fingerprint, slowly)
        if not answer.stored:
            self.runs[tool_call_id] += 1
        self.answered[tool_call_id] = answer
        return answer

    async def answers(self, call_id: str, tool_call_ids: Sequence[str]) -> dict[str, Answer]:
        await self._trouble()
        return await self.inner.answers(call_id, tool_call_ids)

    async def keep_call(self, call_id: str, vapi_call_id: str, pod_id: str) -> None:
        await self._trouble()
        await self.inner.keep_call(call_id, vapi_call_id, pod_id)

    async def end_call(self, call_id: str) -> None:
        await self._trouble()
        await self.inner.end_call(call_id)

    async def end_calls_of(self, pod_id: str) -> int:
        await self._trouble()
        return await self.inner.end_calls_of(pod_id)

    async def find_call(self, *, call_id: str | None = None, vapi_call_id: str | None = None) -> KnownCall | None:
        await self._trouble()
        return await self.inner.find_call(call_id=call_id, vapi_call_id=vapi_call_id)

    async def webhook_key(self) -> bytes:
        await self._trouble()
        return await self.inner.webhook_key()

    async def purge_answers(self) -> int:
        await self._trouble()
        return await self.inner.purge_answers()

    async def rows(self, table: str, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self.inner.rows(table, where)

    async def ping(self) -> None:
        await self._trouble()
        await self.inner.ping()

    def statistics(self) -> PoolStatistics:
        return self.inner.statistics()
