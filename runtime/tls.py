"""TLS without a socket: bytes in, bytes out. All that it needs of the world is OpenSSL."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from runtime.errors import StartError

_PIECE_BYTES: Final = 4 * 1024  # at least: it is allocated for each read, and a frame of 20 ms is below it


@attrs.define(eq=False)
class Tls:
    """The client's side of one TLS connection. Mutable: `ready`, once the handshake is over; `ended`, once the peer has
    said that nothing more comes.

    What comes is given to `received`, what `to_send` gives is sent, from before the first byte on. Raises ssl.SSLError
    where the peer is not trusted, or not understood.
    """

    _object: ssl.SSLObject
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    ready: bool = False
    ended: bool = False

    @classmethod
    def towards(cls, hostname: str, context: ssl.SSLContext) -> "Tls":
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = cls(context.wrap_bio(incoming, outgoing, server_hostname=hostname), incoming, outgoing)
        tls._shake_hands()
        return tls

    def received(self, data: bytes) -> bytes:
        """What the peer has said with this; may be nothing."""
        self._incoming.write(data)
        if not self.ready:
            self._shake_hands()
        said = b""
        try:
            while self.ready and not self.ended:
                piece = self._object.read(max(len(data), _PIECE_BYTES))
                self.ended = not piece
                said = said + piece if said else piece
                if not (self._incoming.pending or self._object.pending()):
                    break  # a last read, to be told so, would cost as much again
        except ssl.SSLWantReadError:
            pass
        return said

    def encrypted(self, data: bytes) -> bytes:
        """What is to be sent to say this, and whatever else is due. Only once `ready`."""
        self._object.write(data)
        return self._outgoing.read()

    def to_send(self) -> bytes:
        """What TLS itself has to say: the handshake, answers to the peer's. Mostly nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def farewell(self) -> bytes:
        """That nothing more comes from us."""
        with suppress(ssl.SSLError):  # it waits for the peer's, or there is nothing to close
            self._object.unwrap()
        return self.to_send()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass


def trusting(certificates: Path | None) -> ssl.SSLContext:
    """A context for all that we connect to, Vapi's API and its WebSocket alike: the authorities in this file, or the
    system's. Raises StartError.
    """
    try:
        return ssl.create_default_context(cafile=certificates)
    except (OSError, ssl.SSLError) as exc:
        raise StartError(f"SSL_CERT_FILE={str(certificates)!r} cannot be read as certificates: {exc}") from exc
