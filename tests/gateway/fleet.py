"""Real proxies with the printed configuration, small pods that say who they are, and requests byte by byte."""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio
import trustme

from runtime.gateway import CALLS_MAP, GatewayOptions, print_config
from runtime.webhook_secret import SECRET_HEADER, sign
from simulation.background import open_background
from simulation.http_server import HttpReply, HttpRequest, json_reply, serve_http_connection

PODS = tuple(f"pod-{number}" for number in range(1, 6))
SECRET = sign(b"not the pods' key", b"sixteen bytes ok")


@contextmanager
def short_folder() -> Iterator[Path]:
    """pytest's own folders are too deep for a unix socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@attrs.define(eq=False)
class SmallPod:
    """Answers everything with who it is. Mutable: `asked`, the paths; `mute`: it drops requests instead."""

    pod_id: str
    asked: list[str] = attrs.field(factory=list)
    mute: bool = False

    async def answer(self, request: HttpRequest) -> HttpReply | None:
        self.asked.append(request.path)
        return None if self.mute else json_reply(200, {"pod": self.pod_id, "bytes": len(request.body)})


@asynccontextmanager
async def open_small_pods(folder: Path, pod_ids: Sequence[str] = PODS) -> AsyncIterator[dict[str, SmallPod]]:
    pods = {pod_id: SmallPod(pod_id) for pod_id in pod_ids}
    async with open_background() as nursery:
        for pod in pods.values():
            sock = trio.socket.socket(trio.socket.AF_UNIX)
            await sock.bind(str(folder / f"{pod.pod_id}.sock"))
            sock.listen(128)
            serve = partial(serve_http_connection, handler=pod.answer)
            await nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        yield pods


@attrs.frozen
class Answer:
    status: int
    body: bytes

    def __contains__(self, words: str) -> bool:
        return words.encode() in self.body


@attrs.frozen
class Gateway:
    """A running proxy on a port of this machine."""

    port: int
    folder: Path
    process: trio.Process
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self,
        target: str,
        body: bytes = b"{}",
        *,
        method: str = "POST",
        secret: str | None = SECRET,
        secret_header: str = SECRET_HEADER,
        announced_bytes: int | None = None,
    ) -> Answer:
        """One request on a connection of its own, sent as it is written here, and the answer to it.

        `announced_bytes`: the Content-Length, if it is not the body's; then the head of the answer is enough.
        """
        length = len(body) if announced_bytes is None else announced_bytes
        head = [f"{method} {target} HTTP/1.1", "Host: hooks.test", "Connection: close", f"Content-Length: {length}"]
        head += [] if secret is None else [f"{secret_header}: {secret}"]
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self.tls is not None:
            stream = trio.SSLStream(stream, self.tls, server_hostname="hooks.test", https_compatible=True)
        reply = bytearray()
        with trio.fail_after(10):
            async with stream:
                await stream.send_all("\r\n".join([*head, "", ""]).encode("latin-1") + body)
                while piece := await stream.receive_some():
                    reply += piece
                    if announced_bytes is not None and b"\r\n\r\n" in reply:
                        break
        top, _, content = bytes(reply).partition(b"\r\n\r\n")
        return Answer(int(top.split()[1]), content)

    async def ask_often(self, target: str, times: int) -> Counter[int]:
        """How often each status came."""
        statuses: Counter[int] = Counter()

        async def ask() -> None:
            for _ in range(times // 10):
                statuses[(await self.ask(target)).status] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        return statuses


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def options_in(folder: Path, port: int, options: GatewayOptions) -> GatewayOptions:
    return attrs.evolve(
        options, listen=f"127.0.0.1:{port}", sockets=str(folder), runtime_socket=f"{folder}/api", haproxy_user=""
    )


PLAIN = GatewayOptions(certificate="")

NGINX_AROUND_IT = """
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    {temporary}
    include {folder}/voice.conf;
}}
"""


def write_nginx(folder: Path, voice_conf: str) -> Path:
    """A whole configuration for one nginx of our own, round what was printed."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""  # the pods' folder is ours alone
    (folder / "voice.conf").write_text(voice_conf)
    whole = folder / "nginx.conf"
    whole.write_text(NGINX_AROUND_IT.format(folder=folder, user=user, temporary=temporary))
    return whole


@asynccontextmanager
async def open_nginx(
    program: str, folder: Path, options: GatewayOptions = PLAIN, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Gateway]:
    port = free_port()
    whole = write_nginx(folder, print_config("nginx", options_in(folder, port, options)))
    command = [program, "-p", str(folder), "-c", str(whole), "-e", f"{folder}/error.log", "-g", "daemon off;"]
    async with open_proxy(command, folder, port) as process:
        yield Gateway(port, folder, process, tls)


@asynccontextmanager
async def open_haproxy(
    program: str,
    folder: Path,
    options: GatewayOptions = PLAIN,
    tls: ssl.SSLContext | None = None,
    port: int | None = None,
) -> AsyncIterator[Gateway]:
    port = port or free_port()
    (folder / CALLS_MAP).touch()
    (folder / "haproxy.cfg").write_text(print_config("haproxy", options_in(folder, port, options)))
    async with open_proxy([program, "-db", "-f", str(folder / "haproxy.cfg")], folder, port) as process:
        yield Gateway(port, folder, process, tls)


