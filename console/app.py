"""The console door's app: the page, what it shows, the figures, and whether this process is ready.

Nothing is kept for those who look: each page is sent the newest state twice a second, and reads of a call what is new
since it last asked. A page that is slow gets fewer states; one that is gone is noticed at the next.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from quart import Response, request, send_file
from quart_trio.wrappers.response import TrioFileBody
from werkzeug.exceptions import HTTPException

from console.stream import Pages, StateStream
from console.view import CallReader, Process, row
from runtime import limits
from runtime.plain_app import PlainApp

_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_READ_BYTES: Final = 64 * 1024
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Demo = Callable[[], Awaitable[bool]]
"""Begin another demo call; False when one is running."""


def console_app(process: Process, demo: Demo | None = None) -> PlainApp:
    app = PlainApp("console")
    pages = Pages()
    _serve_files(app)
    _serve_calls(app, process)
    _serve_figures(app, process)

    @app.get("/events")
    async def events() -> Response:  # noqa: ASYNC124  # Quart runs a plain function in a thread
        if request.method == "HEAD":
            return Response(content_type="text/event-stream")
        if pages.full:
            return _error(503, f"{limits.CONSOLE_STREAMS} pages are open already: close one")
        personal = request.args.get("personal") == "1" and process.house.settings.console_personal_data
        reader = None
        if (record := process.house.history.find(request.args.get("call", ""))) is not None:
            reader = CallReader(record, personal, _whole_number(request.args.get("after", "0")))
        body = StateStream(process, pages, reader, personal, demo is not None)
        response = Response(body, content_type="text/event-stream")
        response.timeout = None  # it lasts as long as the page is open
        return response

    @app.post("/demo")
    async def another_demo() -> Response:
        if demo is None:
            return _error(404, "this process holds no demo calls: see `voice demo --console`")
        if not await demo():
            return _error(409, "a demo call is running")
        return _json({"started": True}, 202)

    @app.after_request
    async def with_headers(response: Response) -> Response:  # noqa: ASYNC124  # as above
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(HTTPException)
    async def refused(error: HTTPException) -> Response:  # noqa: ASYNC124  # as above
        return _error(error.code or 400, (error.name or "error").lower())

    return app


def _serve_figures(app: PlainApp, process: Process) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        page, content_type = await process.house.metrics.page(request.headers.get("Accept", ""))
        return Response(page, content_type=content_type)

    @app.get("/readyz")
    async def readyz() -> Response:
        await process.house.readiness.look()
        why_not = process.house.readiness.why_not
        return _json({"ready": not why_not, "why_not": why_not}, 503 if why_not else 200)


def _serve_files(app: PlainApp) -> None:
    files = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}

    @app.get("/")
    async def page() -> Response:
        return await file("page.html")

    @app.get("/<name>")
    async def file(name: str) -> Response:  # noqa: ASYNC124  # as above
        if name not in files:
            return _error(404, "the console has no such page")
        return Response(files[name], content_type=f"{_TYPES[Path(name).suffix]}; charset=utf-8")


def _serve_calls(app: PlainApp, process: Process) -> None:
    history = process.house.history

    @app.get("/calls")
    async def calls() -> Response:  # noqa: ASYNC124  # as above
        return _json({"calls": [row(record) for record in history]})

    @app.get("/calls/<call_id>")
    async def call(call_id: str) -> Response:  # noqa: ASYNC124  # as above
        record = history.find(call_id)
        personal = request.args.get("personal") == "1" and process.house.settings.console_personal_data
        if record is None:
            return _error(404, f"no such call: those that run and the last {limits.HISTORY_CALLS} are kept")
        return _json(CallReader(record, personal, most_events=limits.STORY_EVENTS).read())

    @app.get("/calls/<call_id>/recording.wav")
    async def recording(call_id: str) -> Response:
        return await _recorded(process, call_id, ".wav", "audio/wav")

    @app.get("/calls/<call_id>/waveform")
    async def waveform(call_id: str) -> Response:
        return await _recorded(process, call_id, ".json", "application/json")


async def _recorded(process: Process, call_id: str, suffix: Literal[".wav", ".json"], content_type: str) -> Response:
    """The file, or the range of it that was asked for: half an hour is 173 MB, and never all in memory."""
    recorder = process.house.recorder
    path = recorder.find(call_id, suffix) if recorder is not None else None
    try:
        if path is not None:
            response = await send_file(path, mimetype=content_type)
            response.timeout = None  # it takes as long as its reader
            return _in_part(response, request.headers.get("Range", ""))
    except FileNotFoundError:
        pass  # too old, and removed in this moment
    return _error(404, "there is no recording of this call: RECORD_CALLS=on keeps them")


def _in_part(response: Response, asked: str) -> Response:
    """Ours: werkzeug's fails on a suffix (RFC 9110 §14.1.2). What cannot be read, or is several, gets the whole."""
    body = response.response
    assert isinstance(body, TrioFileBody)
    body.buffer_size = _READ_BYTES
    response.headers["Accept-Ranges"] = "bytes"
    found = re.fullmatch(r"bytes=([0-9]{0,12})-([0-9]{0,12})", asked)
    if found is None or not any(found.groups()):
        return response
    size, (first, last) = body.size, found.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if begin >= end:
        return _error(416, "the recording is not as long as that")
    body.begin, body.end = begin, end
    response.status_code = 206
    response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    response.headers["Content-Length"] = str(end - begin)
    return response


def _whole_number(raw: str) -> int:
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 10 else 0


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), status=status, content_type="application/json")


def _error(status: int, line: str) -> Response:
    return _json({"error": line}, status)
