"""cloudflared: a quick tunnel, which needs no account, or a named one, which has a lasting address.

- All its output is on standard error. The banner with a quick tunnel's address comes before any connection to
  Cloudflare: ready is "Registered tunnel connection", or 200 from `/ready` on the metrics address.
- It reconnects by itself and does not exit when the edge is lost.
- Making quick tunnels is rate-limited (429, error 1015): the next try waits a minute.
- A quick tunnel refuses to run beside a configuration file, so it gets an empty HOME. Each start has a new address.
"""

import re
from typing import Final

import attrs

from runtime import limits
from runtime.setting_values import Bind
from runtime.tunnels.engine import Command, one_line
from runtime.tunnels.facts import Busy, Degraded, Fact, Failed, Fatal, Metrics, Ready, Url

BANNER: Final = re.compile(r"\|\s+(https?://\S+)\s+\|\s*$")  # the address stands alone in its box
METRICS: Final = re.compile(r"Starting metrics server on (\S+?)/metrics")
# Only the line about the making of a quick tunnel: other lines quote the addresses that strangers ask for.
RATE_LIMITED: Final = re.compile(r'Error unmarshaling QuickTunnel response: .*(?:status_code="?429|error code: 1015)')
REQUEST: Final = re.compile(r"Request failed| dest=| originService=")
REFUSED: Final = re.compile(
    r"Provided Tunnel token is not valid|Unauthorized: (Invalid tunnel secret|Tunnel not found)"
)
LOST: Final = re.compile(r"Lost connection with the edge|Unregistered tunnel connection")
ERROR: Final = re.compile(r"(?:^|Z )ERR (.+)|^(failed to .+)|^(error.+)", re.IGNORECASE)
RATE_LIMIT_LINE: Final = "cloudflared: Cloudflare allows no more quick tunnels from here for now (429); wait a minute"


@attrs.frozen
class Cloudflared:
    program: str = "cloudflared"
    token: str = attrs.field(default="", repr=False)  # a named tunnel's
    named_url: str | None = None
    """With `token`: where Cloudflare publishes it. Its way to the webhook door is set in Cloudflare's dashboard."""
    name: str = "cloudflared"

    @property
    def url(self) -> str | None:
        return self.named_url if self.token else None

    @property
    def account(self) -> str | None:
        return f"cloudflared {self.token}" if self.token else None

    def command(self, door: Bind, home: str) -> Command:
        argv = (self.program, "tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "--grace-period", "2s")
        if self.token:
            return Command((*argv, "run"), {"TUNNEL_TOKEN": self.token}, (self.token,))
        if door.unix_path:
            return Command((*argv, "--unix-socket", door.unix_path), {"HOME": home})
        return Command((*argv, "--url", f"http://{door.seen_from_here}"), {"HOME": home})

    def facts(self, line: str) -> tuple[Fact, ...]:
        if REQUEST.search(line):
            return ()
        if RATE_LIMITED.search(line):
            return (Busy(RATE_LIMIT_LINE, limits.TUNNEL_RATE_LIMITED_SECONDS),)
        if REFUSED.search(line):
            return (Fatal("tunnel_auth", "cloudflared: TUNNEL_TOKEN is not the token of a tunnel that exists"),)
        if "Registered tunnel connection" in line:
            return (Ready(),)
        if metrics := METRICS.search(line):
            return (Metrics(f"http://{metrics[1]}"),)
        if not self.token and (banner := BANNER.search(line)):
            return (Url(banner[1]),)
        if LOST.search(line):
            return (Degraded(f"cloudflared: {one_line(line)}"),)
        if error := ERROR.search(line):
            return (Failed(f"cloudflared: {one_line(error[1] or error[2] or error[3])}"),)
        return ()
