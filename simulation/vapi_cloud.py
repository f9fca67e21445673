"""A Vapi that runs here: REST, call sockets and tool webhooks, with no key, no tunnel and no bill.

Two listeners, because the real service uses two hosts: REST on ``base_url``, call sockets somewhere else that only
``transport.websocketCallUrl`` knows. Every connection is served inside a barrier.
"""

import logging
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from simulation.background import open_background
from simulation.behaviour import Behaviour
from simulation.ear import Ear
from simulation.events import OnEvent
from simulation.http_server import serve_http_connection
from simulation.network import Network, TrioSockets, port_of
from simulation.scenario import AgentTurn
from simulation.speech import Tones, Voice
from simulation.vapi_account import VapiCloud
from simulation.vapi_call import SimulatedCall
from simulation.vapi_reports import report_end
from simulation.vapi_rest import Rest
from simulation.vapi_socket import CallSocket, Casting
from simulation.webhook_client import WebhookClient
from simulation.websockets import read_handshake

NEVER_CONNECTED = "call.in-progress.error-vapifault-transport-never-connected"

__all__ = ["SimulatedCall", "VapiCloud", "open_vapi_cloud"]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_vapi_cloud(
    *,
    network: Network | None = None,
    slots: int = 10,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    api_key: str = "simulated-key",
    agent: Sequence[AgentTurn] = (),
    behaviour: Behaviour | None = None,
    speech: Voice | None = None,
    caller_lines: Sequence[str] = (),
    ear: Ear | None = None,
    rng: random.Random | None = None,
    on_event: OnEvent | None = None,
) -> AsyncIterator[VapiCloud]:
    """Run a cloud for the length of the block; everything in it is cancelled at the end.

    ``agent``: the scripted assistant's turns, the greeting first; empty: it says the request's ``firstMessage`` and
    then listens. ``speech``: its voice (default: tones). ``caller_lines``: what its transcriber "hears", turn by turn;
    with an ``ear`` it hears which of them is said, and answers that.
    ``rng``: ids, chunk sizes and jitter. ``network``: where it listens and dials webhooks; None is Trio's
    sockets. ``tls``: a server's context; both listeners then speak TLS.

    :raises OSError: the port is taken.
    """
    net = network or TrioSockets()
    rest_listeners = await net.listen(host, port)
    audio_listeners = await net.listen(host, 0)
    cloud = VapiCloud(
        host=host,
        port=port_of(rest_listeners),
        transport_port=port_of(audio_listeners),
        api_key=api_key,
        slots=slots,
        behaviour=behaviour or Behaviour(),
        agent=agent,
        voice=speech or Tones(),
        rng=rng or random.Random(),
        caller_lines=caller_lines,
        ear=ear,
        on_event=on_event,
        secure=tls is not None,
    )
    async with open_background() as nursery:
        rest = Rest(cloud, lambda call: nursery.start_soon(_expire, cloud, call))
        serve_rest = partial(serve_http_connection, handler=rest.answer)
        serve_audio = partial(_serve_socket, cloud, WebhookClient(net))
        await nursery.start(partial(trio.serve_listeners, serve_rest, _secured(rest_listeners, tls)))
        await nursery.start(partial(trio.serve_listeners, serve_audio, _secured(audio_listeners, tls)))
        yield cloud


def _secured(listeners: Sequence[trio.SocketListener], tls: ssl.SSLContext | None) -> list[trio.abc.Listener[Any]]:
    if tls is None:
        return list(listeners)
    return [trio.SSLListener(listener, tls, https_compatible=True) for listener in listeners]


async def _expire(cloud: VapiCloud, call: SimulatedCall) -> None:
    """End a call that nobody dials; without this its slot would be lost for ever."""
    await trio.sleep(cloud.behaviour.dial_within_seconds)
    if not call.dialled:
        call.end(NEVER_CONNECTED, by="vapi")
        call.over.set()


async def _serve_socket(cloud: VapiCloud, webhooks: WebhookClient, stream: trio.abc.Stream) -> None:
    """One connection to the transport host, from its handshake to its end; raises nothing but Cancelled."""
    try:
        async with open_background() as nursery:
            request = await read_handshake(nursery, stream)
            call, refusal = _admit(cloud, request.path)
            if call is None:
                await request.reject(refusal, body=b"")
                return
            call.dialled = True
            try:
                connection = await request.accept()
                casting = Casting(
                    behaviour=lambda: cloud.behaviour,
                    agent=tuple(cloud.agent),
                    caller_lines=tuple(cloud.caller_lines),
                    voice=cloud.voice,
                    webhooks=webhooks,
                    rng=random.Random(cloud.rng.getrandbits(64)),
                    ear=cloud.ear,
                )
                await CallSocket(call, connection, stream, casting).run()
            finally:
                call.end(NEVER_CONNECTED, by="client")
                call.over.set()
            await report_end(call, webhooks)
    except trio.TooSlowError:
        _log.debug("a connection did not complete its handshake")
    except Exception:  # noqa: BLE001  # the connection's barrier
        _log.exception("a call socket failed")
    finally:
        await trio.aclose_forcefully(stream)


def _admit(cloud: VapiCloud, path: str) -> tuple[SimulatedCall | None, int]:
    """The call to be connected at ``path``, or the status that refuses; a URL works once."""
    call_id, _, rest = path.strip("/").partition("/")
    call = cloud.find(call_id)
    if call is None or rest.partition("?")[0] != "transport":
        return None, 404
    if call.dialled:
        return None, 409
    return (None, 410) if call.status == "ended" else (call, 101)
