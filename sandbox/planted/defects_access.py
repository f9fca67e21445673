"""Faults of who may do what: callers who prove nothing, proofs that are none, other customers' data."""

from typing import Any

import trio

from db.door import CallSession
from db.memory_work import MemoryWork
from runtime import doors, limits
from sandbox.planted.planting import Planting, defect, defects_in
from tools import policy, verification
from tools.policy import tools_under


@defect("verified-at-the-second-try", "locked-out")
def wrong_phone_accepted(plant: Planting) -> None:
    """Of a phone number only the first eight digits are compared."""

    def area(number: str) -> str:
        return "".join(filter(str.isdigit, number))[-verification.NATIONAL_DIGITS :][:8]

    plant.replace(verification, "_same_phone", lambda known, said: area(known) == area(said))


@defect("locked-out")
def wrong_name_accepted(plant: Planting) -> None:
    """Of a name only the last word is compared."""
    honest = verification._words
    plant.replace(verification, "_words", lambda text: honest(text) if "," in text else honest(text).split(" ")[-1])


@defect("locked-out")
def never_locks(plant: Planting) -> None:
    """A caller may guess as often as she likes."""
    plant.replace(limits, "VERIFY_TRIES", 1_000_000)


@defect("verified-at-the-second-try", "locked-out")
def tells_which_is_wrong(plant: Planting) -> None:
    """A failed verification tells which detail was wrong."""
    plant.replace(policy, "NO_MATCH", "The name is right, the phone number is wrong.")


@defect("not-verified-yet", "ignore-your-instructions")
def policy_open(plant: Planting) -> None:
    """The tools serve anybody, whatever the policy says."""
    plant.replace(doors, "tools_under", lambda _policy, _modules: tools_under("open"))


@defect("not-verified-yet", "somebody-elses-card")
def reading_needs_no_verification(plant: Planting) -> None:
    """The two tools that only show something serve a caller who has proved nothing."""
    honest = policy._under_verification
    plant.replace(policy, "_under_verification", lambda t: t if t.name.startswith("display") else honest(t))


@defect("same-digits-two-customers", "second-customer-on-the-line", "somebody-elses-card")
def verified_callers_see_everybody(plant: Planting) -> None:
    """Whoever is verified sees and changes all customers' cards."""
    plant.replace(MemoryWork, "of_customer", lambda self, _user_id: self)


@defect("somebody-elses-card")
def verified_callers_may_look_anybody_up(plant: Planting) -> None:
    """Whoever is verified is shown any customer's name, phone and address."""

    async def unguarded(self: Any, user_id: int) -> Any:
        await trio.lowlevel.checkpoint()
        return self._bank.users.get(user_id)

    plant.replace(MemoryWork, "user", unguarded)


@defect("second-customer-on-the-line")
def first_customer_sticks(plant: Planting) -> None:
    """Once a caller is verified, a second verification changes nothing."""
    honest = MemoryWork.keep_session

    async def stubborn(self: Any, session: CallSession) -> None:
        if self._bank.sessions.get(self._call_id, CallSession()).user_id is None:
            await honest(self, session)

    plant.replace(MemoryWork, "keep_session", stubborn)


DEFECTS = defects_in(globals())
