"""Is what one side heard, bit for bit, what the other side said?

Uplink (:func:`heard_is_what_was_said`): the cloud must have heard the caller's 20 ms frames in order, from the one that
was next when the cloud's socket opened, up to where the call ended. Whole zero frames may be added (the bridge fills
the line while the caller is silent on the wire); nothing may be lost, moved or changed.

Downlink (:func:`received_is_what_was_spoken`): the caller must have received the cloud's samples in order. Zero samples
may be added anywhere a sample ends (tails, a paced sender's fill); nothing may be lost, moved or changed.

Both read greedily: what is equal is matched, a zero that is not next is an addition, anything else is the mismatch.
Greed is exact here: matching less now cannot save a later mismatch, as only zeros may be skipped and only in ``heard``.
"""

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from simulation.pcm import BYTES_PER_SAMPLE, FRAME_BYTES, SAMPLE_RATE_HZ, SILENT_FRAME

SEARCH_SAMPLES = 4_096
LATE_SAMPLES = 9_600
NEAR_FRAMES = 25
FAR_FRAMES = 500


@attrs.frozen
class Comparison:
    """The result. Positions are bytes; ``said`` is the original, ``heard`` what arrived.

    ``matched_bytes`` of ``said`` from ``offset_bytes`` on were heard; ``missing_bytes`` at its end were not (in flight
    when the call ended); ``dropped_bytes`` were cut by interruptions; ``inserted_bytes`` of silence were added, in
    ``insertions`` of (position in heard, length). ``problem`` is empty when they agree; otherwise ``mismatch_at`` is
    the first position in ``heard`` that does not.
    """

    offset_bytes: int
    matched_bytes: int
    missing_bytes: int
    inserted_bytes: int
    insertions: tuple[tuple[int, int], ...] = ()
    mismatch_at: int | None = None
    problem: str = ""
    dropped_bytes: int = 0

    @property
    def same(self) -> bool:
        """They agree."""
        return not self.problem

    @property
    def inserted_frames(self) -> int:
        """Added silence in whole 20 ms frames."""
        return self.inserted_bytes // FRAME_BYTES

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        return (
            f"{self.matched_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ:.2f} s bit for bit, "
            f"{self.inserted_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ:.2f} s of silence added, "
            f"{self.missing_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ:.2f} s in flight at the end"
        )


def heard_is_what_was_said(
    sent: bytes, heard: bytes, *, offset_frames: int | None = None, max_offset_frames: int | None = None
) -> Comparison:
    """Compare the uplink, frame by frame.

    ``offset_frames``: frames sent before the cloud's socket was open, if known. If not, the smallest offset up to
    ``max_offset_frames`` (default: the silence before the caller's first word) at which everything agrees; if there is
    none, the comparison that got furthest.
    """
    said = [bytes(sent[start : start + FRAME_BYTES]) for start in range(0, len(sent), FRAME_BYTES)]
    got = [bytes(heard[start : start + FRAME_BYTES]) for start in range(0, len(heard), FRAME_BYTES)]
    if offset_frames is not None:
        return _compare_frames(said, got, offset_frames)
    if max_offset_frames is None:
        max_offset_frames = next((index for index, frame in enumerate(said) if any(frame)), len(said))
    best: Comparison | None = None
    for offset in range(min(max_offset_frames, len(said)) + 1):
        found = _compare_frames(said, got, offset)
        if found.same:
            return found
        if best is None or (found.mismatch_at or 0) > (best.mismatch_at or 0):
            best = found
    return best or _compare_frames(said, got, 0)


