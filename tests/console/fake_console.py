"""A console of a script: serves the page as the real one does, and sends it whatever states a test sets.

Standard library, in threads: a browser's stream stays open while the test goes on.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import attrs

PAGE: Final = Path(__file__).parents[2] / "console"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@attrs.define(eq=False)
class FakeConsole:
    """Mutable, by the test: `state`; `calls`, per id all of a `call` message, with `private` events beside them;
    `files`, bodies by path. `asked`: every path that was asked for. Call `tell` behind a change."""

    state: dict[str, Any]
    calls: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    files: dict[str, tuple[str, bytes]] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    refuses: bool = False
    url: str = ""
    _version: int = 0
    _changed: threading.Condition = attrs.field(factory=threading.Condition)

    def tell(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def break_streams(self) -> None:
        """End every stream, and refuse the next ones until `mend`."""
        self.refuses = True
        self.tell()

    def mend(self) -> None:
        self.refuses = False

    def wait_beyond(self, version: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, 0.5)
            return self._version

    def messages(self, call: str, personal: bool, read: dict[str, int]) -> Iterator[tuple[str, Any]]:
        """What one stream is sent now; `read` is how far it is."""
        shown = "shown" if personal else "masked"
        allowed = self.state["personal_data"] != "off"
        yield "state", self.state | {"personal_data": shown if allowed else "off"}
        if call in self.calls:
            whole = self.calls[call]
            events = whole.get("private", whole["events"]) if personal and allowed else whole["events"]
            levels = whole["levels"]
            new = {voice: levels[voice][read.get(voice, 0) :] for voice in ("caller", "agent")}
            yield (
                "call",
                {
                    **{key: value for key, value in whole.items() if key != "private"},
                    "from": read.get("events", 0),
                    "events": events[read.get("events", 0) :],
                    "next": len(events),
                    "levels": {"from": {voice: read.get(voice, 0) for voice in new}, **new},
                },
            )
            read.update(events=len(events), **{voice: len(levels[voice]) for voice in new})


def _handler(console: FakeConsole) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            console.asked.append(self.path)
            if parts.path == "/events":
                self._stream({name: values[0] for name, values in parse_qs(parts.query).items()})
            elif parts.path in console.files:
                self._answer(200, *console.files[parts.path])
            else:
                file = PAGE / (parts.path[1:] or "page.html")
                if file.suffix in TYPES and file.is_file():
                    self._answer(200, TYPES[file.suffix], file.read_bytes())
                else:
                    self._answer(404, "application/json", b'{"error": "no such thing"}')

        def do_POST(self) -> None:
            console.asked.append(f"POST {self.path}")
            self._answer(202, "application/json", b'{"started": true}')

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, query: dict[str, str]) -> None:
            if console.refuses:
                self._answer(503, "application/json", b'{"error": "refused"}')
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            version, read = -1, {}
            try:
                while not console.refuses:
                    for name, value in console.messages(query.get("call", ""), query.get("personal") == "1", read):
                        self.wfile.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
                    self.wfile.flush()
                    version = console.wait_beyond(version)
            except OSError:
                return  # the page is gone

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def open_console(state: dict[str, Any]) -> Iterator[FakeConsole]:
    console = FakeConsole(state)

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # a stream ends with its page or within half a second

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a browser that goes away

    server = Server(("127.0.0.1", 0), _handler(console))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    console.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield console
    finally:
        console.break_streams()
        server.shutdown()
        server.server_close()
        thread.join()
