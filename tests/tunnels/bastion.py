"""A bastion: a real sshd on a free port of this machine, with keys of the test's own."""

import getpass
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding {forwarding}
AllowStreamLocalForwarding {forwarding}
StreamLocalBindUnlink yes
StreamLocalBindMask 0111
GatewayPorts no
PermitTTY no
MaxStartups 200
Banner {folder}/banner
"""
KEY_OPTIONS = 'restrict,port-forwarding,command="echo READY; exec cat >/dev/null"'


def make_key(path: Path) -> str:
    """A fresh key pair in `path` and `path`.pub; the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


@attrs.define(eq=False)
class Bastion:
    """Its files are in `folder`: host, user (keys), known_hosts, authorized_keys."""

    sshd: str
    folder: Path
    port: int
    forwarding: str = "remote"

    @property
    def target(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[trio.Process]:
        """It answers for the body, and is killed with its sessions on the way out."""
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, forwarding=self.forwarding))
        log = (self.folder / "log").open("ab")
        with log:
            process = await trio.lowlevel.open_process(
                [self.sshd, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            with trio.fail_after(10):
                while not self._answers():
                    assert process.poll() is None, (self.folder / "log").read_text()
                    await trio.sleep(0.02)
            yield process
        finally:
            with trio.move_on_after(5, shield=True):
                kill_tree(process.pid)
                await process.wait()

    def _answers(self) -> bool:
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0


def kill_tree(pid: int) -> None:
    """A process and all below it, killed."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
    for child in children:
        kill_tree(int(child))


def make_bastion(sshd: str, folder: Path) -> Bastion:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants its privilege separation folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host_key = make_key(folder / "host")
    (folder / "authorized_keys").write_text(f"{KEY_OPTIONS} {make_key(folder / 'user')}")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "banner").write_text("Welcome to the bastion\nREADY\nPermission denied (to strangers)\n")
    return Bastion(sshd, folder, port)
