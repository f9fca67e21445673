"""A name server as a cluster has one: it knows what it is told, and says of all else that there is no such name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import attrs
import trio

from simulation.background import open_background

ANSWER, NO_SUCH_NAME = 0x8180, 0x8183
IPV4 = 1


@attrs.define(eq=False)
class ClusterDns:
    """Mutable: `addresses`, by name."""

    port: int
    addresses: dict[str, list[str]] = attrs.field(factory=dict)

    def reply(self, asked: bytes) -> bytes:
        name, end = _name(asked)
        question, known = asked[12 : end + 4], self.addresses.get(name)
        found = known if known and int.from_bytes(asked[end : end + 2], "big") == IPV4 else []
        flags = NO_SUCH_NAME if known is None else ANSWER
        head = asked[:2] + b"".join(number.to_bytes(2, "big") for number in (flags, 1, len(found), 0, 0))
        record = bytes.fromhex("c00c 0001 0001 00000005 0004")  # the question's name; 5 s to live; four bytes
        return head + question + b"".join(record + IPv4Address(address).packed for address in found)


def _name(asked: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, at = [], 12
    while length := asked[at]:
        labels.append(asked[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


@asynccontextmanager
async def open_cluster_dns() -> AsyncIterator[ClusterDns]:
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    with sock:
        await sock.bind(("127.0.0.1", 0))
        dns = ClusterDns(sock.getsockname()[1])

        async def serve() -> None:
            while True:
                asked, sender = await sock.recvfrom(512)
                await sock.sendto(dns.reply(asked), sender)

        async with open_background() as nursery:
            nursery.start_soon(serve)
            yield dns
