"""`python -m runtime.health_check`: does the `voice serve` of this environment live? The image's HEALTHCHECK.

It asks the webhook door for `/healthz`, wherever the settings put that door, as an orchestrator's liveness probe does.
It is run every 30 s beside the calls, so it imports little: 0.1 s of CPU, a sixth of what `voice doctor` takes.
Exit codes: 0 it lives, 1 it does not.
"""

import socket
import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

from runtime.setting_values import Bind
from runtime.settings import read_environment

ANSWER_SECONDS: Final = 3.0  # below the 5 s that the image gives this program


def main() -> None:
    at = read_environment().settings.webhook_bind.seen_from_here
    if line := problem(at):
        sys.exit(f"voice: {line}")


def problem(at: Bind) -> str:
    """Nothing when the door at `at` answers 200 within ANSWER_SECONDS; else one line."""
    family = socket.AF_UNIX if at.unix_path else socket.AF_INET6 if ":" in at.host else socket.AF_INET
    with socket.socket(family) as door:
        door.settimeout(ANSWER_SECONDS)
        connection = HTTPConnection("localhost")
        connection.sock = door
        try:
            door.connect(at.unix_path or (at.host, at.port))
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except (OSError, HTTPException) as exc:
            return f"the webhook door at {at} does not answer: {exc or 'it said nothing'}"
    return "" if status == 200 else f"the webhook door at {at} answers {status}, and not 200"


if __name__ == "__main__":
    main()
