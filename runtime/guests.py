"""How many connections a door holds at once, and how fast new calls may come."""

import attrs
import trio

from runtime import limits
from runtime.supervisor import Started


@attrs.define(eq=False)
class BoundedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while there are `places`; the others wait in the kernel's backlog. Who served a stream releases one."""

    inner: trio.abc.Listener[trio.SocketStream]
    places: trio.Semaphore

    async def accept(self) -> trio.SocketStream:
        await self.places.acquire()
        accepted = False
        try:
            stream = await self.inner.accept()
            accepted = True
        finally:
            if not accepted:
                self.places.release()
        return stream

    async def aclose(self) -> None:
        await self.inner.aclose()


@attrs.define(eq=False)
class SharedListener(trio.abc.Listener[trio.SocketStream]):
    """Of a port on which other processes listen too. Who leaves it turns no caller away: those who have connected are
    accepted first, and all who come later come to the others."""

    inner: trio.SocketListener
    _left: bool = False

    async def leave(self) -> None:
        """Within VOICE_LEAVE_SECONDS, while somebody accepts."""
        with trio.move_on_after(limits.VOICE_LEAVE_SECONDS):
            await trio.lowlevel.checkpoint()
            while self.inner.socket.is_readable():  # noqa: ASYNC110  # no event tells that a backlog is empty
                await trio.sleep(limits.VOICE_LEAVE_POLL_SECONDS)
        self._left = True
        self.inner.socket.close()
        for _ in range(2):  # who was accepted last has begun to be served then
            await trio.lowlevel.checkpoint()

    async def accept(self) -> trio.SocketStream:
        try:
            return await self.inner.accept()
        except trio.ClosedResourceError:
            if not self._left:
                raise
        await trio.sleep_forever()
        raise AssertionError("nobody wakes it")

    async def aclose(self) -> None:
        await self.inner.aclose()


@attrs.define(eq=False)
class Turnstile:
    """Lets `per_turn` guests through in each turn of the event loop: between turns the calls' audio is looked at.

    Hundreds of connections may wake in the same turn, each with a byte of a request. An actor beside them.

    Ends: only by its scope.
    Restart: never needed; it cannot fail.
    Cancelled: who waits must be cancelled too.
    """

    per_turn: int
    _passed: int = 0
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _used: trio.Event = attrs.field(factory=trio.Event)

    async def pass_through(self) -> None:
        """Comes behind a wait of the caller's, so it is a checkpoint only where it waits."""
        self._used.set()
        if self._passed < self.per_turn and not self._waiting:
            self._passed += 1
        else:
            await self._waiting.park()

    async def run(self, task_status: Started) -> None:
        task_status.started()
        while True:
            await self._used.wait()
            self._used = trio.Event()
            while self._passed or self._waiting:
                await trio.lowlevel.checkpoint()
                self._passed = len(self._waiting.unpark(count=self.per_turn))


@attrs.define
class Rate:
    """At most `per_second` in the long run, and `burst` at once: a token bucket on Trio's clock."""

    per_second: float
    burst: float
    _left: float = attrs.field(default=attrs.Factory(lambda self: self.burst, takes_self=True))
    _at: float = attrs.field(factory=trio.current_time)

    def allows_one_more(self) -> bool:
        now = trio.current_time()
        self._left = min(self.burst, self._left + (now - self._at) * self.per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
