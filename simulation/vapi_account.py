"""The state of a simulated Vapi: its account, its calls, and how it behaves at the moment."""

import random
from collections.abc import Sequence

import attrs

from simulation.behaviour import Behaviour
from simulation.ear import Ear
from simulation.events import EventLog, OnEvent, mono_now, wall_now
from simulation.scenario import AgentTurn
from simulation.speech import Voice
from simulation.vapi_call import SimulatedCall


@attrs.define(eq=False)
class VapiCloud:
    """The running cloud. Mutable: ``behaviour`` (yours to replace at any time), ``calls`` (in order of creation).

    ``agent``, ``caller_lines`` and ``ear`` may be replaced as well; a call takes them when its socket opens.
    """

    host: str
    port: int
    transport_port: int
    api_key: str
    slots: int
    behaviour: Behaviour
    agent: Sequence[AgentTurn]
    voice: Voice
    rng: random.Random
    caller_lines: Sequence[str] = ()
    ear: Ear | None = None
    on_event: OnEvent | None = None
    secure: bool = False
    """https and wss: certificates are the opener's business."""
    calls: list[SimulatedCall] = attrs.field(factory=list)
    requests: list[tuple[str, str, int]] = attrs.field(factory=list)
    """Every REST request: method, path with query names left out, status answered (0: dropped)."""

    @property
    def base_url(self) -> str:
        """What VAPI_BASE_URL should be."""
        return f"http{'s' if self.secure else ''}://{self.host}:{self.port}"

    @property
    def active_calls(self) -> int:
        """Calls that hold a slot."""
        return sum(call.status != "ended" for call in self.calls)

    def find(self, call_id: str) -> SimulatedCall | None:
        """The call of that id."""
        return next((call for call in self.calls if call.id == call_id), None)

    def transport_url(self, call: SimulatedCall) -> str:
        """The call's ``websocketCallUrl``."""
        return f"ws{'s' if self.secure else ''}://{self.host}:{self.transport_port}/{call.id}/transport"

    def control_url(self, call: SimulatedCall) -> str:
        """The call's ``monitor.controlUrl``."""
        return f"{self.base_url}/{call.id}/control"

    def new_call(self, call_id: str, request: dict[str, object]) -> SimulatedCall:
        """Register a call; it holds a slot from now on."""
        log = EventLog(call_id, mono_now(), self.on_event)
        call = SimulatedCall(id=call_id, request=request, created_at=wall_now(), log=log)
        self.calls.append(call)
        log.add("vapi", "call-created", name=request.get("name"))
        return call
