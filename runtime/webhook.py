"""The webhook door's app: `POST /tool`, `POST /p/{pod}/tool`, `GET /healthz`, and nothing else.

Who may ask is decided before the body is read. An authenticated request always gets a 200, because Vapi
ignores the body of any other status; what went wrong is said inside it, in one line without internals.
"""

import secrets
from collections.abc import Sequence
from typing import cast

import structlog
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from db.door import BadLedgerKey, DatabaseUnavailable
from runtime import limits
from runtime.house import House
from runtime.record import CallRecord
from runtime.tool_posts import BadPost, ParsedPost, PendingPost, ToolAnswer, build_reply, errors_for, parse_post
from runtime.webhook_secret import SECRET_HEADER, verify

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Webhook")
CALL_IS_OVER = "call is over"


def webhook_app(house: House) -> QuartTrio:
    app = QuartTrio("webhook")
    app.config["MAX_CONTENT_LENGTH"] = limits.BODY_BYTES
    app.config["BODY_TIMEOUT"] = limits.BODY_SECONDS
    nonce = secrets.token_hex(8)

    @app.get("/healthz")
    async def healthz() -> Response:  # noqa: ASYNC124  # Quart runs a plain function in a thread
        return _json(b'{"status":"ok","nonce":"%s"}' % nonce.encode())

    @app.post("/tool")
    async def tool() -> Response:
        return await _answer(house)

    @app.post("/p/<pod>/tool")
    async def pod_tool(pod: str) -> Response:
        if pod != house.settings.pod_id:
            return _json(b'{"error":"no such pod here"}', 404)
        return await _answer(house)

    @app.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> Response:  # noqa: ASYNC124  # as above
        return _json(b'{"error":"%s"}' % (error.name or "error").lower().encode(), error.code or 400)

    return app


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status=status, content_type="application/json")


async def _answer(house: House) -> Response:
    call_key = verify(house.webhook_key, request.headers.get(SECRET_HEADER, ""))
    if call_key is None:
        house.counts["webhook_unauthorized"] += 1
        return _json(b'{"error":"the X-Voice-Secret header is missing or wrong"}', 401)
    house.counts["webhook_posts"] += 1
    try:
        post = parse_post(await _body())
    except BadPost as exc:
        house.counts["webhook_malformed"] += 1
        _log.warning("webhook_malformed", problem=str(exc))
        return _json(b'{"results":[],"error":"%s"}' % str(exc).replace('"', "'").encode())
    if post.kind != "tool-calls":
        return _json(b"{}")
    return _json(build_reply(await _tool_answers(house, call_key, post), legacy=post.legacy))


async def _body() -> bytes:
    try:
        return cast(bytes, await request.get_data(cache=False, as_text=False))
    except RequestEntityTooLarge:
        raise BadPost(f"the body is longer than {limits.BODY_BYTES} bytes") from None
    except RequestTimeout:
        raise BadPost(f"the body did not arrive within {limits.BODY_SECONDS:g} s") from None


async def _tool_answers(house: House, call_key: bytes, post: ParsedPost) -> Sequence[ToolAnswer]:
    record = house.calls.find(call_key)
    if record is None or record.phase == "over" or record.tool_posts is None:
        return await _answers_of_the_past(house, post)
    if not await _is_of(record, post.call_id):
        house.counts["webhook_wrong_call"] += 1
        return errors_for(post.calls, "this request is not of the call its secret was made for")
    pending = PendingPost.arriving_now(post.calls)
    try:
        with trio.move_on_at(pending.deadline):
            await record.tool_posts.send(pending)
            queued = record.tool_posts.statistics().current_buffer_used
            record.peaks["tool_posts_items"] = max(queued, record.peaks.get("tool_posts_items", 0))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return errors_for(post.calls, CALL_IS_OVER)
    return await pending.wait()


async def _is_of(record: CallRecord, call_id: str | None) -> bool:
    """The MAC names the call; `message.call.id` must agree, once known: a webhook may overtake the reply
    to POST /call by a little."""
    with trio.move_on_after(limits.CALL_ID_WAIT_SECONDS):
        await record.vapi_call_known.wait()
    return call_id is None or record.vapi_call_id is None or call_id == record.vapi_call_id


async def _answers_of_the_past(house: House, post: ParsedPost) -> list[ToolAnswer]:
    """A call that is not here any more: the ledger answers what it knows, and nothing runs."""
    stored = {}
    if post.call_id is not None:
        try:
            with trio.move_on_after(limits.TOOL_SECONDS):
                stored = await house.database.answers(post.call_id, [call.id for call in post.calls])
        except DatabaseUnavailable as exc:
            _log.warning("database_unavailable", error=str(exc))
        except BadLedgerKey:
            pass  # an id that the ledger cannot hold has no answer in it
    return [
        ToolAnswer(call.id, call.name, stored[call.id].result, stored[call.id].error)
        if call.id in stored
        else ToolAnswer(call.id, call.name, error=CALL_IS_OVER)
        for call in post.calls
    ]
