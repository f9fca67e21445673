"""runtime/tls.py against OpenSSL's own server side, all in memory; and a line whose TLS has broken."""

import ssl
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trustme

from runtime.line import Line
from runtime.tls import Tls

AUTHORITY = trustme.CA(key_type=trustme.KeyType.RSA)


@attrs.define
class Server:
    """The other side."""

    incoming: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO)
    side: ssl.SSLObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        AUTHORITY.issue_cert("vapi").configure_cert(context)
        self.side = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def hears(self, data: bytes) -> None:
        self.incoming.write(data)

    def says(self, data: bytes) -> bytes:
        self.side.write(data)
        return self.outgoing.read()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def agreed() -> tuple[Tls, Server]:
    tls, server = Tls.towards("vapi", trusting()), Server()
    while not tls.ready:
        server.hears(tls.to_send())
        with suppress(ssl.SSLWantReadError):
            server.side.do_handshake()
        tls.received(server.outgoing.read())
    server.hears(tls.to_send())
    server.side.do_handshake()
    assert tls.received(server.outgoing.read()) == b""  # tickets, which say nothing
    return tls, server


def test_what_is_said_is_heard_both_ways_whatever_the_pieces() -> None:
    tls, server = agreed()
    server.hears(tls.encrypted(b"up") + tls.encrypted(b"stream"))
    assert (server.side.read(100), server.side.read(100)) == (b"up", b"stream")
    record = server.says(b"down") + server.says(b"x" * 40_000) + server.says(b"end")
    heard = b"".join(tls.received(record[at : at + 7]) for at in range(0, len(record), 7))
    assert heard == b"down" + b"x" * 40_000 + b"end"
    assert tls.received(server.says(b"a") + server.says(b"b")) == b"ab", "both records of one piece"


def test_goodbye_is_told_both_ways() -> None:
    tls, server = agreed()
    server.hears(tls.farewell())
    assert server.side.read(100) == b""
    tls, server = agreed()
    with pytest.raises(ssl.SSLWantReadError):
        server.side.unwrap()
    assert not tls.ended
    assert tls.received(server.outgoing.read()) == b""
    assert tls.ended


def test_server_whom_nobody_vouches_for_is_refused() -> None:
    tls, server = Tls.towards("vapi", ssl.create_default_context()), Server()
    server.hears(tls.to_send())
    with pytest.raises(ssl.SSLWantReadError):
        server.side.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.received(server.outgoing.read())
    assert tls.to_send(), "an alert says why"


class _Plug:
    """Takes all, and gives what it was given."""

    def __init__(self, gives: bytes) -> None:
        self.gives, self.taken = gives, b""

    def recv(self, _most: int) -> bytes:
        return self.gives

    def send(self, data: bytes) -> int:
        self.taken += data
        return len(data)


class _Poller:
    def watch(self, *_what: Any, **_how: Any) -> None:
        pass


def test_line_ends_and_sends_no_more_when_a_record_was_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    tls, server = agreed()
    record = bytearray(server.says(b"audio"))
    record[-1] ^= 1
    line = Line(_Plug(bytes(record)), _Poller(), tls)  # type: ignore[arg-type]
    said: list[bytes] = []

    def hear(data: bytes) -> bool:
        said.append(data)
        return True

    line.on_data = hear
    monkeypatch.setattr("trio.current_time", lambda: 0.0)
    line.read_on()
    line.on_readable()
    assert said == [b""]
    assert line.at_end
    assert "SSLError" in line.failure
    line.send(b"more")  # OpenSSL may refuse; nobody is told by an exception
    assert not line.closed
