"""What happens in one torture run, drawn from one number: the weather, the scripts, the knobs and the faults.

A plan is plain data, drawn before anything runs: the same seed is the same plan for ever, until this file changes.
"""

import random
from collections.abc import Sequence
from typing import Literal

import attrs

from simulation.behaviour import Behaviour
from simulation.caller_line import Protocol
from simulation.network import Weather
from simulation.scenario import AgentTurn, BargeIn, CallerStep, HangUp, Say, ToolCall, Wait

FaultKind = Literal[
    "caller resets", "caller leaves without a word", "caller vanishes", "caller reads nothing", "caller stalls",
    "caller half-closes",
    "vapi resets", "vapi vanishes", "vapi reads nothing", "vapi stalls", "vapi restarts", "vapi hangs up",
    "caller's bytes are corrupted", "vapi's bytes are corrupted",
    "rest refuses", "rest is silent", "rest resets", "sockets refuse", "sockets are silent",
    "webhooks reset", "webhooks stall",
    "engine refuses", "engine fails", "engine is slow", "engine resets",
    "database is away", "database is slow", "database breaks",
    "sigterm", "second sigterm",
]  # fmt: skip

# How often each is drawn. What ends a call at once hides what would have come behind it.
_FAULTS: Sequence[tuple[FaultKind, int]] = (
    ("caller resets", 4), ("caller leaves without a word", 4), ("caller vanishes", 3), ("caller reads nothing", 3),
    ("caller stalls", 4), ("caller half-closes", 2),
    ("vapi resets", 4), ("vapi vanishes", 3), ("vapi reads nothing", 3), ("vapi stalls", 4), ("vapi restarts", 2),
    ("vapi hangs up", 3), ("caller's bytes are corrupted", 2), ("vapi's bytes are corrupted", 2),
    ("rest refuses", 2), ("rest is silent", 1), ("rest resets", 3), ("sockets refuse", 2), ("sockets are silent", 1),
    ("webhooks reset", 3), ("webhooks stall", 2),
    ("engine refuses", 3), ("engine fails", 3), ("engine is slow", 3), ("engine resets", 2),
    ("database is away", 4), ("database is slow", 4), ("database breaks", 2),
    ("sigterm", 4),
)  # fmt: skip

GuestKind = Literal[
    "says nothing", "speaks HTTP", "sends garbage", "sends bytes behind its upgrade", "leaves in the handshake",
    "sends text in binary mode", "sends half a sample", "sends a huge frame", "sends a reserved bit",
    "posts without a secret", "posts garbage", "sends the rest behind its answer",
]  # fmt: skip
GUESTS: Sequence[GuestKind] = GuestKind.__args__  # type: ignore[attr-defined]


@attrs.frozen
class Fault:
    """At ``at`` seconds, for ``seconds`` where it passes; ``call`` is the number of the call it befalls."""

    at: float
    kind: FaultKind
    call: int = 0
    seconds: float = 0.0


@attrs.frozen
class PlannedCall:
    """One caller: when it dials, how it speaks, what it does."""

    at: float
    protocol: Protocol
    frame_ms: int
    steps: tuple[CallerStep, ...]
    patience_seconds: float = 8.0


@attrs.frozen
class Guest:
    """Somebody who should not have come."""

    at: float
    kind: GuestKind


@attrs.frozen
class Plan:
    """A whole run. ``calm``: nothing goes wrong in it, so everything must go right."""

    seed: int
    calm: bool
    tls: bool
    tail_mode: Literal["burst", "paced"]
    caller_weather: Weather
    vapi_weather: Weather
    behaviour: Behaviour
    agent: tuple[AgentTurn, ...]
    calls: tuple[PlannedCall, ...]
    faults: tuple[Fault, ...] = ()
    guests: tuple[Guest, ...] = ()

    def has(self, *kinds: FaultKind) -> bool:
        """One of these faults is planned."""
        return any(fault.kind in kinds for fault in self.faults)

    def __str__(self) -> str:
        faults = ", ".join(
            f"{fault.kind} at {fault.at:.2f} s" + (f" for {fault.seconds:.2f} s" if fault.seconds else "")
            for fault in self.faults
        )
        guests = ", ".join(f"a guest {guest.kind} at {guest.at:.2f} s" for guest in self.guests)
        shape = f"{len(self.calls)} call(s), {len(self.agent)} turns, {self.tail_mode}{', TLS' if self.tls else ''}"
        return "; ".join(filter(None, [shape, faults, guests])) or shape


def plan_for(seed: int) -> Plan:
    """The plan of ``seed``. One in four is calm; one in ten has TLS on the way to Vapi."""
    rng = random.Random(f"plan {seed}")
    calm, tls = rng.random() < 0.25, seed % 10 == 0
    turns = rng.randint(2, 6)
    barged = frozenset(turn for turn in range(1, turns) if rng.random() < 0.25)
    agent = tuple(_agent_turn(rng, number, number in barged) for number in range(turns))
    calls = 1 if rng.random() < 0.85 else rng.randint(2, 3)
    planned = tuple(_call(rng, number, turns, barged, calm) for number in range(calls))
    ends_at = 3.0 + 1.8 * turns
    return Plan(
        seed=seed,
        calm=calm,
        tls=tls,
        tail_mode="burst" if rng.random() < 0.75 else "paced",
        caller_weather=_weather(rng, calm),
        # Over TLS the number of bytes may differ between two runs by a few; nothing here may depend on it.
        vapi_weather=Weather(latency_seconds=0.02) if tls else _weather(rng, calm),
        behaviour=_behaviour(rng, calm),
        agent=agent,
        calls=planned,
        faults=() if calm else _faults(rng, ends_at, calls),
        guests=tuple(Guest(rng.uniform(0, ends_at), rng.choice(GUESTS)) for _ in range(rng.choice((0, 0, 0, 1, 2)))),
    )


