"""A card is replaced once, or not at all and an error says so: whenever its process is killed, whoever asks again.

tests/wire/kill_driver.py runs the pods. Each step below is killed in a process of its own, on a database of its own.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import attrs
import httpx
import pytest
import trio

from runtime.webhook_secret import SECRET_HEADER, call_tag, sign
from tests.house_rules import ROOT
from tests.postgres import fresh_database, run_sql_at
from tests.wire.kill_driver import BEFORE_CLAIM, COMMIT_SENT, COMMITTED, VAPI_CALL, Order

CALL_KEY: Final = bytes(range(16))
SECRET: Final = sign(b"one-key-for-the-fleet", CALL_KEY)
REPLACE: Final = "replace-1"
DANA: Final = {"last4": "4242", "full_name": "Dana Whitfield", "phone": "+15035550121"}
ANSWERED = "answered"

# What is there after the redelivery to the process that takes the killed one's place.
Outcome = Literal["once, and the stored answer", "never, and an error"]
ONCE: Final = "once, and the stored answer"
NEVER: Final = "never, and an error"
STEPS: Final[Mapping[str, Outcome]] = {
    BEFORE_CLAIM: NEVER,
    "claim_answer": NEVER,
    "session": NEVER,
    "lock_card": NEVER,
    "lock_replacements_of": NEVER,
    "set_card_status": NEVER,
    "next_card_id": NEVER,
    "insert_card": NEVER,
    "insert_replacement": NEVER,
    "fill_answer": NEVER,
    COMMIT_SENT: ONCE,  # the server has the COMMIT, and needs nobody to read its answer
    COMMITTED: ONCE,
    ANSWERED: ONCE,
}
OVER: Final = {"error": "call is over"}


@attrs.frozen
class Pod:
    pid: int
    webhook: str

    async def post(self, tool: str, arguments: Any, tool_call_id: str = REPLACE) -> dict[str, str]:
        """What the model gets: {"result": …} or {"error": …}. Raises httpx.TransportError when the pod dies first."""
        function = {"name": tool, "arguments": arguments}
        entry = {"id": tool_call_id, "type": "function", "function": function}
        body = {"message": {"type": "tool-calls", "call": {"id": VAPI_CALL}, "toolCallList": [entry]}}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
            reply = await client.post(f"{self.webhook}/tool", json=body, headers={SECRET_HEADER: SECRET})
        assert reply.status_code == 200, reply.text
        (answer,) = reply.json()["results"]
        assert answer.pop("toolCallId") == tool_call_id
        assert answer.pop("name") == tool
        return dict(answer)

    async def replace_card(self, card_id: int = 5) -> dict[str, str]:
        return await self.post("request_card_replacement", {"card_id": card_id})

    async def verify_dana(self) -> None:
        assert '"verified":true' in (await self.post("verify_caller", DANA, "verify-1"))["result"]


@attrs.frozen
class Driver:
    """The running tests/wire/kill_driver.py. One order at a time: the pods answer on one pipe."""

    process: "subprocess.Popen[bytes]"
    _turn: threading.Lock = attrs.field(factory=threading.Lock)

    def start(self, order: Order) -> Pod:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._turn:
            self.process.stdin.write(json.dumps(attrs.asdict(order)).encode() + b"\n")
            self.process.stdin.flush()
            told = json.loads(self.process.stdout.readline())
        assert "failed" not in told, told
        return Pod(told["pid"], told["webhook"])


@attrs.frozen
class Fleet:
    """Pods on one database."""

    driver: Driver
    url: str

    async def start(self, pod_id: str, **order: Any) -> Pod:
        return await trio.to_thread.run_sync(self.driver.start, Order(pod_id, pod_id, self.url, **order))

    async def start_carrier(self, **order: Any) -> Pod:
        """A pod with the live call of CALL_KEY, whose caller has proved to be Dana Whitfield."""
        pod = await self.start("pod-a", call_key=CALL_KEY.hex(), tool_call_id=REPLACE, **order)
        await pod.verify_dana()
        return pod

    async def replacements(self) -> int:
        """Of Dana's card, with all that belongs to one: seen whole, or not at all."""
        sql = """SELECT (SELECT count(*) FROM replacements WHERE old_card_id = 5),
            (SELECT count(*) FROM replacements), (SELECT count(*) FROM cards),
            (SELECT status = 'cancelled' FROM cards WHERE card_id = 5)::integer,
            (SELECT count(*) FROM tool_answers WHERE tool_call_id = $1 AND result IS NOT NULL)"""
        ((made, all_made, cards, cancelled, answered),) = await run_sql_at(self.url, sql, REPLACE)
        assert (all_made - 3, cards - 37, cancelled, answered) == (made,) * 4, "half a replacement"
        return int(made)

    async def servers_are_done(self) -> None:
        """Until PostgreSQL has let go of a killed pod's connections, and of what they were doing."""
        sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'voice'"
        with trio.fail_after(10):
            while await run_sql_at(self.url, sql):
                await trio.sleep(0.01)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    command = [sys.executable, "-m", "tests.wire.kill_driver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield Driver(process)
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.fixture
def fleets(driver: Driver, server_url: str, template: str, names: Iterator[str]) -> Any:
    """Opens a fleet on a database of its own."""

    @asynccontextmanager
    async def open_fleet() -> AsyncIterator[Fleet]:
        async with fresh_database(server_url, template, next(names)) as url:
            yield Fleet(driver, url)

    return open_fleet


async def killed(fleet: Fleet, step: str) -> dict[str, str] | None:
    """Have the carrier killed at this step of replacing the card; what it answered, if it did."""
    carrier = await fleet.start_carrier(dies_at="" if step == ANSWERED else step)
    if step != ANSWERED:
        with pytest.raises(httpx.TransportError):
            await carrier.replace_card()
        return None
    answer = await carrier.replace_card()
    os.kill(carrier.pid, signal.SIGKILL)
    return answer


def is_replacement(answer: Mapping[str, str]) -> bool:
    return "result" in answer and json.loads(answer["result"])["replacement"]["old_card_id"] == 5


async def every_step(play: Callable[[str], Awaitable[str]]) -> dict[str, str]:
    """Per step what came of it; some at a time."""
    outcomes: dict[str, str] = {}
    some = trio.CapacityLimiter(3)

    async def one(step: str) -> None:
        async with some:
            outcomes[step] = await play(step)

    async with trio.open_nursery() as nursery:
        for step in STEPS:
            nursery.start_soon(one, step)
    return outcomes


async def test_card_is_replaced_once_or_never_when_its_process_is_killed_and_starts_again(fleets: Any) -> None:
    async def play(step: str) -> str:
        async with fleets() as fleet:
            answered = await killed(fleet, step)
            await fleet.servers_are_done()
            made = await fleet.replacements()
            again = await fleet.start("pod-a")
            answers = [await again.replace_card() for _ in range(2)]
            assert answers[0] == answers[1]
            assert await fleet.replacements() == made, "the fresh process ran it"
            if made == 0:
                assert answers[0] == OVER
                return NEVER
            assert is_replacement(answers[0])
            assert answered in (None, answers[0])
            return ONCE if made == 1 else f"{made} times"

    assert await every_step(play) == STEPS


async def test_card_is_replaced_once_when_its_process_is_killed_and_another_pod_is_asked(fleets: Any) -> None:
    """At whichever step: what the dead process had not committed, the other pod does. Nobody waits for its end."""

    async def play(step: str) -> str:
        async with fleets() as fleet:
            other = await fleet.start("pod-b")
            answered = await killed(fleet, step)
            answers = [await other.replace_card() for _ in range(2)]
            assert answers[0] == answers[1]
            assert is_replacement(answers[0])
            assert answered in (None, answers[0])
            return ONCE if await fleet.replacements() == 1 else "more or less than once"

    assert await every_step(play) == dict.fromkeys(STEPS, ONCE)


async def ask_at_once(*pods: Pod) -> list[dict[str, str]]:
    answers: list[dict[str, str]] = []

    async def ask(pod: Pod) -> None:
        answers.append(await pod.replace_card())

    async with trio.open_nursery() as nursery:
        for pod in pods:
            nursery.start_soon(ask, pod)
    return answers


async def test_card_is_replaced_once_when_it_is_asked_for_again_while_the_first_runs(fleets: Any) -> None:
    """On the pod that carries the call, on another one, on both."""
    slow = {"sleeps_at": "set_card_status", "seconds": 0.15}
    for asked in ("aaa", "abb", "bba"):
        async with fleets() as fleet:
            other = await fleet.start("pod-b", tool_call_id=REPLACE, **slow)
            pods = {"a": await fleet.start_carrier(**slow), "b": other}
            answers = await ask_at_once(*(pods[name] for name in asked))
            assert answers == [answers[0]] * len(asked)
            assert is_replacement(answers[0])
            assert await fleet.replacements() == 1


async def test_card_is_replaced_once_when_a_pod_waits_for_the_one_that_is_killed(fleets: Any) -> None:
    for step in ("insert_replacement", COMMIT_SENT):
        async with fleets() as fleet:
            carrier = await fleet.start_carrier(sleeps_at="lock_card", seconds=0.3, dies_at=step)
            other = await fleet.start("pod-b")
            answers: list[dict[str, str]] = []

            async def ask_the_other(pod: Pod = other, answers: list[dict[str, str]] = answers) -> None:
                await trio.sleep(0.05)  # the carrier has claimed the id and sleeps
                answers.append(await pod.replace_card())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_the_other)
                with pytest.raises(httpx.TransportError):
                    await carrier.replace_card()
            assert is_replacement(answers[0])
            assert await fleet.replacements() == 1


