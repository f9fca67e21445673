"""All checks, in the order in which they are shown: this machine, what it was told, its doors, and what is outside."""

from typing import Final

from runtime.doctor.configuration import look_at_fleet, look_at_instructions, look_at_settings, look_at_tools
from runtime.doctor.database import look_at_store
from runtime.doctor.doors import look_at_console_door, look_at_voice_door, look_at_webhook_door
from runtime.doctor.engine import look_at_engine
from runtime.doctor.examination import Check, in_thread
from runtime.doctor.machine import look_at_open_files, look_at_packages, look_at_python, look_at_recordings
from runtime.doctor.vapi import look_at_vapi
from runtime.doctor.way_in import look_at_way_in

_TUNNEL: Final = (
    "PUBLIC_BASE_URL", "TUNNEL", "TUNNEL_URL", "SSH_TUNNEL", "WEBHOOK_BIND", "VAPI_BASE_URL", "POD_ID",
)  # fmt: skip

CHECKS: Final = (
    Check("Python", in_thread(look_at_python)),
    Check("packages", in_thread(look_at_packages)),
    Check("settings", in_thread(look_at_settings)),
    Check("instructions", in_thread(look_at_instructions)),
    Check("tools", in_thread(look_at_tools), ("TOOLS", "TOOL_POLICY")),
    Check("open files", in_thread(look_at_open_files), ("MAX_CALLS", "RECORD_CALLS")),
    Check("recordings", in_thread(look_at_recordings), ("RECORD_CALLS",)),
    Check("voice door", look_at_voice_door, ("PORT",)),
    Check("webhook door", look_at_webhook_door, ("WEBHOOK_BIND",)),
    Check("console door", look_at_console_door, ("CONSOLE_BIND",)),
    Check("database", look_at_store),
    Check("Vapi", look_at_vapi, ("VAPI_BASE_URL",)),
    Check("way in", look_at_way_in, _TUNNEL),
    Check("engine", look_at_engine, ("ENGINE_URL",)),
    Check("fleet", in_thread(look_at_fleet), ("WEBHOOK_BIND", "POD_ID")),
)
