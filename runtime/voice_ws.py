"""The voice_ws framings, pure: what a caller's message means, and what ours look like.

Source: the Veris documentation of the voice_ws channel. Binary: bare PCM16. Json: text messages
`{"type":"audio","audio":"<base64>"}` and `{"type":"end"}`; either side may close the socket instead.
"""

import binascii
from typing import Literal, Protocol

import msgspec

from runtime import limits
from runtime.errors import BinaryInJsonMode, FrameTooLong, HalfASample, MalformedMessage, TextInBinaryMode
from runtime.leg import Audio, Closed, Message, Passing, Text

VoiceProtocol = Literal["binary", "json"]


class Framing(Protocol):
    farewell: str | None
    """A text to send before we close."""

    def decode(self, message: Message) -> Passing | Closed:
        """Raises CallerError where the message breaks the protocol."""

    def encode(self, pcm: bytes) -> bytes | str: ...


class BinaryFraming:
    farewell: str | None = None

    def decode(self, message: Message) -> Passing | Closed:
        if isinstance(message, Text):
            raise TextInBinaryMode
        if message.size_bytes % limits.SAMPLE_BYTES or message.size_bytes > limits.CALLER_MESSAGE_BYTES:
            return _checked(message)  # which says what is wrong; it is not asked for every frame
        return message

    def encode(self, pcm: bytes) -> bytes | str:
        return pcm


class JsonFraming:
    farewell: str | None = '{"type":"end"}'

    def decode(self, message: Message) -> Passing | Closed:
        if not isinstance(message, Text):
            raise BinaryInJsonMode
        try:
            parsed = _decoder.decode(message.data)
            if isinstance(parsed, _End):
                return Closed(1000, "end")
            return _checked(Audio(binascii.a2b_base64(parsed.audio, strict_mode=True)))
        except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as exc:
            # Not what the parser says: it quotes the message, and a caller would write our log.
            raise MalformedMessage('neither {"type":"audio","audio":"<base64>"} nor {"type":"end"}') from exc

    def encode(self, pcm: bytes) -> bytes | str:
        return '{"type":"audio","audio":"' + binascii.b2a_base64(pcm, newline=False).decode("ascii") + '"}'


class _AudioMessage(msgspec.Struct, tag_field="type", tag="audio"):
    audio: str


class _End(msgspec.Struct, tag_field="type", tag="end"):
    pass


_decoder: msgspec.json.Decoder[_AudioMessage | _End] = msgspec.json.Decoder(_AudioMessage | _End)


def _checked(audio: Passing) -> Passing:
    size_bytes = audio.size_bytes
    if size_bytes > limits.CALLER_MESSAGE_BYTES:
        raise FrameTooLong(size_bytes)
    if size_bytes % limits.SAMPLE_BYTES:
        raise HalfASample(size_bytes)
    return audio


def framing_for(protocol: VoiceProtocol) -> Framing:
    return JsonFraming() if protocol == "json" else BinaryFraming()
