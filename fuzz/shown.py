"""A case for a reader: its steps, one a line."""

import random
from typing import Final

from fuzz.http_bytes import Known, http_script
from fuzz.leg_scripts import caller_script, vapi_script

# Secrets and ids are the world's; these stand for them.
PLACEHOLDERS: Final = Known((b"<live>", b"<over>", b"<fleet>"), "<call>")


def shown(seed: int, target: str, case: int) -> str:
    rng = random.Random(f"{seed} {target} {case}")
    if target == "vapi":
        vapi = vapi_script(rng)
        head = "no reply to the handshake" if vapi.silent else f"its reply is made with {vapi.seed}"
        return "\n".join([head, *map(repr, vapi.behind.steps)])
    script = caller_script(rng) if target == "caller" else http_script(rng, PLACEHOLDERS)
    return "\n".join([*(["reads nothing"] if script.deaf else []), *map(repr, script.steps)])