def _agent_turn(rng: random.Random, number: int, barged: bool) -> AgentTurn:
    """One that is barged into must last: the caller speaks for 0.7 s before Vapi takes it for an interruption."""
    calls = tuple(_tool(rng) for _ in range(rng.choice((0, 0, 1, 1, 2)))) if number else ()
    return AgentTurn(say=_words(rng, "agent", number, *((54, 63) if barged else (9, 21))), calls=calls)


def _words(rng: random.Random, who: str, number: int, least: int, most: int) -> str:
    """So many words. Lengths come in steps of three: the sound of each text is made once in a process."""
    count = rng.randrange(least, most + 1, 3)
    return " ".join([who, str(number), *["word"] * (count - 2)])


def _tool(rng: random.Random) -> ToolCall:
    card, last4 = rng.choice(((5, "4242"), (1, "1881"), (8, "3364"), (15, "3908"), (999, "0000"), (14, "7416")))
    return rng.choice(
        (
            ToolCall("display_card_info_by_last4", {"last4": last4}),
            ToolCall("request_card_replacement", {"card_id": card}),
            ToolCall("change_card_status", {"card_id": card, "new_status": rng.choice(("active", "frozen"))}),
            ToolCall("display_user_info", {"user_id": rng.randint(1, 30)}),
            ToolCall("update_card_replacement_status", {"card_id": card, "new_status": "mailed"}),
            ToolCall("change_card_status", {"card_id": "five", "new_status": "melted"}),
        )
    )


def _call(rng: random.Random, number: int, turns: int, barged: frozenset[int], calm: bool) -> PlannedCall:
    steps: list[CallerStep] = []
    for turn in range(turns - 1):
        if turn in barged:
            steps += [BargeIn(rng.randint(50, 400)), Say(_words(rng, "caller", turn, 24, 27))]
        else:
            steps.append(Say(_words(rng, "caller", turn, 6, 12)))
        if rng.random() < 0.3 or turns < 4:
            steps.append(Wait(rng.uniform(0.05, 2.0)))
    if not calm and rng.random() < 0.25:  # hangs up in the middle, perhaps before anybody has answered
        steps = [*steps[: rng.randint(0, len(steps))], Wait(rng.uniform(0.0, 1.5)), HangUp()]
    else:
        steps += [Say("caller says good bye now then"), HangUp()] if rng.random() < 0.7 else []
    return PlannedCall(
        at=0.4 * number + rng.uniform(0.0, 0.2),
        protocol="binary" if rng.random() < 0.7 else "json",
        frame_ms=rng.choice((20, 40, 60, 60, 100, 100)),  # longer than a phone's: each costs the same to simulate
        steps=tuple(steps),
    )


def _weather(rng: random.Random, calm: bool) -> Weather:
    latency = rng.choice((0.001, 0.01, 0.03, 0.06))
    slow = not calm and rng.random() < 0.1
    return Weather(
        latency_seconds=latency,
        jitter_seconds=rng.choice((0.0, 0.0, 0.005, 0.03)),
        buffer_bytes=rng.choice((32, 64, 256)) * 1024,
        chop=rng.choice((0.0, 0.0, 0.05, 0.3)),
        bytes_per_second=rng.uniform(30_000, 90_000) if slow else float("inf"),
    )


def _behaviour(rng: random.Random, calm: bool) -> Behaviour:
    knobs = Behaviour(
        post_delay_seconds=rng.choice((0.0, 0.1, 0.6, 1.5)),
        envelope=rng.choice(("bare", "message")),
        late_stopped_ms=rng.choice((20.0, 20.0, 150.0, -30.0)),
        silent_texts=rng.choice((frozenset[str](),) * 5 + (frozenset({"speech-update"}), frozenset({"transcript"}))),
        streams_silence=rng.random() < 0.2,
        odd_chunks=rng.random() < 0.6,
        chunk_ms=rng.choice((46.0, 93.0)),
        arguments_as=rng.choice(("object", "string")),
        calls_together=rng.random() < 0.3,
        redeliver=rng.random() < 0.2,
        close_before_ended=rng.random() < 0.3,
        model_ms=rng.choice((100.0, 300.0, 900.0)),
        filler=rng.choice(("", "", "one moment")),
    )
    if calm:
        return knobs
    return attrs.evolve(
        knobs,
        lose_reply=rng.random() < 0.06,
        reject_status=rng.choice((400, 401, 403, 429, 500)) if rng.random() < 0.04 else None,
        html_error=502 if rng.random() < 0.02 else None,
        drop_after_seconds=rng.uniform(0.0, 6.0) if rng.random() < 0.05 else None,
        close_code=rng.choice((1000, 1000, 1000, 1001, 1011, 3000)),
    )


def _faults(rng: random.Random, ends_at: float, calls: int) -> tuple[Fault, ...]:
    kinds = rng.choices([kind for kind, _ in _FAULTS], [weight for _, weight in _FAULTS], k=rng.choice((1, 1, 2, 3)))
    faults = []
    for kind in kinds:
        # One in three falls into the set-up of the call, where the most is under way.
        at = rng.uniform(0.0, 2.0) if rng.random() < 0.33 else rng.uniform(0.0, ends_at)
        seconds = rng.choice((0.1, 0.5, 1.5, 3.0, 7.0)) * rng.uniform(0.5, 1.5)
        faults.append(Fault(at, kind, rng.randrange(calls), seconds))
        if kind == "sigterm" and rng.random() < 0.5:
            faults.append(Fault(at + rng.uniform(0.0, 3.0), "second sigterm"))
    return tuple(sorted(faults, key=lambda fault: fault.at))
