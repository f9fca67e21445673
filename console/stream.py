"""The stream of server-sent events that an open page lives on."""

from types import TracebackType
from typing import Any

import attrs
import msgspec
import trio
from quart.wrappers.response import ResponseBody

from console.view import CallReader, Process, state
from runtime import limits


@attrs.define(eq=False)
class Pages:
    """How many are open; mutable."""

    open: int = 0

    @property
    def full(self) -> bool:
        return self.open >= limits.CONSOLE_STREAMS


@attrs.define(eq=False)
class StateStream(ResponseBody):
    """A response's body: the newest state, and what is new of `reader`'s call, until the page has gone.

    Not a generator: one that is cancelled half-way would be left to the garbage collector. Mutable: `_began`.
    """

    process: Process
    pages: Pages
    reader: CallReader | None
    personal: bool
    demo: bool
    _began: bool = False

    async def __aenter__(self) -> "StateStream":
        self.pages.open += 1
        return self

    async def __aexit__(self, _type: type[BaseException], _value: BaseException, _traceback: TracebackType) -> None:
        self.pages.open -= 1

    def __aiter__(self) -> "StateStream":
        return self

    async def __anext__(self) -> bytes:
        if not self._began:
            self._began = True
        else:
            await trio.sleep(limits.CONSOLE_EVERY_SECONDS)
        told = b"retry: 1000\n" + _event(b"state", state(self.process, personal=self.personal, demo=self.demo))
        return told + (_event(b"call", self.reader.read()) if self.reader is not None else b"")


def _event(name: bytes, value: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name, msgspec.json.encode(value, enc_hook=str))
