"""Beyond audio: how long a bridge itself takes to set a call up, to end one, and to answer a tool call.

Each in alternating rounds, like the audio; a value is of one round, all of its calls or POSTs together.
"""

import json
from typing import Any, Final

import attrs
import trio

from bench.alternations import Tell, open_bridges
from bench.bridges import KINDS, Bridge, Kind, Surroundings, Transport
from bench.load_link import LoadLink
from bench.plan import Plan, rotated
from bench.spread import Latency

WEBHOOKS: Final[tuple[Kind, ...]] = ("ours", "reference")
TRANSPORT: Final[Transport] = "plain"
"""Of the calls behind the webhooks; the POSTs themselves are plain HTTP, as a tunnel delivers them."""


@attrs.frozen
class ShortCalls:
    """One round of calls that end at once, one after the other. `end_seen` is None for a bridge that never said so."""

    bridge: Kind
    transport: Transport
    setup: Latency
    closed: Latency
    end_seen: Latency | None


@attrs.frozen
class Webhook:
    """One round of POSTs to /tool. `overhead`: each less the tool's own time, by the bridge's log; else as a whole."""

    bridge: Kind
    concurrent: int
    whole: Latency
    overhead: Latency
    own_time_known: bool


async def measure_short_calls(plan: Plan, load: LoadLink, around: Surroundings, tell: Tell) -> list[ShortCalls]:
    """Raises BenchFailure."""
    rounds = []
    for transport in plan.transports:
        async with open_bridges(KINDS, transport, around) as bridges:
            for bridge in bridges:  # imports and first connections are paid here
                await load.ask(bridge, "one_by_one", url=bridge.voice_url, calls=2)
            for number in range(plan.rounds):
                for bridge in rotated(bridges, number):
                    reply = await load.ask(bridge, "one_by_one", url=bridge.voice_url, calls=plan.short_calls)
                    ended = [ms for ms in reply["end_seen_ms"] if ms is not None]
                    one = ShortCalls(
                        bridge.kind, transport, _of_ms(reply["setup_ms"]), _of_ms(reply["closed_ms"]),
                        _of_ms(ended) if ended else None,
                    )  # fmt: skip
                    rounds.append(one)
                    tell(
                        f"{number + 1}/{plan.rounds} {transport:>5} set-up     {bridge.kind:<9} "
                        f"p50 {one.setup.p50_ms:.1f} ms, Vapi's socket closed p50 {one.closed.p50_ms:.1f} ms"
                    )
    return rounds


async def measure_webhooks(plan: Plan, load: LoadLink, around: Surroundings, tell: Tell) -> list[Webhook]:
    """POSTs while as many calls as can be concurrent carry audio. Raises BenchFailure."""
    rounds = []
    async with open_bridges(WEBHOOKS, TRANSPORT, around, log_level="debug") as bridges:
        for number in range(plan.rounds):
            for bridge in rotated(bridges, number):
                await load.ask(bridge, "call", url=bridge.voice_url, calls=max(plan.concurrent))
                await trio.sleep(plan.warm_seconds)
                for concurrent, posts in zip(plan.concurrent, plan.posts, strict=True):
                    reply = await load.ask(bridge, "tools", concurrent=concurrent, posts=posts)
                    one = _webhook(bridge, concurrent, reply["posts"])
                    rounds.append(one)
                    tell(
                        f"{number + 1}/{plan.rounds} {concurrent:>3} tools at once  {bridge.kind:<9} "
                        f"p50 {one.whole.p50_ms:.1f}, p99 {one.whole.p99_ms:.1f} ms; "
                        f"less the tool {one.overhead.p50_ms:.1f}, {one.overhead.p99_ms:.1f} ms"
                    )
                await load.ask(bridge, "hang_up")
    return rounds


def _webhook(bridge: Bridge, concurrent: int, posts: list[tuple[str, float]]) -> Webhook:
    own = _own_seconds(bridge.program.log.read_text(errors="replace")) if bridge.kind == "ours" else {}
    known = all(tool_call_id in own for tool_call_id, _ in posts)
    whole = [seconds * 1e3 for _, seconds in posts]
    overhead = [(seconds - own.get(tool_call_id, 0.0)) * 1e3 for tool_call_id, seconds in posts] if known else whole
    return Webhook(bridge.kind, concurrent, _of_ms(whole), _of_ms(overhead), known)


def _own_seconds(log: str) -> dict[str, float]:
    """By toolCallId, how long our tools ran: transaction, ledger and wait for a connection, by their debug lines."""
    seconds = {}
    for line in log.splitlines():
        if '"tool-answer"' in line:
            data: dict[str, Any] = json.loads(line).get("data", {})
            seconds[str(data.get("id"))] = float(data.get("seconds", 0.0))
    return seconds


def _of_ms(values: list[float]) -> Latency:
    return Latency.of([int(ms * 1e6) for ms in values])
