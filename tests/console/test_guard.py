"""console/guard.py: who may ask the console."""

from typing import Any

import pytest

from console.guard import ConsoleGuard

HERE = ("127.0.0.1", 40_000)
ELSEWHERE = ("192.0.2.7", 40_000)


async def ask(path: str = "/", client: Any = HERE, hosts: tuple[str, ...] = (), **headers: str) -> int:
    """The status; 200 is what is behind the guard."""
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": named, "client": client}
    await ConsoleGuard(app, hosts)(scope, lambda: None, send)  # type: ignore[arg-type, return-value]
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8010", "localhost:8010", "LOCALHOST", "[::1]:8010", "192.0.2.1", "10.1.2.3:1"]
)
async def test_guard_lets_in_who_asks_for_a_bare_address_or_localhost(host: str) -> None:
    assert await ask(host=host) == 200
    assert await ask(host=host, origin=f"http://{host}", sec_fetch_site="same-origin") == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8010", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "a b", "é"],
)
async def test_guard_refuses_another_name_because_it_may_have_been_made_to_lead_here(host: str) -> None:
    assert await ask(host=host) == 403
    assert await ask("/metrics", host=host) == 403


async def test_guard_lets_in_a_name_that_the_settings_have() -> None:
    assert await ask(host="Console.Example:8010", hosts=("console.example",)) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_guard_refuses_pages_of_other_origins(headers: dict[str, str]) -> None:
    assert await ask(host="127.0.0.1:8010", **headers) == 403


@pytest.mark.parametrize("client", [ELSEWHERE, ("2001:db8::1", 1), ("::ffff:192.0.2.7", 1), ("nonsense", 1)])
async def test_guard_shows_other_machines_the_figures_and_nothing_of_the_calls(client: Any) -> None:
    for path in ("/", "/calls", "/events", "/calls/c-1/recording.wav", "/metrics/", "//metrics"):
        assert await ask(path, client, host="192.0.2.1") == 403
    for path in ("/metrics", "/readyz"):
        assert await ask(path, client, host="192.0.2.1") == 200


@pytest.mark.parametrize("client", [None, (), ("::1", 1), ("::ffff:127.0.0.1", 1), ("127.8.9.1", 1)])
async def test_guard_knows_this_machine(client: Any) -> None:
    assert await ask("/calls", client, host="localhost") == 200
