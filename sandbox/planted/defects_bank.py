"""Faults of the bank and of its tools: what is written, and what is answered."""

from typing import Any

import attrs
import trio

from db import memory_work
from db.door import DELIVERY_ORDER, Answer, CallSession
from db.memory import MemoryDatabase
from db.memory_work import MemoryWork
from sandbox.planted.planting import Planting, defect, defects_in
from tools import card_tools, policy
from tools.execution import ToolRunner
from tools.registry import Tool, agent_tools


@defect("freeze-card")
def wrong_card_written(plant: Planting) -> None:
    """The status is written to the next card in the table."""
    honest = MemoryWork.set_card_status

    async def careless(self: Any, card_id: int, status: Any) -> Any:
        return attrs.evolve(await honest(self, card_id + 1, status), card_id=card_id)

    plant.replace(MemoryWork, "set_card_status", careless)


@defect("freeze-card", "stolen-card")
def said_frozen_and_never_written(plant: Planting) -> None:
    """The tool answers with the new status, and nothing is written."""

    async def forgetful(self: Any, card_id: int, status: Any) -> Any:
        return attrs.evolve(await self.lock_card(card_id), status=status)

    plant.replace(MemoryWork, "set_card_status", forgetful)


@defect("stolen-card", "damaged-card")
def old_card_stays_active(plant: Planting) -> None:
    """A late write brings the replaced card back as it was read before."""
    honest = MemoryWork.add_replacement

    async def overwritten(self: Any, old: Any, new: Any) -> Any:
        added = await honest(self, old, new)
        self._bank.cards[old.card_id] = attrs.evolve(old, status="active")
        return added

    plant.replace(MemoryWork, "add_replacement", overwritten)


@defect("stolen-card", "cancelled-card-replaced")
def no_new_card(plant: Planting) -> None:
    """The old card is cancelled and a delivery begun, and the card in it does not exist."""
    honest = MemoryWork.add_replacement

    async def unissued(self: Any, old: Any, new: Any) -> Any:
        added = await honest(self, old, new)
        del self._bank.cards[new.card_id]
        return added

    plant.replace(MemoryWork, "add_replacement", unissued)


@defect("replace-card", "verified-replacement")
def no_delivery(plant: Planting) -> None:
    """The card is replaced, and nobody is told to send the new one."""
    honest = MemoryWork.add_replacement

    async def unsent(self: Any, old: Any, new: Any) -> Any:
        added = await honest(self, old, new)
        del self._bank.replacements[added.replacement_id]
        return added

    plant.replace(MemoryWork, "add_replacement", unsent)


@defect("stolen-card", "cancelled-card-replaced")
def new_card_expires_with_the_old(plant: Planting) -> None:
    """The new card is valid for no longer than the old one."""
    plant.replace(memory_work, "renewed", lambda expires: expires)


def _forget_the_ledger(plant: Planting) -> None:
    honest = MemoryDatabase.run_once

    async def forgetful(self: Any, *arguments: Any) -> Answer:
        self._ledger.clear()
        return await honest(self, *arguments)

    plant.replace(MemoryDatabase, "run_once", forgetful)


@defect("tool-calls-come-twice")
def ledger_forgets(plant: Planting) -> None:
    """A tool call that Vapi delivers twice is run twice."""
    _forget_the_ledger(plant)


