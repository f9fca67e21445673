"""Serving HTTP: hypercorn's connection handler on listeners of ours, each connection behind a barrier.

hypercorn's own `serve` lets one connection's error through its nursery and out of the process: one packet
(a WebSocket upgrade with bytes behind it) ends the server (hypercorn's issue #225). It also shields its
sends without a deadline, so a peer that stops reading cannot be cancelled. Here a connection's error ends
that connection, and a send has a deadline. hypercorn is pinned: `TCPServer` is not its public face.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import attrs
import h11
import hypercorn.trio.run
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from runtime import limits
from runtime.app_inbox import InboxTaskGroup, Pause, give_apps_an_inbox
from runtime.asgi_guard import Guard
from runtime.guests import BoundedListener, Turnstile
from runtime.supervisor import Started

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="HttpDoor")


@attrs.define(eq=False)
class BoundedStream(trio.abc.HalfCloseableStream):
    """A socket whose sends are bounded, also under hypercorn's shield, and whose reads pass a turnstile.

    `gone` is cancelled when a send fails: hypercorn's reader would wait for ever for an answer to be over that can
    never be sent.
    """

    inner: trio.SocketStream
    turnstile: Turnstile | None = None
    gone: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def socket(self) -> trio.socket.SocketType:
        return self.inner.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        await self.have_a_turn()
        return data

    async def have_a_turn(self) -> None:
        if self.turnstile is not None:
            await self.turnstile.pass_through()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(limits.HTTP_SEND_SECONDS):
                await self.inner.send_all(data)
        except trio.TooSlowError:
            self.gone.cancel()
            await trio.aclose_forcefully(self.inner)
            raise trio.BrokenResourceError("the peer does not read its answer") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone.cancel()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


@attrs.define
class HttpDoor:
    """One ASGI app, behind `guard`, on its listeners. An actor. A connection that sends nothing for `idle_seconds`,
    while it is answered, is closed; None: an answer may last as long as it likes.

    Ends: only by its scope, or with a listener's error.
    Restart: never; its listeners are closed with it.
    Cancelled: requests in progress are cut.
    """

    app: Any
    listeners: list[trio.SocketListener]
    guard: Callable[[Any], Any] = Guard
    most: int = attrs.field(factory=lambda: limits.WEBHOOK_CONNECTIONS)
    idle_seconds: float | None = attrs.field(factory=lambda: limits.HTTP_IDLE_SECONDS)

    async def run(self, task_status: Started) -> None:  # noqa: ASYNC128  # serve_connections calls started()
        give_apps_an_inbox()
        config = Config()
        config.read_timeout = self.idle_seconds  # type: ignore[assignment]  # floats work; 0.18 says int
        config.keep_alive_timeout = limits.HTTP_IDLE_SECONDS
        config.h11_max_incomplete_size = limits.HTTP_HEAD_BYTES
        config.include_server_header = False
        config.accesslog = config.errorlog = None
        config.max_app_queue_size = 2  # messages of 64 KiB that wait for the app, for each connection
        app = wrap_app(cast(Any, self.guard(self.app)), limits.BODY_BYTES, "asgi")
        turnstile = Turnstile(limits.WEBHOOK_READS_PER_TURN)

        async def serve(stream: trio.SocketStream) -> None:
            server = ContainedTCPServer(app, config, WorkerContext(None), ConnectionState({}), stream)
            server.bounded.turnstile = turnstile
            await server.run()

        async with trio.open_nursery() as nursery:
            await nursery.start(turnstile.run)
            await serve_connections(serve, self.listeners, self.most, task_status)


class TidyConnection(h11.Connection):
    """h11's, whose errors hold themselves by their traceback; these do not, and need no collector."""

    def next_event(self) -> Any:
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            problem, hint = str(error), error.error_status_hint
            error.__traceback__ = None
        raise h11.RemoteProtocolError(problem, hint)


class ContainedTCPServer(TCPServer):
    """hypercorn's connection handler, contained: bounded sends, a barrier round it, and gone when its peer is."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        stream: trio.SocketStream,
    ) -> None:
        # It says that it wants an SSLStream; it takes any stream with a `.socket`.
        self.bounded = BoundedStream(stream)
        super().__init__(app, config, context, state, cast(Any, self.bounded))
        self._peer_has_left = False
        self._first_request = True

    async def run(self) -> None:
        try:
            with self.bounded.gone:
                await behind_the_barrier(super().run, self.stream)
        finally:
            # It and its protocol know each other: undone here, a connection leaves no garbage to be collected.
            self.__dict__.clear()

    async def _read_data(self) -> None:
        # HTTP/1.1 and nothing else: without this a stranger may switch to HTTP/2, and to a hundred requests at once.
        self.protocol.protocol._check_protocol = _stay_with_http_1  # type: ignore[union-attr, method-assign]
        self.protocol.protocol.connection.__class__ = TidyConnection
        pause = Pause(self.bounded.gone)
        self.protocol.protocol.can_read = cast(InboxTaskGroup, self._task_group).pause = pause  # type: ignore[union-attr]
        await super()._read_data()
        # The peer has left: there is no next request to wait for. What is being answered is still answered.
        self._peer_has_left = True
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        if self._peer_has_left:
            await self._initiate_server_close()
        else:
            # Runs from the connection's or the last answer's end until a request's head is whole. Who has just
            # connected has come to ask something.
            first, self._first_request = self._first_request, False
            await trio.sleep(limits.HTTP_HEAD_SECONDS if first else limits.HTTP_IDLE_SECONDS)
            await self.bounded.have_a_turn()
            self.bounded.gone.cancel()  # as a whole: a request that has come in this moment would be left half done

    async def _close(self) -> None:
        # quart-trio cancels it half-way when a peer leaves behind its answer, and the reader then waits for ever.
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            await super()._close()


def contain_hypercorn() -> None:
    """Put the same containment round the connections of hypercorn's own server, in this process.

    For the sandbox's entry point, where hypercorn serves its own bind. There is no public way to do it, and
    a stranger's packet must not end the calls of a process; hypercorn is pinned, and a test sends the packet.
    """
    give_apps_an_inbox()
    hypercorn.trio.run.TCPServer = ContainedTCPServer  # type: ignore[assignment, attr-defined]


async def behind_the_barrier(serve: Callable[[], Awaitable[None]], stream: trio.abc.AsyncResource) -> None:
    """The connection barrier: an error of one connection is logged and ends that connection."""
    try:
        await serve()
    except Exception as exc:  # noqa: BLE001  # the connection barrier
        _log.warning("connection_failed", error=repr(exc)[:300])
    finally:
        with trio.move_on_after(limits.CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(stream)


async def _stay_with_http_1(_request: object) -> None:
    await trio.lowlevel.checkpoint()


async def serve_connections(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
    listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
    most: int,
    task_status: Started,
) -> None:
    """At most `most` connections at once, over all of `listeners`; the rest wait in the backlog."""
    places = trio.Semaphore(most)

    async def serve_and_leave(stream: trio.SocketStream) -> None:
        try:
            await serve(stream)
        finally:
            places.release()

    task_status.started()
    await trio.serve_listeners(serve_and_leave, [BoundedListener(listener, places) for listener in listeners])
