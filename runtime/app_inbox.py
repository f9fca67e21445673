"""What a connection has for its app waits here, and never for ever.

hypercorn puts a request's messages into a queue that stays open when the app is done with the request: then the
connection's reader, or the app itself as it says its last word, waits for a reader that does not come.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

import attrs
import hypercorn.trio.tcp_server
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

Put = Callable[[ASGIReceiveEvent], Awaitable[None]]


@attrs.frozen
class AppInbox:
    """Holds `max_app_queue_size` messages of one request; a sender waits while it is full. When the app is done, all
    that still comes is dropped. The end of the connection is always taken: what the peer said last makes room."""

    sender: "trio.MemorySendChannel[ASGIReceiveEvent]"
    receiver: "trio.MemoryReceiveChannel[ASGIReceiveEvent]"

    async def put(self, message: ASGIReceiveEvent) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if not message["type"].endswith(".disconnect"):
                await self.sender.send(message)
                return
            await trio.lowlevel.checkpoint()
            try:
                self.sender.send_nowait(message)
            except trio.WouldBlock:
                self.receiver.receive_nowait()
                self.sender.send_nowait(message)


@attrs.define(eq=False)
class Pause:
    """What hypercorn's reader waits for when more has come behind a request that is being answered. It would wait for
    ever when no app is left to end it: one that was cut off does not. Then the connection is `gone`. Mutable."""

    gone: trio.CancelScope
    apps: int = 0
    waiting: bool = False
    _over: trio.Event = attrs.field(factory=trio.Event)

    async def wait(self) -> None:
        self.waiting = True
        self._look()
        try:
            await self._over.wait()
        finally:
            self.waiting = False

    async def clear(self) -> None:
        self._over = trio.Event()

    async def set(self) -> None:
        self._over.set()

    def is_set(self) -> bool:
        return self._over.is_set()

    def app_done(self) -> None:
        self.apps -= 1
        self._look()

    def _look(self) -> None:
        if self.waiting and not self.apps and not self._over.is_set():
            self.gone.cancel()


class InboxTaskGroup(TaskGroup):
    """hypercorn's, with an AppInbox for each request, and the connection's Pause once that is known."""

    pause: Pause | None = None

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Put:
        inbox = AppInbox(*trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size))

        async def until_done(*arguments: Any) -> None:
            with inbox.receiver:
                await cast(Any, app)(*arguments)

        async def handled() -> None:
            spawns = (trio.to_thread.run_sync, trio.from_thread.run)
            try:
                await _handle(cast(Any, until_done), config, scope, inbox.receiver.receive, send, *spawns)
            finally:
                if self.pause is not None:
                    self.pause.app_done()

        if self.pause is not None:
            self.pause.apps += 1
        self.spawn(handled)
        return inbox.put

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As inherited, without a circle of an error, its traceback and this frame, which would need the collector."""
        try:
            await cast(Any, self._nursery_manager).__aexit__(kind, error, traceback)  # noqa: ASYNC102  # inherited: the nursery waits for its tasks
        finally:
            self._nursery = self._nursery_manager = None
            del error, traceback


def give_apps_an_inbox() -> None:
    """In this process. There is no public way to do it; hypercorn is pinned, and a test fills the queue."""
    hypercorn.trio.tcp_server.TaskGroup = InboxTaskGroup  # type: ignore[attr-defined]
