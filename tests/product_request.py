"""What the product asks of Vapi's `POST /call`."""

from pathlib import Path
from typing import Any

from db.memory import open_memory_database
from runtime.house import House
from runtime.settings import read_settings
from runtime.tunnels.way_in import FixedAddress
from tests.bank import bank_tools
from tests.fakes import new_record

KEY = b"k" * 32


async def request_body() -> tuple[dict[str, Any], bytes]:
    """The body, and the key of the call it is for."""
    settings = read_settings(
        {"VAPI_API_KEY": "private-key", "POD_ID": "pod-1", "VAPI_MODEL": "gpt-4.1-mini"}, state_folder=Path("/none")
    )
    record = new_record()
    async with open_memory_database() as database:
        parts: dict[str, Any] = {"sink": lambda _event: None}
        parts |= dict.fromkeys(("vapi_calls", "reporter", "register", "gateway"))
        house = House(
            settings=settings, prompt="You are Riley.", way_in=FixedAddress("https://bank.example"), webhook_key=KEY,
            registry=bank_tools(), database=database, **parts,
        )  # fmt: skip
        return house.call_request(record, "https://bank.example"), record.call_key
