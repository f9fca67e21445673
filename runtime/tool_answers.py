"""Who answers a POST of tool calls: the call's dispatcher; this pod, for a call of another pod; or the ledger.

Pods that share a database and a WEBHOOK_KEY may answer for each other: the database knows which calls are live, whom
their callers have proved to be, and what each tool call was answered. Pods with databases of their own never meet a
call that is not theirs, except after a restart: then the ledger answers what it knows, and nothing runs.
"""

from collections.abc import Sequence

import attrs
import structlog
import trio

from db.door import Answer, BadLedgerKey, DatabaseUnavailable, KnownCall, check_ledger_key
from runtime import limits
from runtime.audit import audit
from runtime.house import House
from runtime.masking import masker_of
from runtime.record import CallRecord
from runtime.story import ToolRun
from runtime.tool_posts import ParsedPost, PendingPost, ToolAnswer, ToolCall, errors_for
from runtime.webhook_secret import call_tag
from tools.execution import NOT_REACHABLE, ToolRunner

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Webhook")
CALL_IS_OVER = "call is over"
WRONG_CALL = "this request is not of the call its secret was made for"


@attrs.frozen
class Asking:
    """What a request has proved: that it is of the call with this key, or, without a key, of the fleet's account."""

    call_key: bytes | None


async def tool_answers(house: House, asking: Asking, post: ParsedPost) -> Sequence[ToolAnswer]:
    """One answer per call, in order, within POST_SECONDS."""
    deadline = trio.current_time() + limits.POST_SECONDS
    record = house.calls.find(asking.call_key) if asking.call_key else house.calls.at_vapi(post.call_id)
    if record is not None:
        structlog.contextvars.bind_contextvars(call_id=record.id)
    if record is not None and _runs(record):
        return await _from_its_dispatcher(house, record, post, deadline)
    try:
        with trio.fail_at(deadline - 1):
            known = await _known(house, asking, record, post)
            if known is None:
                return errors_for(post.calls, CALL_IS_OVER)
            if post.call_id is not None and known.vapi_call_id not in (None, post.call_id):
                return _wrong_call(house, post)
            record = house.calls.at_vapi(known.vapi_call_id)  # it may have had no id there when we looked first
            ours = known.pod_id == house.settings.pod_id
            if not known.live or (ours and (record is None or not _runs(record))):
                # Over; or of this pod and not here any more: the news is still on its way to the database.
                return await _from_the_ledger(house, known, post)
    except (DatabaseUnavailable, trio.TooSlowError) as exc:
        _log.warning("database_unavailable", error=str(exc) or "no answer in time")
        return errors_for(post.calls, NOT_REACHABLE)
    if record is not None and _runs(record):
        return await _from_its_dispatcher(house, record, post, deadline)
    # Each call has the deadline for itself: what is answered stays answered when the next one is too late.
    return [await _run_here(house, known, call, deadline - 1) for call in post.calls]


def _runs(record: CallRecord) -> bool:
    return record.phase != "over" and record.tool_posts is not None


async def _from_its_dispatcher(
    house: House, record: CallRecord, post: ParsedPost, deadline: float
) -> Sequence[ToolAnswer]:
    # The secret names the call; `message.call.id` must agree, once known: a webhook may overtake the reply to
    # POST /call by a little.
    with trio.move_on_after(limits.CALL_ID_WAIT_SECONDS):
        await record.vapi_call_known.wait()
    if None not in (post.call_id, record.vapi_call_id) and post.call_id != record.vapi_call_id:
        return _wrong_call(house, post)
    pending = PendingPost(post.calls, deadline)
    assert record.tool_posts is not None, "a call that runs takes posts"
    try:
        with trio.move_on_at(deadline):
            await record.tool_posts.send(pending)
            queued = record.tool_posts.statistics().current_buffer_used
            record.peaks["tool_posts_items"] = max(queued, record.peaks.get("tool_posts_items", 0))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return errors_for(post.calls, CALL_IS_OVER)
    return await pending.wait()


def _wrong_call(house: House, post: ParsedPost) -> list[ToolAnswer]:
    house.counts["webhook_wrong_call"] += 1
    return errors_for(post.calls, WRONG_CALL)


async def _known(house: House, asking: Asking, record: CallRecord | None, post: ParsedPost) -> KnownCall | None:
    """What the database knows of a call that is not running here. Waits a moment for its pod to tell of it."""
    if record is not None:
        return KnownCall(record.ledger_id, record.vapi_call_id, over=True)
    if asking.call_key is None and post.call_id is None:
        return None
    ids = {"call_id": call_tag(asking.call_key)} if asking.call_key else {"vapi_call_id": post.call_id}
    try:
        found = await house.database.find_call(**ids)  # a slow database is none that knows nothing
        with trio.move_on_after(limits.CALL_ID_WAIT_SECONDS):
            while found is None or not (found.live or found.over):
                await trio.sleep(limits.CALL_POLL_SECONDS)  # another process is waited for
                found = await house.database.find_call(**ids)
    except BadLedgerKey:
        return None  # an id that the database cannot hold is of no call
    if found is None and asking.call_key:
        return KnownCall(call_tag(asking.call_key), None, over=True)
    return found


async def _run_here(house: House, known: KnownCall, call: ToolCall, deadline: float) -> ToolAnswer:
    """For a call that another pod carries. What it has already been answered comes from the ledger."""
    house.counts["tools_for_other_pods"] += 1
    started_at = trio.current_time()
    runner = ToolRunner(house.database, house.registry, known.call_id, house.counts, _log)
    if call.problem is not None:
        answer = Answer(None, call.problem)
    else:
        answer = await runner.answer(call.id, call.name, call.arguments, deadline)
    seconds = trio.current_time() - started_at
    audit(_log, masker_of(house.registry), known.call_id, call, answer, seconds)
    house.metrics.tool_answered(ToolRun.of(call.name, answer.error, stored=answer.stored, seconds=seconds))
    if not answer.stored:
        result = {"error": answer.error} if answer.error is not None else answer.result
        house.reporter.report(call.name, call.arguments, result)
    return ToolAnswer(call.id, call.name, answer.result, answer.error)


async def _from_the_ledger(house: House, known: KnownCall, post: ParsedPost) -> list[ToolAnswer]:
    """The call is over: what it was answered stays answered, and nothing runs."""
    stored = await house.database.answers(known.call_id, [call.id for call in post.calls if _can_be_kept(call.id)])
    return [
        ToolAnswer(call.id, call.name, stored[call.id].result, stored[call.id].error)
        if call.id in stored
        else ToolAnswer(call.id, call.name, error=CALL_IS_OVER)
        for call in post.calls
    ]


def _can_be_kept(tool_call_id: str) -> bool:
    """An id that the ledger cannot hold has no answer in it."""
    try:
        check_ledger_key(tool_call_id)
    except BadLedgerKey:
        return False
    return True
