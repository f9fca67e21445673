"""`voice serve` killed in a call, with the database that it keeps itself."""

from pathlib import Path

import httpx
import trio

from simulation.scenario import AgentTurn, ToolCall
from simulation.vapi_cloud import VapiCloud, open_vapi_cloud
from simulation.webhook_client import WebhookExchange
from tests.db.test_embedded_server import children, runs
from tests.wire.processes import Bridge, open_bridge
from tests.wire.sockets import hold_call
from tests.world import VOICE

REPLACES = (AgentTurn("Done.", (ToolCall("request_card_replacement", {"card_id": 5}),)),)
LOOKS_UP = (AgentTurn("Hello.", (ToolCall("display_card_info_by_last4", {"last4": "4242"}),)),)


async def answered(cloud: VapiCloud) -> WebhookExchange:
    """The only tool call of the newest call, once Vapi has its answer."""
    with trio.fail_after(20):
        while not (cloud.calls and cloud.calls[-1].exchanges):
            await trio.sleep(0.02)
    (exchange,) = cloud.calls[-1].exchanges
    assert exchange.accepted
    assert not exchange.verdicts[0].is_error, exchange
    return exchange


async def deliver_again(exchange: WebhookExchange, bridge: Bridge) -> str:
    """POST what was POSTed to the killed process; the answer's result."""
    headers = {name: value for name, value in exchange.request_headers.items() if value}
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.post(f"{bridge.webhook_url}/p/pod-1/tool", json=exchange.request, headers=headers)
    assert reply.status_code == 200
    (result,) = reply.json()["results"]
    return str(result["result"])


async def test_bridge_starts_again_with_all_it_knew_when_it_was_killed_in_a_call(lasting_folder: Path) -> None:
    async with open_vapi_cloud(agent=REPLACES, speech=VOICE) as cloud:
        settings = {
            "DATABASE_URL": "", "VAPI_BASE_URL": cloud.base_url, "VAPI_API_KEY": cloud.api_key, "TOOL_POLICY": "open"
        }  # fmt: skip
        async with open_bridge(folder=lasting_folder, **settings) as bridge:
            async with hold_call(bridge.voice_url) as call:
                replacement = await answered(cloud)
                left_behind = children(bridge.program.process.pid)
                assert len(left_behind) > 2
                bridge.program.process.kill()
                with trio.fail_after(10):
                    await call.over.wait()
                    await cloud.calls[0].over.wait()
            assert call.closed == (1006, None)

        cloud.agent = LOOKS_UP
        async with open_bridge(folder=lasting_folder, **settings) as bridge:  # its predecessor may still be going
            async with hold_call(bridge.voice_url):
                with trio.fail_after(10):
                    while len(cloud.calls) < 2 or any(runs(pid) for pid in left_behind):
                        await trio.sleep(0.02)
                card = await answered(cloud)
                assert '"cancelled"' in card.verdicts[0].heard
                assert await deliver_again(replacement, bridge) == replacement.verdicts[0].heard
            bridge.program.process.terminate()
            assert await bridge.program.ends() == 0, bridge.program.everything
