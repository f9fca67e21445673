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


class InboxTaskGroup(TaskGroup):
    """hypercorn's, with an AppInbox for each request."""

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Put:
        inbox = AppInbox(*trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size))

        async def until_done(*arguments: Any) -> None:
            with inbox.receiver:
                await cast(Any, app)(*arguments)

        self.spawn(
            _handle, until_done, config, scope, inbox.receiver.receive, send,
            trio.to_thread.run_sync, trio.from_thread.run,
        )  # fmt: skip
        return inbox.put

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As inherited, without a circle of an error, its traceback and this frame, which would need the collector."""
        try:
            await cast(Any, self._nursery_manager).__aexit__(kind, error, traceback)
        finally:
            self._nursery = self._nursery_manager = None
            del error, traceback


def give_apps_an_inbox() -> None:
    """In this process. There is no public way to do it; hypercorn is pinned, and a test fills the queue."""
    hypercorn.trio.tcp_server.TaskGroup = InboxTaskGroup  # type: ignore[attr-defined]
