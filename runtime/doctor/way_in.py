"""How Vapi reaches the webhook door: the address given, or the tunnel's program, run for its version only."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import attrs
import trio

from runtime.doctor.finding import Finding, one_line
from runtime.errors import SettingsError
from runtime.settings import Reading, Settings
from runtime.tunnels.child import CannotStart, open_child
from runtime.tunnels.choose import choose_engine
from runtime.tunnels.cloudflared import Cloudflared
from runtime.tunnels.engine import Command, Engine
from runtime.tunnels.ngrok import Ngrok
from runtime.tunnels.ssh import Ssh

NAME: Final = "way in"
VERSION_SECONDS: Final = 5.0  # for a program to say its version
CHECK: Final = "`voice tunnel check` starts it and sees whether it leads here"
OTHERS_MAY_READ: Final = 0o077


async def look_at_way_in(reading: Reading) -> Sequence[Finding]:
    settings = reading.settings
    try:
        engine = choose_engine(settings)
    except SettingsError as exc:
        return [Finding("wrong", NAME, one_line(exc), "see docs/tunnels.md")]
    if engine is None:
        return [_fixed(settings)]
    said = await _version(engine)
    if said.trouble:
        line = f"{engine.name}: {program(engine)} {said.trouble}"
        return [Finding("wrong", NAME, line, "install it again, or correct its path in the settings")]
    mark, line, advice = _credentials(engine)
    return [Finding(mark, NAME, f"{engine.name}: {said.line} ({program(engine)}); {line}", advice)]


def _fixed(settings: Settings) -> Finding:
    if settings.public_base_url is None:
        return Finding("ok", NAME, "no tunnel is needed: Vapi is simulated on this machine")
    advice = "" if settings.vapi_is_simulated else "`voice tunnel check` sees whether it leads here"
    return Finding("ok", NAME, f"PUBLIC_BASE_URL={settings.public_base_url}, no tunnel of our own", advice)


@attrs.frozen
class Version:
    """What a program says of itself, or what is wrong with it."""

    line: str = ""
    trouble: str = ""


def program(engine: Engine) -> str:
    return engine.program if isinstance(engine, Ngrok | Cloudflared | Ssh) else engine.name


async def _version(engine: Engine) -> Version:
    """Run as the tunnel runs it: with none of our secrets in its environment, and stopped when it hangs."""
    lines: list[str] = []
    flag = "-V" if isinstance(engine, Ssh) else "--version"
    with trio.move_on_after(VERSION_SECONDS):
        try:
            async with open_child(Command((program(engine), flag)), lines.append) as child:
                await child.ended.wait()
                line = one_line(next((line for line in lines if line.strip()), ""))
                if child.could_not_run or child.code:
                    return Version(trouble=f"does not run: exit code {child.code}, {line or 'without a word'}")
                return Version(line or "a version it does not tell")
        except CannotStart as exc:
            return Version(trouble=one_line(exc))
    return Version(trouble=f"did not say its version within {VERSION_SECONDS:g} s")


def _credentials(engine: Engine) -> tuple[Literal["ok", "warning", "wrong"], str, str]:
    """(mark, what is there to identify us, what to do)"""
    if isinstance(engine, Ngrok):
        if engine.token:
            return "ok", "NGROK_AUTHTOKEN is given", CHECK
        advice = f"set NGROK_AUTHTOKEN, unless `ngrok config add-authtoken` was run for this user; {CHECK}"
        return "warning", "no NGROK_AUTHTOKEN", advice
    if isinstance(engine, Ssh):
        return _ssh_files(engine)
    if isinstance(engine, Cloudflared) and engine.token:
        return "ok", f"TUNNEL_TOKEN is given, for {engine.url}", CHECK
    return "ok", "a quick tunnel, with no account and no promise", CHECK


def _ssh_files(engine: Ssh) -> tuple[Literal["ok", "warning", "wrong"], str, str]:
    if engine.key is not None and stat.S_IMODE(engine.key.stat().st_mode) & OTHERS_MAY_READ:
        return "wrong", f"SSH_TUNNEL_KEY: others may read {engine.key}, so ssh refuses it", f"chmod 600 {engine.key}"
    known = engine.known_hosts or Path("~/.ssh/known_hosts").expanduser()
    if not known.exists():
        host = engine.target.rpartition("@")[2]
        advice = f"`ssh-keyscan` {host}, compare what it says, put it in a file, and set SSH_TUNNEL_KNOWN_HOSTS"
        return "wrong", f"no key of the bastion is known: {known} is not there", advice
    key = "SSH_TUNNEL_KEY" if engine.key else "this user's own keys"
    return "ok", f"{key}, and the bastion's key in {known}", CHECK
