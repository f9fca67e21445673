"""All that happens in a run, by whomever, in one order: what invariants are checked on, and what a replay prints."""

import json
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import attrs
import structlog
import trio

from runtime.record import Event
from simulation import events as simulated

Data = dict[str, Any]


@attrs.frozen
class Entry:
    """`who`: a party of the call, `log` (what the product logs), `network` or `simulation`."""

    at: float
    call: str
    who: str
    what: str
    data: Data

    def __str__(self) -> str:
        shown = " ".join(f"{name}={_short(value)}" for name, value in self.data.items())
        return f"{self.at:9.4f}  {self.call:<16} {self.who:<10} {self.what:<24} {shown}".rstrip()


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 160 else f"{text[:160]}…"


@attrs.define
class Chronicle:
    """Grows by an entry for each thing that happens; a run makes some hundred."""

    entries: list[Entry] = attrs.field(factory=list)

    def add(self, call: str, who: str, what: str, /, **data: Any) -> None:
        self.entries.append(Entry(trio.current_time(), call, who, what, data))

    def on_record_event(self, event: Event) -> None:
        """Of the product's record of a call."""
        self.add(event.call, event.who, event.event, **event.data)

    def on_simulated_event(self, event: simulated.Event) -> None:
        """Of the cloud, the engine and the callers."""
        self.add(event.call[:16], f"~{event.who}", event.event, **event.data)

    def of(self, what: str, who: str | None = None) -> list[Entry]:
        return [entry for entry in self.entries if entry.what == what and who in (None, entry.who)]

    def errors(self) -> list[Entry]:
        """What the product logged as an error, and what went wrong in the simulation itself."""
        return [entry for entry in self.entries if entry.data.get("level") in ("error", "critical")]

    @contextmanager
    def capturing_logs(self) -> Iterator[None]:
        """The product's log lines, and the simulation's warnings, become entries."""
        before = structlog.get_config()
        handler = _Handler(self)
        structlog.configure(processors=[self._capture], wrapper_class=structlog.make_filtering_bound_logger(0))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            structlog.configure(**before)

    def _capture(self, _logger: Any, level: str, entry: MutableMapping[str, Any]) -> Data:
        data = {key: repr(value) if key == "exc_info" else value for key, value in entry.items() if key != "event"}
        if entry.get("exc_info"):
            data["exc_info"] = structlog.processors.format_exc_info(_logger, level, dict(entry)).get("exception")
        self.add(str(entry.get("call_id", "-")), "log", str(entry.get("event")), level=level, **data)
        raise structlog.DropEvent


class _Handler(logging.Handler):
    """The standard library's log, which only the simulation and libraries write to."""

    def __init__(self, chronicle: Chronicle) -> None:
        super().__init__(logging.WARNING)
        self._chronicle = chronicle

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        cause = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        self._chronicle.add("-", "simulation", record.getMessage(), level=level, logger=record.name, exc_info=cause)
