"""ssh -R to a bastion of one's own, where a web server passes /p/{pod}/ on to what ssh listens on.

- The session's command says READY and then waits. sshd handles requests in order, so READY comes after the forward
  was granted; ExitOnForwardFailure ends the client when it was not. The key's forced command on the bastion says the
  same, and goes before ours.
- A server's banner comes on standard error and may say anything: with LogLevel ERROR the client keeps it to itself.
- Standard input stays open: at its end the remote command ends, and with it the tunnel.
"""

import re
from pathlib import Path
from typing import Final

import attrs

from runtime.setting_values import Bind
from runtime.tunnels.engine import Command, one_line
from runtime.tunnels.facts import Busy, Fact, Failed, Fatal, Ready

COMMAND: Final = "echo READY; exec cat >/dev/null"
OPTIONS: Final = (
    "BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes", "LogLevel=ERROR",
    "ServerAliveInterval=5", "ServerAliveCountMax=2", "ConnectTimeout=5",
)  # fmt: skip

REFUSED: Final = re.compile(r"Permission denied \(|Too many authentication failures")
HOST_KEY: Final = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION|No \S+ host key is known")
BAD_KEY: Final = re.compile(r'Load key "|Identity file \S+ not accessible')
FORWARD: Final = re.compile(r"remote port forwarding failed for listen")
CROWD: Final = re.compile(r"kex_exchange_identification|Exceeded MaxStartups")
OTHER: Final = re.compile(
    r"^ssh: |^Connection (to|reset|closed)|Timeout, server|client_loop|Could not resolve|Bad (port|owner)|not respond"
)


@attrs.frozen
class Ssh:
    target: str
    """user@host or user@host:port."""
    url: str
    """Where the bastion's web server publishes the pods."""
    listen: str
    """On the bastion: a socket's path, or host:port."""
    key: Path | None = None
    known_hosts: Path | None = None
    program: str = "ssh"
    name: str = "ssh"

    @property
    def account(self) -> str:
        return f"ssh {self.target} {self.listen}"

    def command(self, door: Bind, home: str) -> Command:  # noqa: ARG002  # keys are found below the user's own
        user, _, host = self.target.rpartition("@")
        host, port = _host_and_port(host)
        argv = [self.program, "-F", "none", "-T"]
        for option in OPTIONS:
            argv += ["-o", option]
        if self.known_hosts:
            argv += ["-o", f'UserKnownHostsFile="{self.known_hosts}"', "-o", "GlobalKnownHostsFile=none"]
        if self.key:
            argv += ["-i", str(self.key)]
        if port:
            argv += ["-p", port]
        argv += ["-R", f"{self.listen}:{door.unix_path or door.seen_from_here}"]
        return Command((*argv, "-l", user, "--", host, COMMAND))

    def facts(self, line: str) -> tuple[Fact, ...]:
        if line == "READY":
            return (Ready(),)
        if HOST_KEY.search(line):
            why = "the bastion does not show the key that SSH_TUNNEL_KNOWN_HOSTS has for it: another machine answers"
            return (Fatal("tunnel_auth", f"ssh: {why}, or its key was never put there"),)
        if BAD_KEY.search(line):
            return (Fatal("tunnel_auth", f"ssh: cannot use the key in SSH_TUNNEL_KEY: {one_line(line)}"),)
        if REFUSED.search(line):
            return (Fatal("tunnel_auth", f"ssh: the bastion does not take the key: {one_line(line)}"),)
        if FORWARD.search(line):
            why = "another session listens there, or its sshd does not allow it"
            return (Busy(f"ssh: the bastion does not forward {self.listen}: {why}"),)
        if CROWD.search(line):
            return (Failed(f"ssh: the bastion turns connections away (sshd's MaxStartups): {one_line(line)}"),)
        return (Failed(f"ssh: {one_line(line.removeprefix('ssh: '))}"),) if OTHER.search(line) else ()


def _host_and_port(text: str) -> tuple[str, str]:
    """host, host:port, [v6]:port or a bare v6 address; the port may be empty."""
    if found := re.fullmatch(r"\[(.+)\](?::(\d+))?", text):
        return found[1], found[2] or ""
    host, _, port = text.rpartition(":")
    return (host, port) if host and ":" not in host and port.isdigit() else (text, "")
