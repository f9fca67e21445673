"""ngrok, agent version 3: https://ngrok.com/docs/agent/cli and /docs/errors/reference.

- "tunnel session started" and "client session established" mean that the token was good. They also come right before
  an address is refused (ERR_NGROK_334). Only "started tunnel" is ready.
- `lvl` is "eror", with four letters. Such lines can be harmless; one with an ERR_NGROK code is not.
- The exit code is always 1: the code in the line tells the causes apart.
- Its text for a bad token repeats the token, so that text is never passed on.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from runtime.setting_values import Bind
from runtime.tunnels.engine import Command, one_line
from runtime.tunnels.facts import Busy, Degraded, Fact, Failed, Fatal, Ready, Recovered, Trouble, Url

BUSY: Final[Mapping[int, str]] = {
    108: "all agent sessions of the account are in use: stop one, or set TUNNEL_SHARE=serialize",
    334: "the account's address is online from elsewhere: stop that agent, or set TUNNEL_SHARE=serialize",
}
AUTH: Final[Mapping[int, str]] = {
    105: "NGROK_AUTHTOKEN is not a token of ngrok's",
    106: "NGROK_AUTHTOKEN is of an account that may not run agents",
    107: "NGROK_AUTHTOKEN is not valid any more",
    120: "this ngrok is too old: update the program",
    121: "this ngrok is too old: update the program",
    4018: "there is no token: set NGROK_AUTHTOKEN",
    8014: "ngrok has blocked this account or network",
}
QUOTA: Final[Mapping[int, str]] = {
    324: "the account's endpoints are all in use",
    725: "the account's traffic of this month is used up",
    727: "the account's requests of this month are used up",
    729: "the account's quota of this month is used up",
    18019: "the account may not share one address between agents",
}
PLAN_LIMITS: Final = range(300, 400)  # of addresses, domains, regions: whatever is not named above
SESSIONS: Final = ("client session established", "tunnel session started")


@attrs.frozen
class Ngrok:
    program: str = "ngrok"
    token: str = attrs.field(default="", repr=False)  # without one, ngrok's own configuration may hold it
    url: str | None = None
    name: str = "ngrok"

    @property
    def account(self) -> str:
        return f"ngrok {self.token}"

    def command(self, door: Bind, home: str) -> Command:  # noqa: ARG002  # its own configuration may hold the token
        argv = [self.program, "http", str(door.seen_from_here)]
        argv += ["--log=stdout", "--log-format=json", "--inspect=false"]  # inspecting keeps bodies, and our secrets
        if self.url:
            argv.append(f"--url={self.url}")
        if not self.token:
            return Command(tuple(argv))
        return Command(tuple(argv), {"NGROK_AUTHTOKEN": self.token}, (self.token,))

    def facts(self, line: str) -> tuple[Fact, ...]:
        if line.startswith("ERROR:"):
            return self._troubles(line, fatal=False)
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return ()
        return self._entry(entry) if isinstance(entry, dict) else ()

    def _entry(self, entry: dict[str, Any]) -> tuple[Fact, ...]:
        message, level, url = entry.get("msg"), entry.get("lvl"), entry.get("url")
        if message == "started tunnel" and isinstance(url, str):
            return Url(url), Ready()
        if message in SESSIONS:
            return (Recovered(),)
        if level not in ("eror", "crit"):
            return ()
        error = str(entry.get("err", ""))
        if troubles := self._troubles(error, fatal=level == "crit"):
            return troubles
        return (Degraded(f"ngrok: {one_line(error)}"),) if message == "failed to reconnect session" else ()

    def _troubles(self, text: str, *, fatal: bool) -> tuple[Trouble, ...]:
        code = re.search(r"ERR_NGROK_(\d{1,6})\b", text)
        if code:
            return (_trouble(int(code[1])),)
        return (Failed(f"ngrok: {one_line(text)}"),) if fatal else ()


def _trouble(code: int) -> Trouble:
    mark = f"(ERR_NGROK_{code})"
    if code in BUSY:
        return Busy(f"ngrok: {BUSY[code]} {mark}")
    if code in AUTH:
        return Fatal("tunnel_auth", f"ngrok: {AUTH[code]} {mark}")
    if code in QUOTA or code in PLAN_LIMITS:
        return Fatal("tunnel_quota", f"ngrok: {QUOTA.get(code, 'the plan of the account does not allow this')} {mark}")
    return Failed(f"ngrok failed: see https://ngrok.com/docs/errors/err_ngrok_{code}")