def _forget_replacements(plant: Planting) -> None:
    """Neither the tool nor the table looks whether a card was replaced before."""
    honest = MemoryWork.add_replacement

    async def blind(*_: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return []

    async def unruled(self: Any, old: Any, new: Any) -> Any:
        earlier = {id_: one for id_, one in self._bank.replacements.items() if one.old_card_id == old.card_id}
        for id_ in earlier:
            del self._bank.replacements[id_]
        added = await honest(self, old, new)
        self._bank.replacements.update(earlier)
        return added

    plant.replace(MemoryWork, "lock_replacements_of", blind)
    plant.replace(MemoryWork, "add_replacement", unruled)


@defect("tool-calls-come-twice")
def written_twice(plant: Planting) -> None:
    """A tool call that is delivered twice writes twice: two new cards are on their way."""
    _forget_the_ledger(plant)
    _forget_replacements(plant)


@defect("replacement-requested")
def replaced_a_second_time(plant: Planting) -> None:
    """A card whose replacement is under way is replaced again."""
    _forget_replacements(plant)


class _NoOrder(tuple[str, ...]):
    """Statuses that all come first."""

    def index(self, *_: Any) -> int:
        return 0


@defect("replacement-mailed")
def delivery_goes_back(plant: Planting) -> None:
    """A delivery that has arrived can be set back to the mail."""
    for module in (memory_work, card_tools):
        plant.replace(module, "DELIVERY_ORDER", _NoOrder(DELIVERY_ORDER))


@defect("cancel-card-for-good")
def cancelled_card_comes_back(plant: Planting) -> None:
    """A card that was cancelled for good can be made active again."""

    async def unruled(self: Any, card_id: int, status: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self._bank.cards[card_id] = attrs.evolve(self._bank.cards[card_id], status=status)
        return self._bank.cards[card_id]

    async def unguarded(work: Any, arguments: Any) -> Any:
        return card_tools._described(await work.set_card_status(arguments.card_id, arguments.new_status))

    plant.replace(MemoryWork, "set_card_status", unruled)
    plant.replace(card_tools, "change_card_status", unguarded)


@defect("freeze-card", "damaged-card")
def phone_on_file_overwritten(plant: Planting) -> None:
    """To verify a caller touches the customer's own row."""
    honest = MemoryWork.keep_session

    async def tidy(self: Any, session: CallSession) -> None:
        await honest(self, session)
        user = self._bank.users.get(session.user_id)
        if user is not None:
            self._bank.users[user.user_id] = attrs.evolve(user, phone=user.phone.removeprefix("+1"))

    plant.replace(MemoryWork, "keep_session", tidy)


@defect("which-of-two-holders")
def first_card_of_several(plant: Planting) -> None:
    """Of several cards that end in the same digits only the first is shown."""
    honest = MemoryWork.cards_by_last4

    async def one(self: Any, last4: str) -> list[Any]:
        return (await honest(self, last4))[:1]

    plant.replace(MemoryWork, "cards_by_last4", one)


@defect("barge-in-and-correction", "second-customer-on-the-line")
def stale_answer(plant: Planting) -> None:
    """A cache answers a tool that was called before, whatever the arguments are."""
    kept: dict[str, Answer] = {}
    honest = ToolRunner.answer

    async def cached(self: Any, tool_call_id: str, name: str, arguments: Any, deadline: float) -> Answer:
        if name not in kept:
            kept[name] = await honest(self, tool_call_id, name, arguments, deadline)
        return kept[name]

    plant.replace(ToolRunner, "answer", cached)


@defect("freeze-card", "two-cards")
def digits_swapped_before_the_tool(plant: Planting) -> None:
    """Two digits of last4 are swapped before the tool runs."""
    honest = Tool.parse

    def mistyped(self: Any, arguments: Any) -> Any:
        digits = arguments.get("last4")
        swapped = {"last4": digits[1] + digits[0] + digits[2:]} if isinstance(digits, str) and len(digits) == 4 else {}
        return honest(self, {**arguments, **swapped})

    plant.replace(Tool, "parse", mistyped)


@defect("damaged-card")
def leading_zero_lost(plant: Planting) -> None:
    """Digits are read as a number: 0451 becomes 451."""
    honest = Tool.parse

    def numeric(self: Any, arguments: Any) -> Any:
        return honest(self, {k: str(int(v)) if k == "last4" and str(v).isdigit() else v for k, v in arguments.items()})

    plant.replace(Tool, "parse", numeric)


@defect("no-such-card", "arguments-that-make-no-sense")
def refusal_passes_for_success(plant: Planting) -> None:
    """A refusal is given to the model as if it were a result."""
    honest = ToolRunner.answer

    async def cheerful(self: Any, *arguments: Any) -> Answer:
        answer = await honest(self, *arguments)
        return answer if answer.error is None else Answer({"message": answer.error}, stored=answer.stored)

    plant.replace(ToolRunner, "answer", cheerful)


@defect("no-such-card", "not-verified-yet")
def tool_not_offered(plant: Planting) -> None:
    """The assistant is not told of the last of its tools."""

    def fewer(modules: Any = ()) -> Any:
        registry = agent_tools(modules)
        return attrs.evolve(registry, tools=registry.tools[:-1])

    plant.replace(policy, "agent_tools", fewer)


DEFECTS = defects_in(globals())
