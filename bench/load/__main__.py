"""The load process: `python -m bench.load FOLDER GRAIN_NS`. It plays the callers and Vapi, and owns the clock.

Writes the certificate authority of its TLS end to FOLDER/ca.pem, prints where it listens, then takes commands on
standard input until that is closed.
"""

import asyncio
import gc
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import trustme
import uvloop

from bench.load.calls import Exchange
from bench.load.commands import Load
from bench.load.pacer import Pacer
from bench.load.vapi_rest import open_vapi_rest
from bench.load.vapi_socket import open_vapi_sockets


def _tls(folder: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _serve(folder: Path, grain_ns: int) -> None:
    gc.disable()  # a collection would be somebody's latency; each window begins with one
    exchange = Exchange(Pacer(grain_ns))
    urls = {}
    for transport, context in (("plain", None), ("tls", _tls(folder))):
        sockets = await open_vapi_sockets(exchange, context)
        urls[transport] = await open_vapi_rest(exchange, sockets, context)
    _say({"vapi": urls})
    load = Load(exchange)
    commands = asyncio.StreamReader(limit=1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        _say(await load.run(json.loads(line)))


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