def _compare_frames(said: list[bytes], got: list[bytes], offset: int) -> Comparison:
    at = offset
    insertions: list[tuple[int, int]] = []
    mismatch: int | None = None
    for index, frame in enumerate(got):
        whole = len(frame) == FRAME_BYTES
        if at < len(said) and (said[at] == frame or (not whole and said[at].startswith(frame))):
            at += 1
        elif frame == SILENT_FRAME:
            _add(insertions, index * FRAME_BYTES, FRAME_BYTES)
        else:
            mismatch = index * FRAME_BYTES
            break
    return Comparison(
        offset_bytes=offset * FRAME_BYTES,
        matched_bytes=(at - offset) * FRAME_BYTES,
        missing_bytes=max(0, len(said) - at) * FRAME_BYTES,
        inserted_bytes=sum(length for _, length in insertions),
        insertions=tuple(insertions),
        mismatch_at=mismatch,
        problem="" if mismatch is None else _explain(said, got, at, mismatch // FRAME_BYTES),
    )


def _explain(said: list[bytes], got: list[bytes], at: int, index: int) -> str:
    """What the first frame that does not fit most probably is."""
    where = f"frame {index} heard ({index * 0.02:.2f} s) is not frame {at} sent"
    if at >= len(said):
        return f"{where}: more was heard than was sent"
    if got[index] in said[max(0, at - NEAR_FRAMES) : at]:
        return f"{where}: it was heard before"
    if got[index] in said[at + 1 : at + FAR_FRAMES]:
        lost = said.index(got[index], at + 1) - at
        return f"{where}: {lost} frame(s) before it were lost or come later"
    differing = sum(a != b for a, b in zip(said[at], got[index], strict=False))
    return f"{where}: {differing} of its bytes differ"


def received_is_what_was_spoken(spoken: bytes, received: bytes, *, resumptions: Sequence[int] = ()) -> Comparison:
    """Compare the downlink, sample by sample, from the very first.

    ``resumptions``: positions in ``spoken`` where speech began anew after an interruption; what was not received of the
    speech before it was dropped on purpose and counts as ``dropped_bytes``. Its very end may have come behind the drop.
    An odd number of bytes in ``received`` is half a sample at its end, and is a mismatch: it can never be played.
    """
    original, arrived = _samples(spoken), _samples(received)
    insertions: list[tuple[int, int]] = []
    at = index = dropped = 0
    mismatch: int | None = len(received) - 1 if len(received) % BYTES_PER_SAMPLE else None
    while index < len(arrived):
        same = _common_prefix(original[at:], arrived[index:])
        at, index = at + same, index + same
        if index == len(arrived):
            break
        zeros = _leading_zeros(arrived[index:])
        resumed = next((start // BYTES_PER_SAMPLE for start in resumptions if start // BYTES_PER_SAMPLE > at), None)
        if not zeros and resumed is not None:
            late = _late_remainder(original[at:resumed], arrived[index:], original[resumed:])
            # The zeros a text may begin with were taken for additions.
            resumed += _leading_zeros(original[resumed:])
            dropped, at, index = dropped + resumed - at - late, resumed, index + late
            continue
        if not zeros:
            mismatch = index * BYTES_PER_SAMPLE
            break
        _add(insertions, index * BYTES_PER_SAMPLE, zeros * BYTES_PER_SAMPLE)
        index += zeros
    return Comparison(
        offset_bytes=0,
        matched_bytes=(at - dropped) * BYTES_PER_SAMPLE,
        dropped_bytes=dropped * BYTES_PER_SAMPLE,
        missing_bytes=(len(original) - at) * BYTES_PER_SAMPLE,
        inserted_bytes=sum(length for _, length in insertions),
        insertions=tuple(insertions),
        mismatch_at=mismatch,
        problem="" if mismatch is None else _explain_sample(original, arrived, at, mismatch),
    )


def _late_remainder(
    cut: npt.NDArray[np.int16], arrived: npt.NDArray[np.int16], following: npt.NDArray[np.int16]
) -> int:
    """Samples of the end of a ``cut`` stretch that had been under way, and came behind what was dropped of it.

    At the least the one sample whose first byte was there before the interruption.
    """
    expected = following[_leading_zeros(following) :][:1]
    cut = np.trim_zeros(cut, "b")  # silence that was streamed behind it
    for late in range(1, min(len(cut), len(arrived), LATE_SAMPLES) + 1):
        if arrived[late - 1] != cut[-1] or not np.array_equal(arrived[:late], cut[-late:]):
            continue
        if late == len(arrived) or not arrived[late] or (len(expected) and arrived[late] == expected[0]):
            return late
    return 0


def _explain_sample(original: npt.NDArray[np.int16], arrived: npt.NDArray[np.int16], at: int, mismatch: int) -> str:
    seconds = mismatch / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ
    if mismatch // BYTES_PER_SAMPLE >= len(arrived):
        return "half a sample at the end of what was received"
    got = arrived[mismatch // BYTES_PER_SAMPLE]
    wanted = original[at] if at < len(original) else "nothing more"
    return f"sample {mismatch // BYTES_PER_SAMPLE} received ({seconds:.3f} s) is {got}, spoken sample {at} is {wanted}"


def _samples(pcm: bytes) -> npt.NDArray[np.int16]:
    whole = len(pcm) - len(pcm) % BYTES_PER_SAMPLE
    return np.frombuffer(bytes(pcm[:whole]), dtype="<i2").astype(np.int16)


def _common_prefix(one: npt.NDArray[np.int16], other: npt.NDArray[np.int16]) -> int:
    length = min(len(one), len(other))
    for start in range(0, length, SEARCH_SAMPLES):
        stop = min(start + SEARCH_SAMPLES, length)
        differs = np.flatnonzero(one[start:stop] != other[start:stop])
        if len(differs):
            return start + int(differs[0])
    return length


def _leading_zeros(samples: npt.NDArray[np.int16]) -> int:
    for start in range(0, len(samples), SEARCH_SAMPLES):
        found = np.flatnonzero(samples[start : start + SEARCH_SAMPLES])
        if len(found):
            return start + int(found[0])
    return len(samples)


def _add(insertions: list[tuple[int, int]], position: int, length: int) -> None:
    """Note an addition, joined to the one before when it follows directly."""
    if insertions and sum(insertions[-1]) == position:
        insertions[-1] = (insertions[-1][0], insertions[-1][1] + length)
    else:
        insertions.append((position, length))
