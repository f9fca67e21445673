"""ToolDispatcher runs the tools of one call, in the order in which Vapi asked for them."""

import attrs
import structlog
import trio

from actors.engine_reporter import EngineReporter
from db.door import Answer, Database
from runtime.audit import audit
from runtime.record import CallRecord
from runtime.supervisor import Started
from runtime.tool_posts import PendingPost, ToolAnswer, ToolCall
from tools.execution import ToolRunner
from tools.registry import Registry


@attrs.define
class ToolDispatcher:
    """Takes POSTs from `tool_posts`, runs their calls one after the other, and answers.

    A duplicate id finds its answer in the ledger: the first run is over by the time its turn comes.
    What cannot start before the POST's deadline is answered with an error.
    Ends: with `tool_posts`.
    While it has a POST in hand, and for a while behind it, the record's `tool_pause` holds the tail.
    Restart: yes; nothing of a call is kept here. The POST in hand is answered with an error.
    Cancelled: the transaction of the running tool is rolled back whole, the POST in hand gets an error.
    """

    tool_posts: "trio.MemoryReceiveChannel[PendingPost]"
    database: Database
    registry: Registry
    reporter: EngineReporter
    record: CallRecord
    log: structlog.typing.FilteringBoundLogger

    async def run(self, task_status: Started) -> None:
        task_status.started()
        async with self.tool_posts:
            async for post in self.tool_posts:
                self.record.tool_pause.on_called(trio.current_time())
                try:
                    for call in post.calls:
                        post.answer([await self._run(call, post.deadline)])
                finally:
                    post.fail("the tool was interrupted; look at the state before trying again")
                    self.record.tool_pause.on_answered(trio.current_time())

    async def _run(self, call: ToolCall, post_deadline: float) -> ToolAnswer:
        started_at = trio.current_time()
        self.record.event("tool", "tool-call", id=call.id, name=call.name, arguments=call.arguments)
        answer = await self._answer(call, post_deadline)
        seconds = trio.current_time() - started_at
        audit(self.log, self.record.masker, self.record.ledger_id, call, answer, seconds)
        if answer.stored:
            self.record.counts["tool_duplicates"] += 1
        else:
            self._report(call, answer)
        self.record.counts["tool_errors" if answer.error is not None else "tool_results"] += 1
        self.record.event(
            "tool",
            "tool-answer",
            id=call.id,
            name=call.name,
            seconds=round(seconds, 4),
            duplicate=answer.stored,
            **({"error": answer.error} if answer.error is not None else {"result": answer.result}),
        )
        return ToolAnswer(call.id, call.name, answer.result, answer.error)

    async def _answer(self, call: ToolCall, post_deadline: float) -> Answer:
        if call.problem is not None:
            return Answer(None, call.problem)
        runner = ToolRunner(self.database, self.registry, self.record.ledger_id, self.record.counts, self.log)
        return await runner.answer(call.id, call.name, call.arguments, post_deadline)

    def _report(self, call: ToolCall, answer: Answer) -> None:
        """Once per execution; a failed call that is sent again and fails the same way is the same entry."""
        outcome = answer.error or "done"
        if self.record.reported.get(call.id) == outcome:
            return
        self.record.reported[call.id] = outcome
        result = {"error": answer.error} if answer.error is not None else answer.result
        self.reporter.report(call.name, call.arguments, result)
