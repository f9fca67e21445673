"""What Vapi said, as frozen messages. Pure: text in, message out; nothing raises.

Live frames are bare (`{"type":…}`); Vapi's OpenAPI wraps them in `{"message":{…}}`: both are read.
Sources: Vapi's OpenAPI (ClientMessage*), recorded live frames of public clients of this transport.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec


class VapiMessage(msgspec.Struct, frozen=True):
    kind: ClassVar[str] = ""


class SpeechUpdate(VapiMessage, frozen=True):
    """`stopped` marks Vapi's side: audio of the same turn may still be on its way."""

    kind = "speech-update"
    status: str
    role: str = "assistant"
    turn: int | None = None


class StatusUpdate(VapiMessage, frozen=True, rename={"ended_reason": "endedReason"}):
    kind = "status-update"
    status: str
    ended_reason: str | None = None


class UserInterrupted(VapiMessage, frozen=True):
    """The caller barged in: what the assistant still had to say is stale."""

    kind = "user-interrupted"


class Transcript(VapiMessage, frozen=True, rename={"transcript_type": "transcriptType"}):
    kind = "transcript"
    role: str
    transcript: str
    transcript_type: str = "final"


class Hang(VapiMessage, frozen=True):
    """The assistant is delayed. Not a hang-up."""

    kind = "hang"


class ToolCallsNotice(VapiMessage, frozen=True):
    """A notification only: the webhook is what is answered."""

    kind = "tool-calls"


class ConversationUpdate(VapiMessage, frozen=True):
    kind = "conversation-update"


class Unknown(VapiMessage, frozen=True):
    """A type this runtime does not know, or a known one in a shape it does not know."""

    kind = "unknown"
    type: str


_KINDS: Final[Mapping[str, type[VapiMessage]]] = {
    cls.kind: cls
    for cls in (SpeechUpdate, StatusUpdate, UserInterrupted, Transcript, Hang, ToolCallsNotice, ConversationUpdate)
}


def parse_vapi_message(text: str) -> VapiMessage:
    try:
        message: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return Unknown("(not JSON)")
    if isinstance(message, dict):
        inner = message.get("message")
        if isinstance(inner, dict) and "type" in inner:
            message = inner
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return Unknown("(no type)")
    # A subscription may be echoed in the type: transcript[transcriptType="final"].
    kind = message["type"].partition("[")[0]
    if kind not in _KINDS:
        return Unknown(kind)
    try:
        return msgspec.convert(message, _KINDS[kind], strict=False)
    except msgspec.ValidationError:
        return Unknown(kind)
