"""Whether an address leads to this process: real servers on this machine that do, do not, or say nothing."""

import pytest
import trio

from runtime import limits
from runtime.tunnels.probe import probe, probe_until
from tests.tunnels.agents import open_client, open_door


@pytest.mark.parametrize(
    ("status", "body", "finding"),
    [
        (200, None, "here"),
        (200, '{"status":"ok","nonce":"of another process"}', "elsewhere"),
        (200, '{"status":"ok"}', "nowhere"),
        (200, '{"nonce": 3}', "nowhere"),
        (200, "<html>You are about to visit</html>", "nowhere"),
        (200, "[]", "nowhere"),
        (302, None, "nowhere"),
        (404, None, "nowhere"),
        (502, None, "nowhere"),
    ],
)
async def test_probe_finds_where_an_address_leads_when_it_is_answered(
    status: int, body: str | None, finding: str
) -> None:
    async with open_door() as door, open_client() as http:
        door.status, door.body = status, body
        found = await probe(http, f"http://{door.bind}", door.nonce)
        assert found.finding == finding
        assert "\n" not in found.line
        assert door.served == 1  # a redirect is not followed


async def test_probe_finds_nothing_when_nobody_listens_or_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TUNNEL_PROBE_SECONDS", 0.2)
    async with open_client() as http:
        (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{silent.socket.getsockname()[1]}"
        async with silent:
            assert (await probe(http, url, "n")).finding == "nowhere"
        assert (await probe(http, url, "n")).finding == "nowhere"
        assert (await probe(http, "http://no.such.host.invalid", "n")).finding == "nowhere"


async def test_probe_goes_on_when_the_address_needs_time() -> None:
    async with open_door() as door, open_client() as http, trio.open_nursery() as nursery:
        door.status = 502

        async def recover() -> None:
            await trio.sleep(0.3)
            door.status = 200

        nursery.start_soon(recover)
        assert (await probe_until(http, f"http://{door.bind}", door.nonce, 5)).finding == "here"
        door.status = 502
        assert (await probe_until(http, f"http://{door.bind}", door.nonce, 0.2)).finding == "nowhere"
        door.status, door.body = 200, '{"nonce":"x"}'
        assert (await probe_until(http, f"http://{door.bind}", door.nonce, 5)).finding == "elsewhere"
