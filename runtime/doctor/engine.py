"""Whether the engine takes a connection: a tool call that it is not told of counts as made up."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import trio

from runtime import limits
from runtime.doctor.finding import Finding
from runtime.settings import Reading

NAME: Final = "engine"


async def look_at_engine(reading: Reading) -> Sequence[Finding]:
    settings = reading.settings
    if settings.simulation_id is None:
        return [Finding("ok", NAME, "nothing is reported (SIMULATION_ID)")]
    url = urlsplit(settings.engine_url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        with trio.fail_after(limits.REPORT_SECONDS):
            await trio.aclose_forcefully(await trio.open_tcp_stream(host, port))
    except (OSError, trio.TooSlowError):
        advice = "start it, or correct ENGINE_URL; until then reports wait, and are dropped at the end"
        return [Finding("unreachable", NAME, f"{host}:{port} takes no connection", advice)]
    return [Finding("ok", NAME, f"{host}:{port} takes connections, for simulation {settings.simulation_id}")]
