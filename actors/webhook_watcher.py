"""WebhookWatcher ends a call whose tools cannot be reached any more."""

import attrs

from runtime.errors import ToolWebhookLost
from runtime.record import CallRecord
from runtime.supervisor import Started
from runtime.tunnels.way_in import WayIn


@attrs.define
class WebhookWatcher:
    """Vapi calls the tools at the address that this call was made with. When that is gone for good, so is the call.

    Ends: by raising ToolWebhookLost.
    Restart: never needed; it has no other way to fail.
    Cancelled: nothing is lost.
    """

    way_in: WayIn
    base_url: str
    record: CallRecord

    async def run(self, task_status: Started) -> None:
        task_status.started()
        why = await self.way_in.lost(self.base_url)
        self.record.event("runtime", "tool-webhook-lost", why=why)
        raise ToolWebhookLost(why)
