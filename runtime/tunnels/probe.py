"""Whether a public address leads to this very process: its /healthz shows a number that only we know.

That catches what no agent tells: an address shared between agents, another pod's socket, a port nobody listens on,
names that are not known yet.
"""

from typing import Literal

import attrs
import trio

from runtime import limits
from runtime.http_client import HttpClient, Unreachable

Finding = Literal["here", "elsewhere", "nowhere"]


@attrs.frozen
class Probe:
    """`line` says what was found, for people."""

    finding: Finding
    line: str


async def probe(http: HttpClient, base_url: str, nonce: str) -> Probe:
    """One fetch of {base_url}/healthz, within TUNNEL_PROBE_SECONDS. No redirect is followed: Vapi follows none."""
    url = f"{base_url}/healthz"
    try:
        reply = await http.request("GET", url, seconds=limits.TUNNEL_PROBE_SECONDS)
    except Unreachable as exc:
        return Probe("nowhere", f"{url} cannot be reached from here: {exc}")
    body = reply.json() if reply.status == 200 else None
    shown = body.get("nonce") if isinstance(body, dict) else None
    if shown == nonce:
        return Probe("here", f"{url} leads to this process")
    if isinstance(shown, str):
        return Probe("elsewhere", f"{url} leads to another process: tool calls would reach the wrong one")
    return Probe("nowhere", f"{url} answers {reply.status}, and not as this process does")


async def probe_until(http: HttpClient, base_url: str, nonce: str, seconds: float) -> Probe:
    """As `probe`, again and again until it leads somewhere of ours, for about this long; names may need time."""
    pause = limits.TUNNEL_RETRY_SECONDS
    found = Probe("nowhere", f"{base_url}/healthz did not answer within {seconds:g} s")
    with trio.move_on_after(seconds):
        while True:
            found = await probe(http, base_url, nonce)
            if found.finding != "nowhere":
                break
            await trio.sleep(pause)
            pause = min(2 * pause, limits.TUNNEL_RETRY_MOST_SECONDS)
    return found
