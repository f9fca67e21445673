"""How many connections a door holds at once, and how fast new calls may come."""

import attrs
import trio


@attrs.define(eq=False)
class BoundedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while fewer than `most` of its guests are inside; the others wait in the kernel's backlog.

    Who has served a stream releases its place.
    """

    inner: trio.SocketListener
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
