"""Whom the tools serve. The model may ask for anything; what it gets is decided here, outside of it.

verified: `verify_caller` opens a session for one customer, kept in the database with the call. Without a session the
other tools refuse before they look at anything. With one they see a bank in which that customer is the only one, so
somebody else's card cannot be told from a card that does not exist: not by words, not by locks, not by time.
open: the five tools for anybody, as the reference agent has them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import attrs
from msgspec import Meta

from db.door import CallSession, Refusal, Work
from db.table import NOBODY
from runtime import limits
from tools.registry import BadTools, Registry, Tool, agent_tools
from tools.verification import matching

ToolPolicy = Literal["verified", "open"]

NOT_VERIFIED: Final = (
    "The caller is not verified yet. Ask for the last four digits of a card, the full name, and the phone number or"
    " the address on file, and call verify_caller."
)
LOCKED: Final = "The caller could not be verified, and no further try is possible in this call."
NO_MATCH: Final = "These details do not match our records. Do not say which of them is wrong."
INSTRUCTIONS: Final = """\
Who is calling:
- Before anything else, verify the caller: ask for the last four digits of one of their cards, their full name, and \
either the phone number or the address that we have on file. Then call verify_caller with exactly what they said. \
Never guess a detail, and never take one from anywhere but the caller's own words in this call.
- Until verify_caller has answered that they are verified, the other tools refuse. Afterwards they serve this one \
customer only; what they do not find does not belong to the caller, whatever the caller says.
- If verification fails, say only that the details do not match our records, and offer to try again. When no further \
try is possible, say that you cannot help on this call, ask them to visit a branch with their ID, and say goodbye."""


@attrs.frozen
class VerifyCaller:
    last4: Annotated[
        str,
        Meta(
            description="The last four digits of one of the caller's cards, as four characters.", pattern="^[0-9]{4}$"
        ),
    ]
    full_name: Annotated[str, Meta(description="The caller's full name, as the caller said it.", max_length=200)]
    phone: Annotated[str, Meta(description="The phone number on file. Give this or the address.", max_length=40)] = ""
    address: Annotated[
        str, Meta(description="The address on file: street, town, postal code. Give this or phone.", max_length=300)
    ] = ""


async def verify_caller(work: Work, arguments: VerifyCaller) -> Any:
    """Open the session of the customer whom these details prove the caller to be. A miss is counted, for good."""
    phone, address = arguments.phone.strip() or None, arguments.address.strip() or None
    if (phone is None) == (address is None):
        raise Refusal("verify_caller needs either the phone number or the address, and not both.")
    session = await work.lock_session()
    if session.failed_tries >= limits.VERIFY_TRIES:
        raise Refusal(LOCKED)
    customer = matching(await work.holders(arguments.last4), arguments.full_name, phone, address)
    if customer is None:
        tries = session.failed_tries + 1
        await work.keep_session(attrs.evolve(session, failed_tries=tries))
        # A result, not an error: to the model the tool has worked, and Vapi says no "that did not work" of its own.
        return {"verified": False, "message": NO_MATCH if tries < limits.VERIFY_TRIES else LOCKED}
    await work.keep_session(CallSession(customer.user_id, session.failed_tries))
    return {"verified": True, "user_id": customer.user_id, "full_name": customer.full_name}


def _under_verification(tool: Tool) -> Tool:
    """The same tool, in a bank in which the verified customer is the only one; before that, one for anybody runs in a
    bank without customers, and any other refuses."""

    async def run(work: Work, arguments: Any) -> Any:
        session = await work.session()
        if session.failed_tries >= limits.VERIFY_TRIES:
            raise Refusal(LOCKED)
        if session.user_id is None and not tool.for_anybody:
            raise Refusal(NOT_VERIFIED)
        return await tool.run(work.of_customer(NOBODY if session.user_id is None else session.user_id), arguments)

    return attrs.evolve(tool, run=run)


VERIFY: Final = Tool(
    "verify_caller",
    "Check that the caller is who they say they are. Needed once, before any other tool.",
    VerifyCaller,
    verify_caller,
)


def tools_under(policy: ToolPolicy, modules: Sequence[str] = ()) -> Registry:
    """The agent's tools, of these modules or of all, as this policy lets them be used. Raises BadTools."""
    registry = agent_tools(modules)
    if policy == "open":
        return registry
    if any(tool.name == VERIFY.name for tool in registry):
        raise BadTools(f"{VERIFY.name} is the name of a tool in tools/policy.py: choose another, or TOOL_POLICY=open")
    return Registry((VERIFY, *map(_under_verification, registry)))


def prompt_under(policy: ToolPolicy, prompt: str) -> str:
    """The assistant's instructions, with what the policy asks of it."""
    return prompt if policy == "open" else f"{prompt}\n\n{INSTRUCTIONS}"
