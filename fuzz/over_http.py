"""Requests that schemathesis makes from the webhook door's document, over real sockets, to a real `voice serve`.

Each answer must be one that the document knows, with the schema it gives there; none may be a 5xx.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import hypothesis
import schemathesis
import trio
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fuzz.served import FLEET_SECRET, Served, open_served
from runtime.openapi import openapi_document

CHECKS: Final = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
)  # fmt: skip
SHARES: Final = (
    ("POST /p/{pod}/tool", GenerationMode.POSITIVE, 0.3),
    ("POST /p/{pod}/tool", GenerationMode.NEGATIVE, 0.3),
    ("POST /tool", GenerationMode.POSITIVE, 0.15),
    ("POST /tool", GenerationMode.NEGATIVE, 0.15),
    ("GET /p/{pod}/healthz", GenerationMode.NEGATIVE, 0.05),
    ("GET /healthz", GenerationMode.POSITIVE, 0.05),  # nothing of it can be wrong
)
Tell = Callable[[str], None]


@attrs.frozen
class Asking:
    """A run. `counts` grows: answers by operation and status."""

    base_url: str
    secret: str
    seed: int
    counts: Counter[str] = attrs.field(factory=Counter)

    def all(self, cases: int) -> list[str]:
        """What was flagged, one line for each operation at most: the smallest request that shows it."""
        schema: Any = schemathesis.openapi.from_dict(openapi_document())
        operations: dict[str, Any] = {found.ok().label: found.ok() for found in schema.get_all_operations()}
        flagged = []
        for label, mode, share in SHARES:
            try:
                self._ask(operations[label], mode, round(cases * share))
            except (AssertionError, BaseExceptionGroup) as exc:
                flagged.append(f"{label} {mode.value}: {exc!r:.900}")
        if not flagged and self.counts.total() < cases:  # some have fewer different requests than their share
            label, mode, _ = SHARES[0]
            attrs.evolve(self, seed=self.seed + 1)._ask(operations[label], mode, cases - self.counts.total())
        return flagged

    def _ask(self, operation: Any, mode: GenerationMode, requests: int) -> None:
        shown = st.sampled_from([*[self.secret] * 4, FLEET_SECRET, "0" * 32 + "." + "0" * 64, None])

        @hypothesis.settings(
            max_examples=requests, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.seed(self.seed)
        @hypothesis.given(
            case=operation.as_strategy(generation_mode=mode),
            secret=shown,
            pod=st.sampled_from((True, True, True, False)),
        )
        def ask(case: Any, secret: str | None, pod: bool) -> None:
            if pod and "pod" in case.path_parameters:
                case.path_parameters["pod"] = "fuzz"
            headers = {} if secret is None else {"X-Voice-Secret": secret}
            response = case.call(base_url=self.base_url, headers=headers, timeout=30)
            self.counts[f"{operation.label} {response.status_code}"] += 1
            case.validate_response(response, checks=CHECKS)

        ask()


def fuzz_http(cases: int, seed: int, tell: Tell) -> bool:
    """Returns whether nothing was flagged."""
    return trio.run(_fuzz, cases, seed, tell)


async def _fuzz(cases: int, seed: int, tell: Tell) -> bool:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        async with open_served(Path(folder)) as served:
            asking = Asking(served.webhook_url, served.secret, seed)
            flagged = await trio.to_thread.run_sync(asking.all, cases)
            flagged += _log_errors(served)
    for line in flagged:
        tell(f"{line}\n    replay: python -m fuzz http --cases {cases} --seed {seed}")
    for what, count in sorted(asking.counts.items()):
        tell(f"    {what}: {count}")
    tell(f"{asking.counts.total()} requests over HTTP, seed {seed}: {len(flagged)} flagged")
    return not flagged


def _log_errors(served: Served) -> list[str]:
    served.program.check()
    log = served.program.log.read_text(errors="replace").splitlines()
    return [f"logged: {line[:400]}" for line in log if '"level":"error"' in line.replace('": "', '":"')][:5]
