"""Who talks to an engine in tests: what it is told, and a client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from simulation.engine import Engine, open_engine

GOOD = {
    "service": "agent",
    "event_type": "agent_tool_call",
    "data": {"name": "find", "arguments": {"last4": "4242"}, "result": {"ok": True}},
}


def report(name: str) -> dict[str, Any]:
    return {**GOOD, "data": {"name": name, "arguments": {"last4": "4242"}, "result": {"ok": True}}}


def turn(who: str, started: Any, ended: Any, text: Any = None, **more: Any) -> dict[str, Any]:
    return {"who": who, "started": started, "ended": ended, "text": text, **more}


@asynccontextmanager
async def reached(store: Path | None = None) -> AsyncIterator[tuple[Engine, httpx.AsyncClient]]:
    """An engine, and a client at its address."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(store=store))
        yield engine, await stack.enter_async_context(httpx.AsyncClient(base_url=engine.base_url, trust_env=False))
