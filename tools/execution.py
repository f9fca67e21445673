"""One tool call, from the model's arguments to the answer it gets."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
import structlog
import trio

from db.door import Answer, BadLedgerKey, Database, DatabaseUnavailable, LedgerConflict, Work
from runtime import limits
from tools.registry import BadArguments, Registry, Tool, UnknownTool

NOT_REACHABLE: Final = "the system is not reachable right now; look at the state before trying again"


@attrs.frozen
class ToolRunner:
    """Runs tools by name for one call, behind the tool-call barrier."""

    database: Database
    registry: Registry
    call_id: str
    """Our name for the call, under which the ledger keeps its answers."""
    counts: Counter[str]
    log: structlog.typing.FilteringBoundLogger

    async def answer(self, tool_call_id: str, name: str, arguments: Mapping[str, Any], deadline: float) -> Answer:
        """What the model gets: whatever happens in a tool becomes an answer without internals."""
        try:
            tool = self.registry.get(name)
            with trio.fail_at(min(trio.current_time() + limits.TOOL_SECONDS, deadline)):
                return await execute(self.database, tool, self.call_id, tool_call_id, arguments)
        except UnknownTool as exc:
            return Answer(None, exc.line)
        except BadLedgerKey:
            return Answer(None, "the tool call's id cannot be kept; nothing was changed")
        except trio.TooSlowError:
            return Answer(None, "the tool took too long and was stopped; look at the state before trying again")
        except LedgerConflict:
            self.counts["tool_conflicts"] += 1
            return Answer(None, "this tool call id was used before with other arguments; nothing was changed")
        except DatabaseUnavailable as exc:
            self.log.warning("database_unavailable", tool=name, error=str(exc))
            return Answer(None, NOT_REACHABLE)
        except Exception:  # the tool barrier
            self.log.exception("tool_failed", tool=name, tool_call_id=tool_call_id)
            return Answer(None, "the tool failed; nothing was changed")


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
