"""One HTTP request on a connection of its own."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import h11

READ_BYTES: Final = 64 * 1024


async def request(method: str, url: str, headers: Mapping[str, str], body: bytes, take: Callable[[bytes], None]) -> int:
    """The status, once the answer is whole, or the connection has ended; `take` is called with each piece of its body.

    Raises OSError and h11.ProtocolError.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        http = h11.Connection(h11.CLIENT)
        fixed = [("Host", parts.netloc), ("Content-Length", str(len(body))), ("Connection", "close")]
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        asked = h11.Request(method=method, target=target, headers=[*fixed, *headers.items()])
        sent = (http.send(part) for part in (asked, h11.Data(data=body), h11.EndOfMessage()))
        writer.write(b"".join(part or b"" for part in sent))
        status = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(READ_BYTES))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                take(bytes(event.data))
            else:  # the end of the message, or of the connection
                return status
    finally:
        writer.close()
