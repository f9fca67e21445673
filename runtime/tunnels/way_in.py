"""How Vapi reaches the webhook door from outside: what a call asks of it, whatever leads there."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import attrs
import trio


class WayIn(Protocol):
    """A call holds `use()` from before it asks for the address until it has ended."""

    def use(self) -> AbstractContextManager[None]:
        """While it is open the way is kept up. A shared tunnel is handed on when its last user leaves."""

    async def base_url(self) -> str:
        """Wait until the webhook door can be reached from outside; its public base, without a slash at the end.

        Raises NoAnswer: tunnel_busy, tunnel_auth, tunnel_quota, tunnel_timeout or tunnel_lost.
        """

    async def lost(self, base_url: str) -> str:
        """Return, with one line that says why, when that address is gone for good. Otherwise never."""


@attrs.frozen
class FixedAddress:
    """Somebody else sees to it that this address leads here: PUBLIC_BASE_URL, or a Vapi on this machine."""

    url: str

    def use(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def base_url(self) -> str:
        await trio.lowlevel.checkpoint()
        return self.url

    async def lost(self, base_url: str) -> str:  # noqa: ARG002  # nobody here would notice
        await trio.sleep_forever()
