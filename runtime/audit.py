"""One line of the log for each tool call that was answered: who asked for what, and what came of it."""

import re
from collections.abc import Mapping
from typing import Any, Final

import structlog

from db.door import Answer
from runtime import limits
from runtime.masking import TEXTS, Masker
from runtime.tool_posts import ToolCall

_FREE_TEXT: Final = TEXTS | {"reason", "note", "notes", "comment"}


def audit(
    log: structlog.typing.FilteringBoundLogger,
    masker: Masker,
    ledger: str,
    call: ToolCall,
    answer: Answer,
    seconds: float,
) -> None:
    """`ledger`: the call's name in the database, where its answers are. What people say in free text stays out."""
    log.info(
        "tool_call",
        tool=_plain(call.name),
        tool_call_id=_plain(call.id),
        ledger=ledger,
        arguments=_auditable(masker.masked({"arguments": call.arguments})["arguments"]),
        outcome="duplicate" if answer.stored else "error" if answer.error is not None else "result",
        seconds=round(seconds, 4),
        **({"error": masker.text(answer.error)[: limits.AUDIT_CHARACTERS]} if answer.error is not None else {}),
    )


def _plain(word: str) -> str:
    """A name or an id; what cannot be one is not shown."""
    return word if re.fullmatch(rf"[\w:.-]{{1,{limits.AUDIT_CHARACTERS}}}", word, re.ASCII) else "[odd]"


def _auditable(masked: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and what is short and no free text; of the rest, that it was there."""
    return {str(name)[: limits.AUDIT_CHARACTERS]: _value(name, held) for name, held in list(masked.items())[:20]}


def _value(name: str, held: Any) -> Any:
    if held is None or isinstance(held, bool | int | float):
        return held
    if isinstance(held, str) and name not in _FREE_TEXT and len(held) <= limits.AUDIT_CHARACTERS:
        return held
    return f"[{type(held).__name__}]"
