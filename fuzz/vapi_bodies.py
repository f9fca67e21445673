"""Bodies of the webhook: Vapi's messages by their grammar, with and without twists."""

import random
from typing import Any, Final

from fuzz.json_text import Pairs, Raw, deep, encoded, odd, text, twisted

KINDS: Final = (
    "status-update", "end-of-call-report", "conversation-update", "assistant-request", "hang", "speech-update",
    "transcript", "tool-calls-result", "", "TOOL-CALLS", "tool-calls ",
)  # fmt: skip
TOOLS: Final = (
    "verify_customer", "display_user_info", "display_card_info_by_last4", "request_card_replacement", "transfer", "",
    "drop_tables", "__class__", "display_user_info\n",
)  # fmt: skip
ARGUMENTS: Final[tuple[Any, ...]] = (
    {}, {"user_id": 3}, {"last4": "4242"}, {"card_id": 5}, {"user_id": "3"}, {"user_id": None}, {"card_id": 5.0},
    {"card_id": 10**15, "reason": "lost"}, {"user_id": -1}, {"last4": 4242}, {"last4": "٤٢٤٢"}, {"last4": "\0"},
    {"text": "x" * 20_000}, {"message": "1 " * 10_000}, {"user_id": "[" + "a" * 20_000},
)  # fmt: skip


def body(rng: random.Random, call_id: str) -> bytes:
    """One body. `call_id`: Vapi's id of the call whose secret may be shown."""
    made = encoded(_message(rng, call_id))
    what = rng.random()
    if what < 0.06:
        return made[: rng.randrange(len(made) + 1)]
    if what < 0.10:
        at = rng.randrange(len(made) + 1)
        return made[:at] + rng.randbytes(rng.randint(1, 8)) + made[at + rng.randint(0, 4) :]
    if what < 0.12:
        return rng.choice(
            (b"", b"null", b"[]", b"{}", b"\xef\xbb\xbf" + made, made + made, made.decode().encode("utf-16"))
        )
    return made


def _message(rng: random.Random, call_id: str) -> Any:
    if rng.random() < 0.02:
        return deep(rng)
    kind = "tool-calls" if rng.random() < 0.75 else rng.choice((*KINDS, "function-call", "function-call"))
    message: dict[str, Any] = {"type": kind, "call": {"id": _call_id(rng, call_id), "orgId": "o"}}
    if rng.random() < 0.05:
        message["artifact"] = {"messages": [{"role": "user", "message": "x" * rng.choice((10, 1_000, 50_000))}]}
    if kind == "function-call":
        message["functionCall"] = {"name": rng.choice(TOOLS), "parameters": _arguments(rng)}
    elif kind == "tool-calls":
        message |= _lists(rng)
    whole: Any = {"message": message}
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        whole = twisted(whole, rng) if isinstance(whole, dict) else whole
    return whole


def _call_id(rng: random.Random, call_id: str) -> Any:
    return call_id if rng.random() < 0.8 else rng.choice(("other", "", None, 7, "x" * 300, "a\0b", Raw(r'"\ud800"')))


def _lists(rng: random.Random) -> dict[str, Any]:
    count = rng.choice((1, 1, 1, 1, 2, 3, 5, 32, 33)) if rng.random() < 0.97 else rng.choice((1_000, 3_000, 6_000))
    calls = [_tool_call(rng, number) for number in range(min(count, 40))]
    if count > len(calls):
        calls.append(Raw(",".join([text(calls[-1])] * (count - len(calls)))))
    where = rng.random()
    if where < 0.6:
        return {"toolCallList": calls}
    if where < 0.75:
        return {"toolCalls": calls}
    paired = [{"type": "function", "function": {"name": rng.choice(TOOLS)}, "toolCall": call} for call in calls]
    return {"toolWithToolCallList": paired} | ({"toolCallList": calls} if where > 0.9 else {})


def _tool_call(rng: random.Random, number: int) -> Any:
    made: dict[str, Any] = {"id": _tool_call_id(rng, number), "type": "function"}
    name, arguments = rng.choice(TOOLS), _arguments(rng)
    form = rng.randrange(4)
    if form == 0:
        made |= {"name": name, "arguments": arguments}
    elif form == 1:
        made["function"] = {"name": name, "arguments": encoded(arguments).decode("utf-8", "replace")}
    else:
        made["function"] = {"name": name, ("arguments", "parameters")[form - 2]: arguments}
    return made if rng.random() < 0.97 else odd(rng)


def _tool_call_id(rng: random.Random, number: int) -> Any:
    if rng.random() < 0.85:
        return f"call_{rng.randrange(50)}_{number}"
    return rng.choice(
        ("", None, 7, 1.5, True, [], {}, "é", "x" * 200, "x" * 201, "a\nb", "\0", Raw(r'"\ud800"'), odd(rng))
    )


def _arguments(rng: random.Random) -> Any:
    if rng.random() < 0.85:
        return dict(rng.choice(ARGUMENTS))
    return rng.choice(
        (odd(rng), Pairs((("user_id", 3), ("user_id", odd(rng)))), {"user_id": odd(rng)}, [3], "{", "  ", None)
    )
