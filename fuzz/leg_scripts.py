"""What a hostile caller does, and what a hostile Vapi does, on a connection of their own."""

import random
from typing import Final, Literal

import attrs

from fuzz.http_bytes import mutated
from fuzz.script import HalfClose, Leave, Pause, Script, Send, Step, pieces
from fuzz.ws_bytes import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    SIZES,
    TEXT,
    caller_text,
    fragments,
    frame,
    odd_frame,
    upgrade,
    vapi_text,
)

Side = Literal["binary", "json", "vapi"]
MASKS: Final = (bytes(4), b"\x9a\x01\x00\x7f", b"\xff\xff\xff\xff")
SPEECH: Final = b"\x00\x20\x00\xe0" * 240
MOST_BYTES: Final = 16 * 1024 * 1024


def caller_script(rng: random.Random) -> Script:
    """A caller, from his request on."""
    protocol: Side = rng.choice(("binary", "binary", "json"))
    asked = upgrade(rng, protocol)
    steps = _cut([asked], rng) if rng.random() < 0.2 else [Send(asked)]
    if rng.random() < 0.9:
        steps += [Pause(rng.choice((0.0, 0.02, 0.1, 0.1, 0.3))), *frames_script(rng, protocol)]
    return Script((*steps, *_end(rng, b"\x9a\x01\x00\x7f")), deaf=rng.random() < 0.04)


@attrs.frozen
class VapiScript:
    """What is said once the handshake's request has come: `reply` is made from it by `seed`."""

    seed: int
    behind: Script
    silent: bool
    """No reply comes at all."""


def vapi_script(rng: random.Random) -> VapiScript:
    behind = frames_script(rng, "vapi") if rng.random() < 0.95 else []
    steps = (Pause(rng.choice((0.0, 0.0, 0.05))), *behind, *_end(rng, None))
    return VapiScript(rng.getrandbits(32), Script(steps, deaf=rng.random() < 0.05), rng.random() < 0.02)


def frames_script(rng: random.Random, side: Side) -> list[Step]:
    """Frames, some sound, some odd, together or apart."""
    mask = None if side == "vapi" else rng.choice(MASKS)
    said = [_message(rng, side, mask) for _ in range(rng.choice((1, 1, 2, 3, 5, 12)))]
    if rng.random() < 0.7:
        said.insert(rng.randrange(len(said) + 1), odd_frame(rng, mask))
    if rng.random() < 0.03:
        said.insert(
            rng.randrange(len(said) + 1), frame(rng.choice((PING, PONG)), b"flood", mask) * rng.choice((100, 1_000))
        )
    if rng.random() < 0.1:
        at = rng.randrange(len(said))
        said[at] = mutated(said[at], rng)
    return _cut(said, rng)


def _message(rng: random.Random, side: Side, mask: bytes | None) -> bytes:
    what = rng.random()
    if what < 0.08:
        return frame(rng.choice((PING, PONG)), rng.randbytes(rng.choice((0, 4, 125))), mask)
    is_text = (side == "json") != (rng.random() < 0.05) if side != "vapi" else rng.random() < 0.5
    if is_text:
        payload = vapi_text(rng) if side == "vapi" else caller_text(rng)
    else:
        payload = SPEECH if rng.random() < 0.7 else bytes(rng.choice(SIZES))
    if side == "vapi" and rng.random() < 0.002:
        payload = payload[:1] + b" " * (MOST_BYTES + rng.choice((-1, 0)) - len(payload[:1]))
    first = TEXT if is_text else BINARY
    return fragments(rng, first, payload, mask) if rng.random() < 0.12 else frame(first, payload, mask)


def _cut(said: list[bytes], rng: random.Random) -> list[Step]:
    how = rng.random()
    if how < 0.4:
        return [Send(b"".join(said))]
    if how < 0.8:
        parts = said
    else:
        whole = b"".join(said)
        parts = pieces(whole, [rng.randrange(len(whole) + 1) for _ in range(rng.choice((1, 3, 20)))]) if whole else []
    steps: list[Step] = []
    for part in parts:
        steps += [Send(part), Pause(rng.choice((0.0, 0.001, 0.02, 0.02, 0.2)))]
    return steps


def _end(rng: random.Random, mask: bytes | None) -> list[Step]:
    """What is not left is stayed on, until the other side has had enough."""
    end = rng.random()
    if end < 0.15:
        return [HalfClose()]
    if end < 0.30:
        closing: list[Step] = [Send(frame(CLOSE, b"\x03\xe8", mask))]
        return [*closing, Pause(0.1), Leave()] if end < 0.2 else closing
    if end < 0.85:
        return [Pause(rng.choice((0.0, 0.05, 0.5))), Leave(reset=rng.random() < 0.3)]
    return []
