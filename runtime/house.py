"""What all calls of a process share."""

from collections import Counter
from typing import Any

import attrs
import structlog
import trio

from actors.call_register import CallRegister
from actors.engine_reporter import EngineReporter
from actors.gateway_registrar import GatewayRegistrar
from actors.vapi_calls import VapiCalls
from db.door import Database
from runtime import limits
from runtime.history import History
from runtime.masking import masker_of
from runtime.metrics import Metrics
from runtime.readiness import Readiness
from runtime.record import CallRecord, Calls, Ending, EventSink
from runtime.recorder import Recorder
from runtime.settings import Settings
from runtime.story import StoredEvents
from runtime.summary import summary
from runtime.tunnels.way_in import WayIn
from runtime.vapi_api import call_request
from runtime.webhook_secret import SECRET_HEADER, call_tag, sign
from tools.registry import Registry

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(actor="VoiceDoor")


@attrs.frozen(eq=False)
class House:
    """Opened before the first call, closed after the last (runtime/doors.py)."""

    settings: Settings
    prompt: str
    way_in: WayIn
    webhook_key: bytes = attrs.field(repr=False)
    registry: Registry
    database: Database
    vapi_calls: VapiCalls
    reporter: EngineReporter
    register: CallRegister
    gateway: GatewayRegistrar | None
    sink: EventSink
    nonce: str = ""
    """What /healthz shows, so that a probe from outside can tell this process from another."""
    calls: Calls = attrs.field(factory=Calls)
    counts: Counter[str] = attrs.field(factory=Counter)
    recorder: Recorder | None = None
    history: History = attrs.field(factory=History)
    metrics: Metrics = attrs.field(factory=Metrics, repr=False)
    readiness: Readiness = attrs.field(
        default=attrs.Factory(lambda self: Readiness(self.database), takes_self=True), repr=False
    )
    reading_long_body: trio.Lock = attrs.field(factory=trio.Lock)

    def begin_call(self, call_id: str, peer: str, protocol: str) -> CallRecord:
        masker = masker_of(self.registry)
        record = CallRecord(call_id, self.sink, peer=peer, protocol=protocol, masker=masker)
        if self.settings.console_personal_data:
            record.story.private = StoredEvents()
        record.story.on_tool = self.metrics.tool_answered
        if self.recorder is not None:
            record.recording = self.recorder.begin(call_id, record.started_at)
        self.history.began(record)
        record.event("caller", "connected", peer=peer, protocol=protocol)
        return record

    def end_call(self, record: CallRecord, ending: Ending) -> None:
        """Nothing of the call is left but its record."""
        record.all_done(ending)
        if self.recorder is not None and record.recording is not None:
            self.recorder.finish(record.recording)
        self.counts[f"calls_{ending.reason.partition(':')[0]}"] += 1
        self.history.over(record)
        self.metrics.call_over(record, ending)  # in the same step, so that no figure is missed or told twice
        told = record.summary = summary(record, ending)
        record.event(
            "runtime",
            "call-over",
            by=ending.by,
            reason=ending.reason,
            detail=ending.detail,
            counts=dict(record.counts),
            peaks={name: round(peak, 3) for name, peak in record.peaks.items()},
            summary=told,
        )
        say = _log.info if ending.well else _log.warning
        say("call_over", call_id=record.id, **told)

    def created_at_vapi(self, record: CallRecord) -> None:
        """Tell who has to know that a call has its id at Vapi. It may be over by then: its caller did not wait."""
        if record.phase != "over" and record.vapi_call_id is not None:
            self.register.note_live(record.ledger_id, record.vapi_call_id)
            if self.gateway is not None:
                self.gateway.note_live(record.vapi_call_id)

    def call_over(self, record: CallRecord) -> None:
        self.register.note_over(record.ledger_id)
        if self.gateway is not None and record.vapi_call_id is not None:
            self.gateway.note_over(record.vapi_call_id)

    def call_request(self, record: CallRecord, base_url: str) -> dict[str, Any]:
        """The body of this call's POST /call: its own secret, its own way back to this pod below `base_url`."""
        server: dict[str, Any] = {
            "url": f"{base_url}/p/{self.settings.pod_id}/tool",
            "headers": {SECRET_HEADER: sign(self.webhook_key, record.call_key)},
            "timeoutSeconds": limits.VAPI_TOOL_TIMEOUT_SECONDS,
        }
        if self.settings.vapi_credential_id is not None:
            server["credentialId"] = self.settings.vapi_credential_id
        if self.settings.vapi_static_ips:
            server["staticIpAddressesEnabled"] = True
        functions = [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters()}
            for tool in self.registry
        ]
        return call_request(self.settings, self.prompt, functions, server, call_tag(record.call_key))
