"""One tool call, from the model's arguments to the answer it gets."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from db.door import Answer, Database, Work
from tools.registry import BadArguments, Tool


async def execute(
    database: Database, tool: Tool, call_id: str, tool_call_id: str, arguments: Mapping[str, Any]
) -> Answer:
    """Run `tool` once for this id; a repeat gets the first answer.

    Wrong arguments and refusals are answers with an `error`; only the second kind is kept in the ledger.
    Raises DatabaseUnavailable, LedgerConflict, BadLedgerKey, and whatever a faulty tool raises, which has no effect.
    Cancelled: rolled back whole, unless the commit was already under way.
    """
    try:
        parsed = tool.parse(arguments)
    except BadArguments as error:
        return Answer(None, error.line)

    async def effect(work: Work) -> Any:
        return await tool.run(work, parsed)

    return await database.run_once(call_id, tool_call_id, fingerprint(tool, parsed), effect)


def fingerprint(tool: Tool, parsed: Any) -> str:
    """The same for the same tool and the same arguments, however they were spelt: 7 and "7", in any order."""
    canonical = msgspec.json.encode([tool.name, msgspec.to_builtins(parsed)], order="sorted")
    return hashlib.sha256(canonical).hexdigest()
