"""A Vapi that hears everything and says nothing; it answers what a WebSocket must answer."""

import attrs
import trio

from fuzz.ws_bytes import CLOSE, PING, PONG, frame, masked

READ_BYTES = 64 * 1024


@attrs.define(eq=False)
class QuietVapi:
    """The server's end, behind the handshake. Mutable: what was read and not understood yet."""

    stream: trio.SocketStream
    _data: bytes = b""

    async def run(self) -> None:
        """Until the product closes. Raises what the stream raises."""
        while data := await self.stream.receive_some(READ_BYTES):
            self._data += data
            while (said := self._next()) is not None:
                first, payload = said
                if first == PING:
                    await self.stream.send_all(frame(PONG, payload, None))
                elif first == CLOSE:
                    await self.stream.send_all(frame(CLOSE, payload, None))
                    return

    def _next(self) -> tuple[int, bytes] | None:
        """(first byte, payload) of the next whole frame; of audio and texts without the payload."""
        data = self._data
        if len(data) < 6:
            return None
        size, body = data[1] & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            if len(data) < body + width:
                return None
            size, body = int.from_bytes(data[body : body + width]), body + width
        end = body + 4 + size
        if len(data) < end:
            return None
        self._data = data[end:]
        control = data[0] >= CLOSE
        return data[0], masked(data[body + 4 : end], data[body : body + 4]) if control else b""
