"""The calls of this process that can be looked at: those that run, and the last that are over."""

from collections import deque
from collections.abc import Iterator

import attrs

from runtime import limits
from runtime.record import CallRecord


@attrs.define(eq=False)
class History:
    """Mutable: `live`, in the order in which they began, and `past`, the newest first; both by whoever serves calls."""

    live: dict[str, CallRecord] = attrs.field(factory=dict)
    past: deque[CallRecord] = attrs.field(factory=lambda: deque(maxlen=limits.HISTORY_CALLS))

    def began(self, record: CallRecord) -> None:
        self.live[record.id] = record

    def over(self, record: CallRecord) -> None:
        del self.live[record.id]
        self.past.appendleft(record)

    def find(self, call_id: str) -> CallRecord | None:
        return self.live.get(call_id) or next((record for record in self.past if record.id == call_id), None)

    def __iter__(self) -> Iterator[CallRecord]:
        yield from self.live.values()
        yield from self.past
