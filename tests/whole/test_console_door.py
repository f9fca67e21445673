"""The console door over HTTP: what is served, what an open page is sent, and what it never is."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import attrs
import h11
import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from runtime import limits
from simulation.scenario import AgentTurn
from tests.endings.stage import Stage, open_stage, words


@attrs.define
class Page:
    """A page that is open: the events of its stream. Mutable: what was read, and not asked for yet."""

    stream: trio.abc.ReceiveStream
    _http: h11.Connection = attrs.field(factory=lambda: h11.Connection(h11.CLIENT))
    _read: str = ""

    def request(self, target: str) -> bytes:
        asked = h11.Request(method="GET", target=target, headers=[("Host", "localhost")])
        return (self._http.send(asked) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    async def next(self, kind: str) -> Any:
        """The data of the next event of this kind."""
        with trio.fail_after(10):
            while True:
                event, end, self._read = self._read.partition("\n\n")
                if not end:
                    self._read = event + await self._more()
                elif f"event: {kind}\n" in event:
                    return json.loads(event.partition("data: ")[2])

    async def _more(self) -> str:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Response):
                assert event.status_code == 200
                assert (b"content-type", b"text/event-stream") in event.headers
            else:
                assert isinstance(event, h11.Data), event
                return bytes(event.data).decode()

    async def until(self, holds: Any) -> Any:
        """The first state for which `holds` is true."""
        with trio.fail_after(30):
            while not holds(state := await self.next("state")):
                pass
        return state


@attrs.frozen
class Console:
    stage: Stage
    http: httpx.AsyncClient

    @asynccontextmanager
    async def page(self, **query: str) -> AsyncIterator[Page]:
        async with await trio.open_tcp_stream("127.0.0.1", self.http.base_url.port or 0) as stream:
            page = Page(stream)
            await stream.send_all(page.request(f"/events?{urlencode(query)}"))
            yield page


@asynccontextmanager
async def open_console(**world: Any) -> AsyncIterator[Console]:
    async with open_stage(CONSOLE_BIND="127.0.0.1:0", **world) as stage:
        url = stage.world.doors.console_url
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=None) as http:
            yield Console(stage, http)


async def test_page_is_served_with_a_policy_that_lets_nothing_else_run() -> None:
    async with open_console() as console:
        page = await console.http.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await console.http.get("/page.js")).headers["content-type"].startswith("text/javascript")
        for path in ("/app.py", "/__init__.py", "/../runtime/settings.py", "/calls/c-1", "/nothing/at/all"):
            answer = await console.http.get(path)
            assert answer.status_code == 404
            assert answer.json()["error"]
        assert (await console.http.post("/demo")).status_code == 404


async def test_figures_and_readiness_are_served() -> None:
    async with open_console() as console:
        ready = await console.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "why_not": []})
        figures = (await console.http.get("/metrics")).text
        families = {family.name for family in text_string_to_metric_families(figures)}
        assert {"voice_calls", "voice_tool_calls", "voice_loop_lag_seconds"} <= families


async def test_strangers_are_refused_at_the_door() -> None:
    async with open_console() as console:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await console.http.get("/calls", headers=headers)
            assert answer.status_code == 403
            assert answer.text.count("\n") == 1, "one line"


async def test_open_page_sees_a_call_come_speak_and_go() -> None:
    async with open_console() as console:
        stage = console.stage
        stage.world.cloud.agent = (AgentTurn(say=words(3)),)
        async with console.page() as page:
            assert (await page.next("state"))["calls"] == []
            async with stage.live_call(speaks=True) as call:
                state = await page.until(lambda state: state["calls"] and state["calls"][0]["level_db"]["agent"] > -60)
                (row,) = state["calls"]
                assert (row["id"], row["phase"], row["ending"]) == (call.record.id, "live", None)
                assert row["level_db"]["caller"] > -60
                assert "agent" in row["speaking"]
                assert row["channels"]["caller_audio"]["bound"] == limits.CALLER_AUDIO_SECONDS
                assert state["health"]["voice"]["calls"] == 1
            row = (await page.until(lambda state: state["health"]["voice"]["calls"] == 0))["calls"][0]
            assert (row["phase"], row["ending"]["by"], row["ending"]["ok"]) == ("over", "caller", True)


async def test_page_of_a_call_is_told_everything_once_and_then_what_is_new() -> None:
    async with open_console() as console:
        stage = console.stage
        async with stage.live_call(speaks=True) as call:
            await trio.sleep(2)
            async with console.page(call=call.record.id) as page:
                first = await page.next("call")
                assert [event["n"] for event in first["events"]] == list(range(len(first["events"])))
                assert first["events"][0]["event"] == "connected"
                assert {child["name"] for child in first["tree"]["children"]} >= {"ActorSocketReader", "SilencePadder"}
                assert len(first["levels"]["caller"]) >= 3
                second = await page.next("call")
                assert all(event["n"] >= first["next"] for event in second["events"])
                assert len(second["levels"]["caller"]) <= 2
        await call.gone(1)
        whole = (await console.http.get(f"/calls/{call.record.id}")).json()
        assert whole["summary"]["ended_by"] == "caller"
        assert whole["tree"]["children"], "as it was at its end"
        assert whole["events"][-1]["event"] == "call-over"
        for path in ("recording.wav", "waveform"):
            assert (await console.http.get(f"/calls/{call.record.id}/{path}")).status_code == 404, "nothing is recorded"


async def test_personal_data_is_told_only_when_the_settings_allow_it_and_the_page_asks() -> None:
    for allowed, asked, shown in (("off", "1", False), ("on", "0", False), ("on", "1", True)):
        async with open_console(CONSOLE_PERSONAL_DATA=allowed) as console:
            async with console.stage.live_call() as call:
                call.record.event("caller", "transcript", text="my name is Dana Whitfield")
                async with console.page(call=call.record.id, personal=asked) as page:
                    state = await page.next("state")
                    told = json.dumps((await page.next("call"))["events"])
                whole = (await console.http.get(f"/calls/{call.record.id}", params={"personal": asked})).text
            assert ("Dana" in told) is shown
            assert ("Dana" in whole) is shown
            assert state["personal_data"] == ("off" if allowed == "off" else "shown" if shown else "masked")


async def test_only_so_many_pages_are_open_at_once_and_one_that_leaves_makes_room() -> None:
    async with open_console() as console:
        async with trio.open_nursery() as nursery:
            seen = 0

            async def look() -> None:
                nonlocal seen
                async with console.page() as page:
                    await page.next("state")
                    seen += 1
                    await trio.sleep_forever()

            for _ in range(limits.CONSOLE_STREAMS):
                nursery.start_soon(look)
            await console.stage.world.until(lambda: seen == limits.CONSOLE_STREAMS)
            refused = await console.http.get("/events")
            assert refused.status_code == 503
            assert "close one" in refused.json()["error"]
            nursery.cancel_scope.cancel()
        await trio.sleep(2 * limits.CONSOLE_EVERY_SECONDS)
        async with console.page() as page:
            assert await page.next("state")


async def test_process_that_drains_says_that_it_is_not_ready() -> None:
    send, signals = trio.open_memory_channel[int](2)
    with send:
        async with open_console(signals=signals) as console, console.stage.live_call() as call:
            send.send_nowait(signal.SIGTERM)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await trio.sleep(1)
                ready = await console.http.get("/readyz")
                assert ready.status_code == 503
                assert "drains" in ready.json()["why_not"][0]
                async with console.page(call=call.record.id) as page:
                    assert (await page.next("state"))["health"]["voice"]["draining"]


@pytest.mark.parametrize("bind", ["none"])
async def test_there_is_no_console_when_the_settings_say_so(bind: str) -> None:
    async with open_stage(CONSOLE_BIND=bind) as stage:
        assert stage.world.doors.console_url == ""
        assert "ConsoleDoor" not in repr(stage.world.doors.supervisor)
