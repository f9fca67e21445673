"""The slots of the Vapi account: calls that may run there at once. Who comes first is served first."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from runtime import limits
from runtime.errors import NoAnswer

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="VapiSlots")


@attrs.define(eq=False)
class VapiSlots:
    """A slot is held by everything that keeps a call at Vapi: its bridge, and whoever still creates or ends it.

    Mutable: `_holders`, how many hold the slot of each call, by the call's key.
    """

    most: int
    _free: trio.CapacityLimiter = attrs.field(
        default=attrs.Factory(lambda self: trio.CapacityLimiter(self.most), takes_self=True)
    )
    _holders: Counter[bytes] = attrs.field(factory=Counter, repr=False)

    @asynccontextmanager
    async def one_for(self, call_key: bytes) -> AsyncIterator[None]:
        """Wait for a free slot, in turn. Raises NoAnswer when none was free in VAPI_SLOT_SECONDS."""
        with trio.move_on_after(limits.VAPI_SLOT_SECONDS) as waiting:
            await self._free.acquire_on_behalf_of(call_key)
        if waiting.cancelled_caught:
            line = (
                f"{self.used} calls run at Vapi and {self.waiting + 1} wait: none ended within"
                f" {limits.VAPI_SLOT_SECONDS:g} s; raise VAPI_SLOTS, and the limit in Vapi's dashboard"
            )
            raise NoAnswer("vapi_no_slot", line)
        self.hold(call_key)
        try:
            yield
        finally:
            self.let_go(call_key)

    def hold(self, call_key: bytes) -> None:
        self._holders[call_key] += 1

    def let_go(self, call_key: bytes) -> None:
        self._holders[call_key] -= 1
        if self._holders[call_key] == 0:
            del self._holders[call_key]
            self._free.release_on_behalf_of(call_key)

    def account_has(self, slots: int) -> None:
        """What Vapi says of the account; more than VAPI_SLOTS are never used."""
        usable = max(1, min(self.most, slots))
        if usable != self._free.total_tokens:
            _log.info("vapi_slots", usable=usable, of_the_account=slots, VAPI_SLOTS=self.most)
            self._free.total_tokens = usable

    @property
    def usable(self) -> int:
        return int(self._free.total_tokens)

    @property
    def used(self) -> int:
        return self._free.borrowed_tokens

    @property
    def waiting(self) -> int:
        return self._free.statistics().tasks_waiting
