"""Quart as our HTTP doors use it."""

from typing import Any

import structlog
from quart_trio import QuartTrio

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="HttpDoor")


class PlainApp(QuartTrio):
    """An error of a handler is one line of our log, and not forty of Quart's own."""

    def log_exception(self, exception_info: Any) -> None:
        _log.error("request_failed", exc_info=exception_info)
