"""The webhook door's app: `POST /tool`, `POST /p/{pod}/tool`, `GET /healthz`, and nothing else.

Who may ask is decided before the body is read. An authenticated request always gets a 200, because Vapi
ignores the body of any other status; what went wrong is said inside it, in one line without internals.
"""

from typing import cast

import structlog
from quart import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from runtime import limits
from runtime.cross_site import BROWSER_HEADERS
from runtime.house import House
from runtime.plain_app import PlainApp
from runtime.tool_answers import Asking, tool_answers
from runtime.tool_posts import BadPost, ParsedPost, build_reply, parse_post
from runtime.webhook_secret import SECRET_HEADER, bearer, same_secret, verify

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="Webhook")


NO_SUCH_POD = b'{"error":"no such pod here"}'


def webhook_app(house: House) -> PlainApp:
    app = PlainApp("webhook")
    app.config["MAX_CONTENT_LENGTH"] = limits.BODY_BYTES
    app.config["BODY_TIMEOUT"] = limits.BODY_SECONDS

    _turn_strangers_away(app, house)

    @app.get("/healthz")
    async def healthz() -> Response:  # noqa: ASYNC124  # Quart runs a plain function in a thread
        return _json(b'{"status":"ok","nonce":"%s"}' % house.nonce.encode())

    @app.get("/p/<pod>/healthz")
    async def pod_healthz(pod: str) -> Response:
        """What leads to the tools leads to this as well: the way to probe a tunnel, a bastion or a gateway."""
        return await healthz() if pod == house.settings.pod_id else _json(NO_SUCH_POD, 404)

    @app.post("/tool")
    async def tool() -> Response:
        return await _answer(house, _of_one_call(house) or _of_the_fleet(house))

    @app.post("/p/<pod>/tool")
    async def pod_tool(pod: str) -> Response:
        if pod != house.settings.pod_id:
            return _json(NO_SUCH_POD, 404)
        return await _answer(house, _of_one_call(house))

    @app.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> Response:  # noqa: ASYNC124  # as above
        return _json(b'{"error":"%s"}' % (error.name or "error").lower().encode(), error.code or 400)

    return app


def _turn_strangers_away(app: PlainApp, house: House) -> None:
    @app.before_request
    async def not_from_a_page() -> Response | None:  # noqa: ASYNC124  # as below
        if not any(name in request.headers for name in BROWSER_HEADERS):
            return None
        house.counts["webhook_cross_site"] += 1
        return _json(b'{"error":"web pages have no business here"}', 403)

    @app.after_request
    async def strangers_leave(response: Response) -> Response:  # noqa: ASYNC124  # as below
        """Who has shown no secret may not keep one of the door's connections."""
        if response.status_code != 200 or request.method != "POST":
            response.headers["Connection"] = "close"
        return response


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status=status, content_type="application/json")


async def _answer(house: House, asking: Asking | None) -> Response:
    if asking is None:
        house.counts["webhook_unauthorized"] += 1
        return _json(b'{"error":"the X-Voice-Secret header is missing or wrong"}', 401)
    house.counts["webhook_posts"] += 1
    try:
        post = await _parsed(house, await _body())
    except BadPost as exc:
        house.counts["webhook_malformed"] += 1
        _log.warning("webhook_malformed", problem=str(exc))
        return _json(b'{"results":[],"error":"%s"}' % str(exc).replace('"', "'").encode())
    if post.kind != "tool-calls":
        return _json(b"{}")
    return _json(build_reply(await tool_answers(house, asking, post), legacy=post.legacy))


async def _parsed(house: House, body: bytes) -> ParsedPost:
    """Raises BadPost. Long bodies one in a turn of the event loop: each takes some milliseconds of it."""
    if len(body) <= limits.SMALL_BODY_BYTES:
        return parse_post(body)
    async with house.reading_long_body:
        return parse_post(body)


def _of_one_call(house: House) -> Asking | None:
    call_key = verify(house.webhook_key, request.headers.get(SECRET_HEADER, ""))
    return None if call_key is None else Asking(call_key)


def _of_the_fleet(house: House) -> Asking | None:
    """The secret of a URL that is saved in the account. Vapi's credentials choose the header; these three are read."""
    expected = house.settings.webhook_secret
    if expected is None:
        return None
    shown = [request.headers.get(name, "") for name in (SECRET_HEADER, "X-Vapi-Secret")]
    shown.append(bearer(request.headers.get("Authorization", "")))
    return Asking(None) if any(same_secret(expected, one) for one in shown) else None


async def _body() -> bytes:
    try:
        return cast(bytes, await request.get_data(cache=False, as_text=False))
    except RequestEntityTooLarge:
        raise BadPost(f"the body is longer than {limits.BODY_BYTES} bytes") from None
    except RequestTimeout:
        raise BadPost(f"the body did not arrive within {limits.BODY_SECONDS:g} s") from None
    finally:
        request.body.clear()  # the request lives until its garbage is collected, and 2 MiB should not live so long
