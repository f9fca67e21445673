"""Logging: one line per event on stderr, for people in a terminal, JSON otherwise.

Tracebacks are plain: a richer one would print local variables, and with them keys and customers.
"""

import logging
import os
import sys
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO, cast

import structlog

from runtime.masking import TEXTS
from runtime.record import Event, EventSink

STDERR: Final = 2


class LossyStderr:
    """Standard error, on which a call must not depend: when its reader has gone, lines are lost, and nothing else.

    A reader that stays and does not read stops this process once the pipe is full, as it stops any program.
    Unbuffered: what cannot be written must not wait for the end of the process and fail there.
    """

    def write(self, text: str) -> None:
        with suppress(OSError):
            left = text.encode(errors="backslashreplace")
            while left:  # a pipe may take a part of it
                left = left[os.write(STDERR, left) :]

    def flush(self) -> None:
        """Nothing is kept."""


def configure_logging(level: str, pod: str = "") -> None:
    """Lines of `level` and above, each with `pod`, and with the call and the actor it is of (`of_call`)."""
    human = sys.stderr.isatty()
    terminal = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            partial(_identified, pod, human),
            structlog.processors.ExceptionRenderer() if not human else _unchanged,
            terminal if human else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, LossyStderr())),
    )


def _identified(
    pod: str, human: bool, _logger: Any, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Every JSON line has the same three fields; in a terminal, those that say something."""
    if not human:
        event.setdefault("call_id", None)
        event.setdefault("actor", None)
        event["pod"] = pod
    return event


def _unchanged(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


def logging_sink() -> EventSink:
    """A call's events as debug lines. What people said and what tools answered stays out of them."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    private = {"arguments", "result", "reason"} | TEXTS

    def sink(event: Event) -> None:
        data = {key: value for key, value in event.data.items() if key not in private}
        log.debug(event.event, call_id=event.call, who=event.who, t=event.t, data=data)

    return sink
