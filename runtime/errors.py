"""What can go wrong with a call, by who must mend it: CallerError, VendorError, OwnError.

Each error knows the WebSocket close code and the fixed word that the caller is told. The text of an
error is for an engineer: one line, no secret, and what to do where that is known.
"""

from typing import ClassVar

import attrs


class CallError(Exception):
    """A call cannot go on. `code` and `word` are what the caller's close frame says."""

    code: ClassVar[int] = 1011
    word: ClassVar[str] = "internal_error"

    @property
    def close_reason(self) -> str:
        return self.word


class CallerError(CallError):
    """The caller broke the voice_ws contract, or is gone."""


class TextInBinaryMode(CallerError):
    code = 1003
    word = "text_in_binary_mode"

    def __str__(self) -> str:
        return "the caller sent a text frame in binary mode: connect with ?protocol=json, or send bare PCM16"


class BinaryInJsonMode(CallerError):
    code = 1003
    word = "binary_in_json_mode"

    def __str__(self) -> str:
        return 'the caller sent a binary frame in json mode: send {"type":"audio","audio":"<base64>"}'


@attrs.define
class HalfASample(CallerError):
    code = 1007
    word = "half_a_sample"
    size_bytes: int

    def __str__(self) -> str:
        return f"the caller sent {self.size_bytes} bytes, not a whole number of 16-bit samples"


@attrs.define
class FrameTooLong(CallerError):
    code = 1009
    word = "frame_too_long"
    size_bytes: int

    def __str__(self) -> str:
        return f"the caller sent {self.size_bytes} bytes of audio in one message; send frames of 20 ms (960 bytes)"


@attrs.define
class MalformedMessage(CallerError):
    code = 1007
    word = "malformed_message"
    problem: str

    def __str__(self) -> str:
        return f"the caller sent a json message that is not of the voice_ws protocol: {self.problem}"


class CallerStalled(CallerError):
    code = 1011
    word = "caller_stalled"

    def __str__(self) -> str:
        return "the caller has stopped reading, or has vanished"


class VendorError(CallError):
    """Vapi, or the way to it, failed."""


@attrs.define
class NoAnswer(VendorError):
    """The call could not be set up. The caller sees `callee_no_answer: <cause>`."""

    cause: str
    """One of vapi_rejected, vapi_down, vapi_no_slot; or, of the way to our webhook: tunnel_busy (another agent has the
    account or the address), tunnel_auth (refused), tunnel_quota (used up, or not in the plan), tunnel_timeout (not
    ready, or not reachable, in time), tunnel_lost (it ended, or leads elsewhere)."""
    line: str

    word = "callee_no_answer"

    @property
    def close_reason(self) -> str:
        return f"{self.word}: {self.cause}"

    def __str__(self) -> str:
        return self.line


@attrs.define
class ToolWebhookLost(VendorError):
    """The address at which Vapi calls this call's tools leads here no more."""

    word = "tool_webhook_lost"
    line: str

    def __str__(self) -> str:
        return self.line


@attrs.define
class VapiLost(VendorError):
    """Vapi's socket broke, stalled or fell silent without an end of the call."""

    word = "vapi_lost"
    line: str

    def __str__(self) -> str:
        return self.line


class OwnError(CallError):
    """Ours to mend."""


class SettingsError(OwnError):
    """A setting is wrong. The text is one line that names the variable and what to do. Exit code 2."""


class StoppedAtStart(OwnError):
    """Told to stop before the doors were open. Nothing is wrong."""


class StartError(OwnError):
    """A door cannot open: a port taken, a file missing. The text is one line. Exit code 2."""
