"""A house with figures, and how to read the page that it shows."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from actors.call_register import CallRegister
from actors.engine_reporter import EngineReporter
from actors.vapi_calls import VapiCalls
from db.memory import open_memory_database
from runtime.house import House
from runtime.metrics_collector import HouseCollector
from runtime.settings import read_settings
from runtime.tunnels.way_in import FixedAddress
from runtime.vapi_slots import VapiSlots
from tests.bank import bank_tools
from tests.fakes import FakeHttp

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@asynccontextmanager
async def open_house(**parts: Any) -> AsyncIterator[House]:
    """A house that nobody calls; `parts` replace its own."""
    nobody: Any = None
    http: Any = FakeHttp()
    async with open_memory_database() as database:
        house = House(
            **{
                "settings": read_settings({"POD_ID": "pod-1"}, state_folder=Path("/dev/null/runs")),
                "prompt": "x", "way_in": FixedAddress("https://bank.example"), "webhook_key": b"k" * 32,
                "registry": bank_tools(), "database": database, "gateway": None, "sink": lambda _event: None,
                "vapi_calls": VapiCalls(nobody, nobody, nobody, VapiSlots(10)),
                "reporter": EngineReporter(http, "http://engine", "sim-1"),
                "register": CallRegister(database, "pod-1"),
                **parts,
            }
        )  # fmt: skip
        house.metrics.include(HouseCollector(house))
        yield house


async def families(house: House, accept: str = "") -> list[Metric]:
    """The page, as prometheus-client's own parser reads it."""
    page, content_type = await house.metrics.page(accept)
    parse: Any = openmetrics_families if "openmetrics" in content_type else text_families
    return list(parse(page.decode()))


def figures(read: Iterable[Metric]) -> Figures:
    return {(one.name, frozenset(one.labels.items())): one.value for family in read for one in family.samples}


@attrs.define
class Watch:
    """What has moved on the page of `house` since this watch, or since the last look."""

    house: House
    _before: Figures = attrs.field(factory=dict)

    @classmethod
    async def begun(cls, house: House) -> "Watch":
        return cls(house, figures(await families(house)))

    async def moved(self) -> Counter[str]:
        """By `name{value,…}`, the values in the order of their labels' names. Only of ours, and not the buckets."""
        now = figures(await families(self.house))
        steps = {key: value - self._before.get(key, 0) for key, value in now.items()}
        self._before = now
        return Counter(
            {
                _shown(name, labels): step
                for (name, labels), step in steps.items()
                if step and name.startswith("voice_") and not name.endswith(("_bucket", "_sum"))
            }
        )


def _shown(name: str, labels: frozenset[tuple[str, str]]) -> str:
    return name + ("{" + ",".join(value for _, value in sorted(labels)) + "}" if labels else "")
