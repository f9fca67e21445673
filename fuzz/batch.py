"""A batch of cases at one world, from their numbers to a verdict. The same numbers are the same run."""

import gc
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Literal, get_args

import attrs
import trio

from db.seed import BankFiles
from fuzz.answers import wrong_with
from fuzz.http_bytes import http_script
from fuzz.leg_scripts import caller_script, vapi_script
from fuzz.loop_meter import LoopMeter
from fuzz.script import Heard, Leave, Pause, Script, Send, Step, play
from fuzz.world import FuzzWorld, open_fuzz_world
from fuzz.ws_bytes import BINARY, KEY, frame
from runtime.webhook_secret import SECRET_HEADER
from simulation.network import VirtualNetwork, Weather
from torture.chronicle import Chronicle
from torture.determinism import run_decided

Target = Literal["webhook", "caller", "vapi"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)
BATCH_CASES: Final[dict[Target, int]] = {"webhook": 250, "caller": 100, "vapi": 50}
AT_ONCE: Final = 25
STEP_SECONDS: Final = 0.5
"""Of CPU, by one step of a task. Far above what any may take: the machine may be shared, and the case is hostile."""
WORLD_SECONDS: Final = 1_500.0
"""Virtual. The call that stays would end by itself at CALL_MOST_SECONDS."""
# What the connection barrier is there for: what hypercorn itself raises when a peer breaks HTTP, and the race between a
# caller who leaves and the door that accepts him.
EXPECTED_AT_THE_BARRIER: Final = re.compile(r"ExceptionGroup|LocalProtocolError|BusyResourceError|ConnectionClosed")
ERROR_NAMES: Final = re.compile(r"\b([A-Z]\w*)[(<]")
HEALTHY_POST: Final = (
    b'{"message":{"type":"tool-calls","toolCallList":'
    b'[{"id":"healthy","name":"display_user_info","arguments":{"user_id":3}}]}}'
)
UPGRADE: Final = (
    b"GET /voice?protocol=binary HTTP/1.1\r\nHost: voice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


@attrs.frozen
class Flag:
    """`case` is None for what cannot be told to be of one case of the batch."""

    case: int | None
    what: str


@attrs.define
class BatchOutcome:
    """Mutable while it runs: what came of cases `first` up to `last` of `target`."""

    target: Target
    cases: Sequence[int]
    flags: list[Flag] = attrs.field(factory=list)
    happened: Counter[str] = attrs.field(factory=Counter)


def run_cases(seed: int, target: Target, cases: Sequence[int], bank: BankFiles) -> BatchOutcome:
    outcome, chronicle = BatchOutcome(target, cases), Chronicle()
    gc.disable()
    try:
        run_decided(seed * 1_000_003 + cases[0], lambda _: _run(seed, outcome, bank, chronicle), traced=False)
    except Exception as exc:  # noqa: BLE001  # what falls out of the doors is what is looked for
        outcome.flags.append(Flag(None, f"out of the doors: {exc!r:.600}"))
    finally:
        gc.enable()
        gc.collect()
    return outcome


async def _run(seed: int, outcome: BatchOutcome, bank: BankFiles, chronicle: Chronicle) -> None:
    rng = random.Random(f"batch {seed} {outcome.target} {outcome.cases[0]}")
    weather = Weather(latency_seconds=rng.choice((0.0, 0.001, 0.01)), chop=rng.choice((0.0, 0.0, 0.1)))
    network = VirtualNetwork(weather, rng)
    finished, meter = False, LoopMeter(not_of=("fuzz.", "simulation."))
    trio.lowlevel.add_instrument(meter)
    with chronicle.capturing_logs(), network.installed():
        with trio.move_on_after(WORLD_SECONDS):
            async with open_fuzz_world(network, bank, chronicle, seed) as world:
                await _Batch(world, seed, outcome).run()
                finished = True
    if meter.longest_cpu > STEP_SECONDS:
        what = f"a step of {meter.slowest} took {meter.longest_cpu:.2f} s: all calls stood still"
        outcome.flags.append(Flag(None, what))
    if not finished:
        outcome.flags.append(Flag(None, "a door fell, or the batch did not end in time"))
    for socket in network.open_sockets:
        outcome.flags.append(Flag(None, f"left open when the doors were closed: {socket!r}"))
    outcome.flags += [Flag(None, line) for line in _logged(chronicle)]
    outcome.happened.update(_endings(chronicle))


def _logged(chronicle: Chronicle) -> Iterator[str]:
    for entry in chronicle.errors():
        yield f"logged as an error: {str(entry)[:300]} {str(entry.data.get('exc_info', ''))[-600:]}"
    for entry in chronicle.of("connection_failed", "log"):
        raised = set(ERROR_NAMES.findall(str(entry.data["error"]))) - {"CloseReason"}
        if not all(map(EXPECTED_AT_THE_BARRIER.fullmatch, raised)):
            yield f"came to the connection barrier: {entry.data['error']}"


def _endings(chronicle: Chronicle) -> Iterator[str]:
    for entry in chronicle.of("call-over"):
        yield "ended: " + entry.data["reason"].partition(":")[0]
    for entry in chronicle.of("connection_failed", "log"):
        yield "barrier: " + " ".join(sorted(set(ERROR_NAMES.findall(str(entry.data["error"])))))
    for entry in chronicle.of("websocket_task_failed", "log"):
        yield "reader: " + str(entry.data["error"]).partition("(")[0]


@attrs.frozen
class _Batch:
    world: FuzzWorld
    seed: int
    outcome: BatchOutcome

    async def run(self) -> None:
        """All cases, AT_ONCE at any time; then what is left, and whether the doors still serve."""
        gate = trio.CapacityLimiter(AT_ONCE)
        case_of = {"webhook": self._webhook, "caller": self._caller, "vapi": self._vapi}[self.outcome.target]
        async with trio.open_nursery() as nursery:
            for case in self.outcome.cases:
                await gate.acquire_on_behalf_of(case)
                nursery.start_soon(self._one, case_of, case, gate)
                await trio.sleep(0.01)
        for name, count in (await self.world.settled()).items():
            self._flag(None, f"{count} task(s) left: {name}")
        for socket in self.world.sockets_left():
            self._flag(None, f"left open: {socket}")
        await self._serves()

    def _flag(self, case: int | None, what: str) -> None:
        self.outcome.flags.append(Flag(case, what))

    async def _one(
        self, play_case: Callable[[int, random.Random], Awaitable[str | None]], case: int, gate: trio.CapacityLimiter
    ) -> None:
        wrong = await play_case(case, random.Random(f"{self.seed} {self.outcome.target} {case}"))
        if wrong is not None:
            self._flag(case, wrong)
        gate.release_on_behalf_of(case)

    async def _webhook(self, _case: int, rng: random.Random) -> str | None:
        script = http_script(rng, self.world.known)
        return self._judged(await self._heard(self.world.webhook_port, script), script, upgrades=False)

    async def _caller(self, _case: int, rng: random.Random) -> str | None:
        script = caller_script(rng)
        return self._judged(await self._heard(self.world.voice_port, script), script, upgrades=True)

    async def _vapi(self, _case: int, rng: random.Random) -> str | None:
        self.world.hostile.append(vapi_script(rng))
        speech = frame(BINARY, b"\x00\x20\x00\xe0" * 240, bytes(4))
        talk: list[Step] = [step for _ in range(rng.choice((1, 10))) for step in (Send(speech), Pause(0.02))]
        leaves: list[Step] = [Pause(rng.choice((0.3, 3.0))), Leave()] if rng.random() < 0.5 else []
        script = Script((Send(UPGRADE), *talk, *leaves))
        heard = await self._heard(self.world.voice_port, script)
        if not heard.data.startswith(b"HTTP/1.1 101 "):
            return f"a sound caller was answered {bytes(heard.data[:60])!r}"
        return self._judged(heard, script, upgrades=True)

    async def _heard(self, port: int, script: Script) -> Heard:
        return await play(await trio.open_tcp_stream("127.0.0.1", port), script)

    def _judged(self, heard: Heard, script: Script, *, upgrades: bool) -> str | None:
        self.outcome.happened[heard.ending] += 1
        if heard.data:
            self.outcome.happened["answered " + heard.data[9:12].decode("latin-1")] += 1
        if heard.ending == "out of patience":
            return f"still open after {heard.seconds:.0f} s; heard {bytes(heard.data[:200])!r}"
        return wrong_with(bytes(heard.data), script.said, upgrades=upgrades)

    async def _serves(self) -> None:
        """A sound POST for the call that stays, and a sound new call."""
        head = b"POST /p/pod/tool HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s: %s\r\nContent-Length: %d\r\n\r\n" % (
            SECRET_HEADER.encode(), self.world.known.secrets[0], len(HEALTHY_POST)
        )  # fmt: skip
        heard = await self._heard(self.world.webhook_port, Script((Send(head + HEALTHY_POST),)))
        if not (heard.data.startswith(b"HTTP/1.1 200") and b'"toolCallId":"healthy"' in heard.data):
            self._flag(None, f"a sound POST was answered {bytes(heard.data[:300])!r}")
        if b"call is over" in heard.data:
            self._flag(None, "the call that stays has ended")
        self.world.hostile.clear()
        speech = Send(frame(BINARY, b"\x00\x20\x00\xe0" * 240, bytes(4)))
        before = self.world.chronicle.of("call-over")
        script = Script((Send(UPGRADE), Pause(1.0), speech, Pause(0.5), Send(frame(0x88, b"\x03\xe8", bytes(4)))))
        heard = await self._heard(self.world.voice_port, script)
        await self.world.settled()
        over = self.world.chronicle.of("call-over")[len(before) :]
        if [entry.data["reason"] for entry in over] != ["call_ended"]:
            self._flag(
                None,
                f"a sound call ended as {[entry.data['reason'] for entry in over]}, heard {bytes(heard.data[:90])!r}",
            )
