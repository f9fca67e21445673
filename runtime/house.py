"""What all calls of a process share."""

from collections import Counter
from typing import Any

import attrs

from actors.engine_reporter import EngineReporter
from actors.vapi_calls import VapiCalls
from db.door import Database
from runtime import limits
from runtime.record import CallRecord, Calls, EventSink
from runtime.settings import Settings
from runtime.vapi_api import call_request, call_tag
from runtime.webhook_secret import SECRET_HEADER, sign
from tools.registry import Registry


@attrs.frozen(eq=False)
class House:
    """Opened before the first call, closed after the last (runtime/doors.py)."""

    settings: Settings
    prompt: str
    public_base_url: str
    webhook_key: bytes = attrs.field(repr=False)
    registry: Registry
    database: Database
    vapi_calls: VapiCalls
    reporter: EngineReporter
    sink: EventSink
    calls: Calls = attrs.field(factory=Calls)
    counts: Counter[str] = attrs.field(factory=Counter)

    def call_request(self, record: CallRecord) -> dict[str, Any]:
        """The body of this call's POST /call: its own secret, its own way back to this pod."""
        server = {
            "url": f"{self.public_base_url}/p/{self.settings.pod_id}/tool",
            "headers": {SECRET_HEADER: sign(self.webhook_key, record.call_key)},
            "timeoutSeconds": limits.VAPI_TOOL_TIMEOUT_SECONDS,
        }
        functions = [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters()}
            for tool in self.registry
        ]
        return call_request(self.settings, self.prompt, functions, server, call_tag(record.call_key))
