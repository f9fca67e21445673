"""Fixtures: a simulated cloud and the way to talk to it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from vapi_api import GREETING, QUICK, Api

from simulation.vapi_cloud import VapiCloud, open_vapi_cloud


@pytest.fixture
async def cloud() -> AsyncIterator[VapiCloud]:
    async with open_vapi_cloud(slots=2, agent=(GREETING,), speech=QUICK) as running:
        yield running


@pytest.fixture
async def api(cloud: VapiCloud) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(headers={"authorization": "Bearer simulated-key"}, trust_env=False) as http:
        yield Api(cloud, http)
