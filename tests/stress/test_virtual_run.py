"""Runs in memory: the product's own doors between the two sides of the load, sound and with a fault planted."""

from collections.abc import Callable

import attrs
import pytest

from actors.silence_padder import SilencePadder
from actors.vapi_socket_writer import VapiSocketWriter
from db.memory import MemoryDatabase
from runtime.leg import Audio, Passing
from stress.plan import Plan
from stress.sample import Result
from stress.verdict import complaints, first_full
from stress.virtual import run_virtually

PLAN = Plan(calls=2, seconds=2.0, per_second=10.0)
WRONG_FRAME = 40
"""The frame of each call that a fault befalls."""
ACTORS = {"uplink": VapiSocketWriter, "downlink": SilencePadder}
Fault = Callable[[list[bytes], bytes], list[bytes]]
"""Of what came before the wrong frame and is held back, and that frame: what is passed on."""


def run(plan: Plan) -> Result:
    return run_virtually(plan, lambda _sample: None)


def drop(_frame: bytes, _next: bytes) -> list[bytes]:
    return [_next]


def swap(frame: bytes, following: bytes) -> list[bytes]:
    return [following, frame]


def double(frame: bytes, following: bytes) -> list[bytes]:
    return [frame, frame, following]


def cut(frame: bytes, following: bytes) -> list[bytes]:
    return [frame[:-20], following]
