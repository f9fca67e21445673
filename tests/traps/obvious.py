"""An HTTP door as one would first write it, on hypercorn's own connection handler, and apps to serve with either."""

from typing import Any

import attrs
import hypercorn.trio.tcp_server
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from quart_trio import QuartTrio

from runtime import limits
from runtime.supervisor import Started


@attrs.define
class ObviousDoor:
    """What `runtime.http_door.HttpDoor` is, without its containment: no barrier, no bounded sends, no read_timeout."""

    app: Any
    listeners: list[trio.SocketListener]

    async def run(self, task_status: Started) -> None:
        hypercorn.trio.tcp_server.TaskGroup = TaskGroup  # its own again, whatever ran in this process before
        config = Config()
        config.accesslog = config.errorlog = None
        config.keep_alive_timeout = limits.HTTP_IDLE_SECONDS
        app = wrap_app(self.app, limits.BODY_BYTES, "asgi")

        async def serve(stream: trio.SocketStream) -> None:
            await TCPServer(app, config, WorkerContext(None), ConnectionState({}), stream).run()  # type: ignore[arg-type]

        task_status.started()
        await trio.serve_listeners(serve, self.listeners)


def healthy_app() -> QuartTrio:
    """Says that it is well, on `/healthz`."""
    app = QuartTrio("healthy")

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    return app


@attrs.define
class BigAnswers:
    """An ASGI app whose answers are larger than any buffer on their way. Mutable: how many it began and ended."""

    began: int = 0
    ended: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  # ASGI
        self.began += 1
        try:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(10_000_000)})
        finally:
            self.ended += 1
