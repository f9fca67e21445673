"""A pipe in any weather: what goes in comes out, in order, never early, and never more than the bound is under way."""

import random
from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.pipe import SEGMENT_BYTES, Pipe, Weather

WEATHERS = st.builds(
    Weather,
    latency_seconds=st.sampled_from([0.0, 0.010, 0.3]),
    jitter_seconds=st.sampled_from([0.0, 0.005, 1.0]),
    buffer_bytes=st.integers(1, 5_000),
    bytes_per_second=st.sampled_from([inf, 1_000.0, 50_000.0]),
    chop=st.sampled_from([0.0, 0.5, 1.0]),
)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 3_000)),
        st.tuples(st.just("receive"), st.integers(1, 3_000)),
        st.tuples(st.just("wait"), st.floats(0, 2)),
        st.tuples(st.just("hold"), st.floats(0, 2)),
    ),
    max_size=60,
)


@attrs.define
class Driver:
    """Sends and receives on a pipe at its own clock, and checks every byte that it sees."""

    pipe: Pipe
    send_buffer: int | None = None
    now: float = 0.0
    content: random.Random = attrs.field(factory=lambda: random.Random(1))
    sent: bytearray = attrs.field(factory=bytearray)
    sent_at: list[float] = attrs.field(factory=list)
    received: bytearray = attrs.field(factory=bytearray)

    @property
    def bound(self) -> int:
        return min(self.pipe.weather.buffer_bytes, self.send_buffer or self.pipe.weather.buffer_bytes)

    def send(self, count: int) -> None:
        data = self.content.randbytes(count)
        taken = self.pipe.send(data, self.now, self.send_buffer)
        assert 0 <= taken <= count
        self.sent += data[:taken]
        self.sent_at += [self.now] * taken
        assert len(self.sent) - len(self.received) <= self.bound

    def receive(self, most: int) -> bytes | None:
        readable = self.pipe.readable_at() <= self.now
        data = self.pipe.receive(most, self.now)
        assert (data is not None) == readable
        if data:
            position = len(self.received)
            self.received += data
            assert len(data) <= most
            assert self.sent[position : position + len(data)] == data
            assert self.now >= self.sent_at[len(self.received) - 1] + self.pipe.weather.latency_seconds
            assert self.now >= len(self.received) / self.pipe.weather.bytes_per_second - 1e-9
        return data

    def do(self, move: str, amount: float) -> None:
        if move == "send":
            self.send(int(amount))
        elif move == "receive":
            self.receive(int(amount))
        elif move == "wait":
            self.now += amount
        else:
            self.pipe.held_until = self.now + amount


@given(WEATHERS, MOVES, st.none() | st.integers(1, 3_000), st.integers())
def test_bytes_out_are_bytes_in_whatever_the_weather(
    weather: Weather, moves: list[tuple[str, float]], send_buffer: int | None, seed: int
) -> None:
    driver = Driver(Pipe(weather, random.Random(seed)), send_buffer)
    for move, amount in moves:
        driver.do(move, amount)
    driver.pipe.finish(driver.now)
    while True:
        driver.now = max(driver.now, driver.pipe.readable_at())
        if driver.receive(1_000) == b"":
            break
    assert driver.received == driver.sent
    assert driver.pipe.sent_bytes == driver.pipe.read_bytes == len(driver.sent)
    assert driver.pipe.peak_bytes <= driver.bound
    assert driver.receive(1) == b""
    assert driver.pipe.room(driver.now + weather.latency_seconds, send_buffer) == driver.bound


def test_room_comes_back_one_latency_after_the_reader_made_it() -> None:
    pipe = Pipe(Weather(latency_seconds=0.1, buffer_bytes=10), random.Random(0))
    assert pipe.send(b"twelve bytes", 0.0) == 10
    assert pipe.send(b"es", 0.0) == 0
    assert pipe.room_at() == inf
    assert pipe.receive(6, 0.1) == b"twelve"
    assert pipe.room_at() == 0.2
    assert pipe.send(b"es", 0.19) == 0
    assert pipe.send(b"es and more", 0.2) == 6


def test_room_comes_back_in_pieces_worth_it_when_a_full_pipe_is_read_in_crumbs() -> None:
    pipe = Pipe(Weather(latency_seconds=0.1, buffer_bytes=10_000), random.Random(0))
    assert pipe.send(bytes(20_000), 0.0) == 10_000
    sends = 0
    for crumb in range(100):
        now = 1.0 + crumb
        assert pipe.receive(100, now) == bytes(100)
        sends += pipe.send(bytes(20_000), now + 0.5) > 0
    assert sends == 10_000 // 1_500


def test_line_drains_at_its_speed_from_the_first_byte_on() -> None:
    pipe = Pipe(Weather(latency_seconds=0.5, bytes_per_second=1_000.0), random.Random(0))
    assert pipe.send(bytes(10_000), 0.0) == 10_000
    assert pipe.readable_at() == pytest.approx(SEGMENT_BYTES / 1_000 + 0.5)
    assert len(pipe.receive(10_000, 5.5) or b"") == 5_000 // SEGMENT_BYTES * SEGMENT_BYTES
    assert len(pipe.receive(10_000, 10.5) or b"") == 10_000 - 5_000 // SEGMENT_BYTES * SEGMENT_BYTES
    # An idle line saves nothing up: speed is counted from the next byte.
    assert pipe.send(bytes(1_000), 20.0) == 1_000
    assert pipe.readable_at() == pytest.approx(21.5)


@given(st.integers(0, 4_999), st.lists(st.integers(1, 2_000), min_size=5, max_size=20), st.floats(0, 1), st.integers())
def test_corruption_turns_exactly_one_bit(position: int, sizes: list[int], chop: float, seed: int) -> None:
    pipe = Pipe(Weather(latency_seconds=0.0, chop=chop), random.Random(seed), corrupt_at=position)
    sent, received = random.Random(seed).randbytes(5_000), bytearray()
    done = 0
    while done < len(sent):
        done += pipe.send(sent[done : done + sizes[done % len(sizes)]], 0.0)
        received += pipe.receive(10_000, 0.0) or b""
    while len(received) < len(sent):
        received += pipe.receive(10_000, 0.0) or b""
    turned = [(at, one ^ other) for at, (one, other) in enumerate(zip(sent, received, strict=True)) if one != other]
    assert turned == [(position, 0x40)]


def test_nothing_arrives_when_the_pipe_is_held_its_end_included() -> None:
    pipe = Pipe(Weather(latency_seconds=0.1), random.Random(0))
    pipe.send(b"x", 0.0)
    pipe.finish(0.0)
    pipe.held_until = 5.0
    assert pipe.receive(1, 4.9) is None
    assert pipe.readable_at() == 5.0
    assert pipe.receive(9, 5.0) == b"x"
    assert pipe.receive(9, 5.0) == b""


def test_reader_that_closes_drops_what_is_under_way() -> None:
    pipe = Pipe(Weather(latency_seconds=0.1), random.Random(0))
    assert pipe.discard() is None
    pipe.send(b"x", 1.0)
    pipe.send(b"y", 2.0)
    assert pipe.discard() == 1.1
    assert pipe.discard() is None
    assert pipe.receive(9, 9.0) is None
