"""Two machines and a cable between them: network namespaces of the test's own, which only root may make.

A socket belongs to the namespace that its thread was in when it was made. So the thread enters one for just that long,
and nothing else happens there. The real machine's network is not touched; a namespace goes with its last descriptor.
"""

import ctypes
import os
import socket as stdlib_socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.programs import need

NEAR_ADDRESS = "10.0.0.1"
FAR_ADDRESS = "10.0.0.2"
FAR_HARDWARE = "02:00:00:00:00:02"
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
BACKLOG = 16


def _system(call: str, *arguments: int) -> None:
    """unshare(2) or setns(2), of this thread alone; Python has them from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


@contextmanager
def _away_from_home() -> Iterator[None]:
    """The body may change this thread's namespace. It must not wait: another task would find itself elsewhere."""
    home = _present_namespace()
    try:
        yield
    finally:
        try:
            _system("setns", home, NEW_NETWORK)
        finally:
            os.close(home)


def _present_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@attrs.frozen(eq=False)
class Machine(trio.abc.SocketFactory):
    """A simulation.network.Network whose sockets are on this machine; and the same as a hook of Trio's, for all."""

    namespace: int

    def ip(self, command: str) -> None:
        """Raises OSError with what `ip` says."""
        with _away_from_home():
            _system("setns", self.namespace, NEW_NETWORK)
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False, timeout=10)
        if done.returncode != 0:
            raise OSError(0, f"ip {command}: {done.stderr.strip()}")

    def set_kernel(self, name: str, value: str) -> None:
        """A sysctl below net. Raises OSError where it is not known."""
        with _away_from_home():
            _system("setns", self.namespace, NEW_NETWORK)
            Path("/proc/sys/net", *name.split(".")).write_text(value)

    def socket(
        self, family: int = stdlib_socket.AF_INET, type: int = stdlib_socket.SOCK_STREAM, proto: int = 0
    ) -> trio.socket.SocketType:
        with _away_from_home():
            _system("setns", self.namespace, NEW_NETWORK)
            return trio.socket.from_stdlib_socket(stdlib_socket.socket(family, type, proto))

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        sock = self.socket()
        await sock.bind((host, port))
        sock.listen(BACKLOG)
        return [trio.SocketListener(sock)]

    async def dial(self, host: str, port: int) -> trio.SocketStream:
        sock = self.socket()
        await sock.connect((host, port))
        return trio.SocketStream(sock)


@attrs.frozen
class Cable:
    """Two machines that reach each other at NEAR_ADDRESS and FAR_ADDRESS."""

    near: Machine
    far: Machine

    def far_vanishes(self) -> None:
        """It loses its address: nothing it sends arrives, what is sent to it is dropped, and nobody is told."""
        self.far.ip("address flush dev far")


@contextmanager
def open_cable() -> Iterator[Cable]:
    """Raises OSError where namespaces are not allowed."""
    with ExitStack() as stack:
        near, far = (stack.enter_context(_open_machine()) for _ in range(2))
        theirs = f"/proc/{os.getpid()}/fd/{far.namespace}"
        near.ip(f"link add near type veth peer name far address {FAR_HARDWARE} netns {theirs}")
        for machine, name, address in ((near, "near", NEAR_ADDRESS), (far, "far", FAR_ADDRESS)):
            machine.ip("link set lo up")
            machine.ip(f"address add {address}/24 dev {name}")
            machine.ip(f"link set {name} up")
        # Known for good, or the near kernel would soon notice that nobody answers for the address.
        near.ip(f"neighbour add {FAR_ADDRESS} lladdr {FAR_HARDWARE} dev near nud permanent")
        yield Cable(near, far)


@contextmanager
def _open_machine() -> Iterator[Machine]:
    with _away_from_home():
        _system("unshare", NEW_NETWORK)
        machine = Machine(_present_namespace())
    try:
        yield machine
    finally:
        os.close(machine.namespace)


@contextmanager
def cable_or_skip() -> Iterator[Cable]:
    """For a fixture: skips where there is no `ip`, no root, or no namespaces."""
    need("ip", "iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root (network namespaces)")
    with ExitStack() as stack:
        try:
            cable = stack.enter_context(open_cable())
        except OSError as exc:
            pytest.skip(f"network namespaces are not allowed here, not even to root: {exc.strerror}")
        yield cable
