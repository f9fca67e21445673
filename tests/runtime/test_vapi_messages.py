"""runtime/vapi_messages.py: every message of Vapi's socket, in the shapes that are documented or were recorded."""

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime.vapi_messages import (
    ConversationUpdate,
    Hang,
    SpeechUpdate,
    StatusUpdate,
    ToolCallsNotice,
    Transcript,
    Unknown,
    UserInterrupted,
    VapiMessage,
    parse_vapi_message,
)

KNOWN: list[tuple[dict[str, Any], VapiMessage]] = [
    ({"type": "speech-update", "status": "started", "role": "assistant", "turn": 0}, SpeechUpdate("started", turn=0)),
    ({"type": "speech-update", "status": "stopped", "role": "user"}, SpeechUpdate("stopped", "user")),
    ({"type": "status-update", "status": "in-progress"}, StatusUpdate("in-progress")),
    (
        {"type": "status-update", "status": "ended", "endedReason": "silence-timed-out"},
        StatusUpdate("ended", "silence-timed-out"),
    ),
    ({"type": "user-interrupted"}, UserInterrupted()),
    ({"type": "user-interrupted", "turnId": "t-1"}, UserInterrupted()),
    (
        {"type": "transcript", "role": "user", "transcriptType": "partial", "transcript": "hel"},
        Transcript("user", "hel", "partial"),
    ),
    (
        {"type": 'transcript[transcriptType="final"]', "role": "assistant", "transcript": "Hello."},
        Transcript("assistant", "Hello.", "final"),
    ),
    ({"type": "hang"}, Hang()),
    ({"type": "tool-calls", "toolCallList": [{"id": "x"}]}, ToolCallsNotice()),
    ({"type": "conversation-update", "conversation": [{"role": "user"}]}, ConversationUpdate()),
    ({"type": "conversation-update", "messages": []}, ConversationUpdate()),
]


@pytest.mark.parametrize(("sent", "read"), KNOWN)
def test_message_is_read_when_bare_and_when_enveloped(sent: dict[str, Any], read: VapiMessage) -> None:
    assert parse_vapi_message(json.dumps(sent)) == read
    assert parse_vapi_message(json.dumps({"message": sent})) == read


def test_bare_message_is_not_taken_for_an_envelope_when_it_holds_a_text_message() -> None:
    assert parse_vapi_message('{"type":"hang","message":"one moment"}') == Hang()
    assert parse_vapi_message('{"type":"hang","message":{"role":"system"}}') == Hang()


@pytest.mark.parametrize("extra", ["call", "assistant", "timestamp", "confidence"])
def test_message_is_read_when_it_carries_fields_nobody_asked_for(extra: str) -> None:
    sent = {"type": "speech-update", "status": "stopped", "role": "assistant", extra: {"id": "x"}}
    assert parse_vapi_message(json.dumps(sent)) == SpeechUpdate("stopped")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "(not JSON)"), ("hello", "(not JSON)"), ("[]", "(no type)"), ("7", "(no type)"), ("{}", "(no type)"),
        ('{"type":7}', "(no type)"), ('{"type":null}', "(no type)"), ('{"message":{"role":"x"}}', "(no type)"),
        ('{"type":"model-output","output":"Hi"}', "model-output"), ('{"type":""}', ""),
        ('{"type":"speech-update"}', "speech-update"), ('{"type":"speech-update","status":["x"]}', "speech-update"),
        ('{"type":"transcript","role":"user"}', "transcript"), ('{"type":"status-update"}', "status-update"),
    ],
)  # fmt: skip
def test_message_is_unknown_when_its_type_or_shape_is(text: str, kind: str) -> None:
    assert parse_vapi_message(text) == Unknown(kind)


def test_message_is_unknown_when_it_is_nested_too_deeply() -> None:
    assert parse_vapi_message('{"type":"model-output","output":' + "[" * 50_000) == Unknown("(not JSON)")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(sorted({str(sent["type"]) for sent, _ in KNOWN})),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8) | st.sampled_from(["type", "message", "status", "role"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@hypothesis.given(JSON)
def test_parser_raises_nothing_when_given_any_json(anything: Any) -> None:
    assert isinstance(parse_vapi_message(json.dumps(anything)), VapiMessage)


@hypothesis.given(st.text(max_size=100))
def test_parser_raises_nothing_when_given_any_text(text: str) -> None:
    assert isinstance(parse_vapi_message(text), VapiMessage)