@asynccontextmanager
async def open_proxy(
    command: Sequence[str], folder: Path, port: int, user: int | None = None
) -> AsyncIterator[trio.Process]:
    """The program, once it listens; told to go at the end, so that it takes its workers with it. `user`: whom it runs
    as, with no group but his own."""
    whom = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    with (folder / "output").open("wb") as output:
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=subprocess.STDOUT, **whom)
        try:
            with trio.fail_after(10):
                while not await listens(port):
                    assert process.poll() is None, (folder / "output").read_text()
                    await trio.sleep(0.01)
            yield process
        finally:
            process.terminate()
            with trio.move_on_after(5, shield=True):
                await process.wait()


async def listens(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await trio.aclose_forcefully(stream)
    return True


def write_certificate(folder: Path) -> ssl.SSLContext:
    """tls.crt and tls.key of hooks.test in the folder; the context that trusts them."""
    authority, client = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(client)
    certificate = authority.issue_cert("hooks.test")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    return client


DISGUISED = [
    "/p/pod-1/../pod-2/tool", "/p/../p/pod-2/tool", "/p/..%2fpod-2/tool", "/p/..%2Fp%2Fpod-2/tool",
    "/p/x/%2e%2e/pod-2/tool", "/p/pod%2d2/tool", "/p/pod-2%00/tool", "/p/pod-2%00.sock/tool", "/p/POD-2/tool",
    "/P/pod-2/tool", "/p/pod-2/TOOL", "/p/pod-2/tool/", "//p/pod-2/tool", "/p//pod-2/tool", "/p/pod-2/./tool",
    "/p/pod-2/tool?x=1", "/p/pod-2/tool%0a", "/p/pod-2/tool%20", "/p/x/pod-2/tool", "/p/pod-2.sock:/tool",
    "/p/./pod-2/tool", f"/p/{'a' * 41}/tool", "/p//tool", "/p/tool", "/pod-2/tool", "/p/pod-2/other", "/p/pod-2/",
    "/p/pod-2\\..\\pod-2/tool", "/metrics", "/",
]  # fmt: skip


async def check_shared_tool(gateway: Gateway, status: int) -> None:
    """`/tool` answers so whoever shows a secret where Vapi may put one, and nobody else."""
    fleet_secret = "sixteen-or-more-characters"
    for header, shown in (
        (SECRET_HEADER, SECRET), (SECRET_HEADER, fleet_secret), ("X-Vapi-Secret", fleet_secret),
        ("Authorization", f"Bearer {fleet_secret}"),
    ):  # fmt: skip
        assert (await gateway.ask("/tool", secret=shown, secret_header=header)).status == status, header
    for header, shown in (("X-Vapi-Secret", ""), (SECRET_HEADER, "short"), ("Cookie", fleet_secret)):
        assert (await gateway.ask("/tool", secret=shown, secret_header=header)).status == 401, header
    assert (await gateway.ask("/tool", method="GET")).status == 405
    assert (await gateway.ask("//tool")).status == 404


async def check_doors(gateway: Gateway, pods: dict[str, SmallPod]) -> None:
    """What every gateway does: each pod answers for itself, and what is not a tool call gets its status."""
    for pod_id in pods:
        answer = await gateway.ask(f"/p/{pod_id}/tool", b'{"a":"' + b"x" * 200_000 + b'"}')
        assert answer.status == 200
        assert f'"pod":"{pod_id}","bytes":200008' in answer
    assert {pod_id: pod.asked for pod_id, pod in pods.items()} == {pod_id: [f"/p/{pod_id}/tool"] for pod_id in pods}

    for pod in pods.values():
        pod.asked.clear()
    for target in DISGUISED:
        answer = await gateway.ask(target)
        assert answer.status in (400, 404), (target, answer)
    for secret in (None, "", "x", SECRET[:-1], SECRET.upper(), f"{SECRET}0", SECRET.replace(".", "-")):
        assert (await gateway.ask("/p/pod-1/tool", secret=secret)).status == 401, secret
    assert (await gateway.ask("/p/pod-1/tool", b"", announced_bytes=3_000_000)).status == 413
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert (await gateway.ask("/p/pod-1/tool", b"", method=method)).status == 405
    assert (await gateway.ask("/p/pod-1/healthz")).status == 405
    assert (await gateway.ask("/healthz")).status == 405
    own = await gateway.ask("/healthz", b"", method="GET", secret=None)
    assert (own.status, '"gateway"' in own) == (200, True)
    assert not any(pod.asked for pod in pods.values())

    answer = await gateway.ask("/p/pod-4/healthz", b"", method="GET", secret=None)
    assert (answer.status, '"pod":"pod-4"' in answer) == (200, True)
    assert pods["pod-4"].asked == ["/healthz"]
