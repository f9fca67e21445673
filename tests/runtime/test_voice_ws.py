"""runtime/voice_ws.py and runtime/errors.py: the caller's framings, and what a caller is told when it breaks them."""

import base64
import json
from collections.abc import Callable
from contextlib import suppress

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime import errors, limits
from runtime.errors import (
    BinaryInJsonMode,
    CallerError,
    CallError,
    FrameTooLong,
    HalfASample,
    MalformedMessage,
    NoAnswer,
    TextInBinaryMode,
)
from runtime.leg import Audio, Closed, Message, Text
from runtime.record import Ending
from runtime.voice_ws import BinaryFraming, JsonFraming, framing_for

FRAME = bytes(range(240)) * 4


def as_json(pcm: bytes) -> str:
    return json.dumps({"type": "audio", "audio": base64.b64encode(pcm).decode()})


def test_binary_framing_carries_bare_pcm_both_ways() -> None:
    framing = framing_for("binary")
    assert framing.decode(Audio(FRAME)) == Audio(FRAME)
    assert framing.encode(FRAME) == FRAME
    assert framing.farewell is None


def test_json_framing_carries_base64_both_ways() -> None:
    framing = framing_for("json")
    assert framing.decode(Text(as_json(FRAME))) == Audio(FRAME)
    encoded = framing.encode(FRAME)
    assert json.loads(encoded) == {"type": "audio", "audio": base64.b64encode(FRAME).decode()}
    assert framing.farewell is not None
    assert json.loads(framing.farewell) == {"type": "end"}


def test_json_framing_takes_the_end_message_as_a_hang_up() -> None:
    assert JsonFraming().decode(Text('{"type": "end"}')) == Closed(1000, "end")


def test_json_framing_ignores_fields_it_does_not_know() -> None:
    assert JsonFraming().decode(Text('{"type": "audio", "audio": "", "seq": 7}')) == Audio(b"")


def test_binary_framing_refuses_text_and_json_framing_refuses_bytes() -> None:
    with pytest.raises(TextInBinaryMode):
        BinaryFraming().decode(Text("hello"))
    with pytest.raises(BinaryInJsonMode):
        JsonFraming().decode(Audio(FRAME))


@pytest.mark.parametrize(
    ("framing", "wrap"), [(BinaryFraming(), Audio), (JsonFraming(), lambda pcm: Text(as_json(pcm)))]
)
def test_framing_refuses_half_a_sample_and_a_frame_too_long(
    framing: BinaryFraming | JsonFraming, wrap: Callable[[bytes], Message]
) -> None:
    with pytest.raises(HalfASample, match="961 bytes"):
        framing.decode(wrap(bytes(961)))
    assert framing.decode(wrap(bytes(limits.CALLER_MESSAGE_BYTES))) == Audio(bytes(limits.CALLER_MESSAGE_BYTES))
    with pytest.raises(FrameTooLong):
        framing.decode(wrap(bytes(limits.CALLER_MESSAGE_BYTES + 2)))


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "hello", "{}", '{"type":"audio"}', '{"type":"audio","audio":7}', '{"type":"video"}',
        '{"type":"audio","audio":"not base64!"}', '{"type":"audio","audio":"QQ"}', '{"type":"audio","audio":"ü"}',
        '{"type":"audio","audio":"QUJD\\n"}', '{"type":7}',
    ],
)  # fmt: skip
def test_json_framing_names_the_problem_in_one_line_when_a_message_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage) as raised:
        JsonFraming().decode(Text(text))
    assert raised.value.problem
    assert "\n" not in str(raised.value)


def test_json_framing_refuses_a_message_when_it_is_nested_too_deeply() -> None:
    with pytest.raises(MalformedMessage):
        JsonFraming().decode(Text('{"type":"audio","x":' + "[" * 50_000))


@hypothesis.given(st.text(max_size=200) | st.from_regex(r'\{"type":"(audio|end)".{0,20}\}'))
def test_json_framing_raises_nothing_but_caller_errors_when_given_any_text(text: str) -> None:
    with suppress(CallerError):
        assert isinstance(JsonFraming().decode(Text(text)), Audio | Closed)


@hypothesis.given(st.binary(max_size=500).filter(lambda pcm: len(pcm) % 2 == 0))
def test_json_framing_gives_back_what_it_encoded(pcm: bytes) -> None:
    assert JsonFraming().decode(Text(JsonFraming().encode(pcm))) == Audio(pcm)


CAUSES = ("tunnel_busy", "tunnel_auth", "tunnel_timeout", "vapi_rejected", "vapi_down", "vapi_no_slot")
KNOWN: list[tuple[CallError, int, str]] = [
    (TextInBinaryMode(), 1003, "text_in_binary_mode"),
    (BinaryInJsonMode(), 1003, "binary_in_json_mode"),
    (HalfASample(961), 1007, "half_a_sample"),
    (MalformedMessage("no type"), 1007, "malformed_message"),
    (FrameTooLong(70_000), 1009, "frame_too_long"),
    (errors.CallerStalled(), 1011, "caller_stalled"),
    (errors.VapiLost("it broke"), 1011, "vapi_lost"),
    (errors.OwnError("a mistake"), 1011, "internal_error"),
    *((NoAnswer(cause, "why"), 1011, f"callee_no_answer: {cause}") for cause in CAUSES),
]


@pytest.mark.parametrize(("error", "code", "reason"), KNOWN)
def test_caller_is_told_the_agreed_code_and_word_when_a_call_fails(error: CallError, code: int, reason: str) -> None:
    ending = Ending.of(error, "runtime")
    assert (ending.code, ending.reason) == (code, reason)
    assert len(ending.reason.encode()) <= 123, "a close frame holds no more"
    assert ending.detail == str(error)
    assert ending.detail
    assert "\n" not in ending.detail


@pytest.mark.parametrize(
    "text", ['{"type":"aaa-said-by-a-caller"}', '{"type":"audio","audio":"said-by-a-caller!"}', '"said-by-a-caller"']
)
def test_callers_words_are_not_in_the_error_that_is_logged(text: str) -> None:
    with pytest.raises(MalformedMessage) as raised:
        framing_for("json").decode(Text(text))
    assert "said-by-a-caller" not in str(raised.value)