async def test_refusals_stay_what_they_were_when_their_process_was_killed_and_starts_again(fleets: Any) -> None:
    asked = {
        "before": ("request_card_replacement", {"card_id": 5}),
        "foreign": ("request_card_replacement", {"card_id": 7}),
        "missed": ("verify_caller", {**DANA, "full_name": "Priya Raman"}),
        "wrong": ("request_card_replacement", {"card_id": "five"}),
    }
    async with fleets() as fleet:
        carrier = await fleet.start("pod-a", call_key=CALL_KEY.hex())
        first = {"before": await carrier.post(*asked["before"], "before")}
        await carrier.verify_dana()
        first |= {id_: await carrier.post(*asked[id_], id_) for id_ in ("foreign", "missed", "wrong")}
        assert "not verified" in first["before"]["error"]
        assert first["foreign"] == {"error": "There is no card 7."}
        os.kill(carrier.pid, signal.SIGKILL)
        again = await fleet.start("pod-a")
        second = {id_: await again.post(*asked[id_], id_) for id_ in asked}
        assert second == {**first, "wrong": OVER}, "wrong arguments are not kept: the model calls anew"
        tries = await run_sql_at(fleet.url, "SELECT failed_tries FROM calls WHERE call_id = $1", call_tag(CALL_KEY))
        assert [row["failed_tries"] for row in tries] == [1]
        assert await fleet.replacements() == 0
