"""A cloud in virtual time on a network in memory, with an HTTP client that has its key."""

import inspect
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from pytest_trio import trio_fixture
from vapi_api import GREETING, QUICK, Api

from simulation.network import VirtualNetwork
from simulation.vapi_cloud import open_vapi_cloud
from tests.virtual_time import run_in_virtual_time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "virtual" in getattr(item, "fixturenames", ()) and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


@trio_fixture
async def virtual() -> AsyncIterator[Api]:  # noqa: ASYNC124  # it must run inside Trio
    headers = {"authorization": "Bearer simulated-key"}
    with VirtualNetwork(rng=random.Random(0)).installed():
        async with (
            open_vapi_cloud(slots=2, agent=(GREETING,), speech=QUICK, rng=random.Random(0)) as cloud,
            httpx.AsyncClient(headers=headers, trust_env=False) as http,
        ):
            yield Api(cloud, http)  # noqa: ASYNC119  # pytest-trio runs a fixture to its end
