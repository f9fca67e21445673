"""The gateway's pod as Kubernetes would run it: the command, both files of the ConfigMap, a user of its own that may
write to one folder only, and pods that are found by their names."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from runtime.gateway import GatewayOptions
from simulation.background import open_background
from simulation.http_server import Handler, HttpReply, HttpRequest, serve_http_connection
from tests.gateway.fleet import Gateway, SmallPod, free_port, listens, open_proxy, short_folder, write_certificate
from tests.gateway.kubernetes import container_of, printed_objects
from tests.programs import need
from tests.wire.cluster_dns import ClusterDns, open_cluster_dns

NOBODY = 65_534
DOMAIN = "voice.calls.svc.cluster.local"


@pytest.fixture
def nginx() -> str:
    return need("nginx", "nginx-light")


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        made.chmod(0o755)
        yield made


@attrs.frozen
class Cluster:
    """Pods on addresses of their own, a name server, and the gateway. Each pod listens on the same port."""

    nginx: str
    folder: Path
    dns: ClusterDns
    pods_port: int
    nursery: trio.Nursery

    async def add(self, pod_id: str, address: str, handler: Handler) -> None:
        sock = trio.socket.socket()
        await sock.bind((address, self.pods_port))
        sock.listen(128)
        serve = partial(serve_http_connection, handler=handler)
        await self.nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
        self.dns.addresses[f"{pod_id}.{DOMAIN}"] = [address]
        self.dns.addresses.setdefault(DOMAIN, []).append(address)

    def _laid_out(self, vapi_addresses_only: bool, port: int) -> list[str]:
        """The printed command, with its files in place. Only what is this machine's is replaced: the folders, and the
        ports, which may be taken here."""
        options = GatewayOptions(
            namespace="calls",
            server_name="hooks.test",
            resolver=f"127.0.0.1:{self.dns.port}",
            vapi_addresses_only=vapi_addresses_only,
        )
        objects = printed_objects(options)
        container = container_of(objects, "Deployment", "voice-gateway")
        replaced = {":8009": f":{self.pods_port}", "listen 8443": f"listen 127.0.0.1:{port}", "valid=5s": "valid=1s"}
        for mount in container["volumeMounts"]:
            replaced[f"{mount['mountPath']}/"] = f"{self.folder}/{mount['name']}/"
            (self.folder / mount["name"]).mkdir()

        def here(text: str) -> str:
            for there, ours in replaced.items():
                text = text.replace(there, ours)
            return text

        for name, text in objects["ConfigMap", "voice-gateway"]["data"].items():
            (self.folder / "configuration" / name).write_text(here(text))
        if os.geteuid() == 0:
            os.chown(self.folder / "tmp", NOBODY, NOBODY)
        return [self.nginx, *(here(argument) for argument in container["command"][1:])]

    @asynccontextmanager
    async def gateway(self, vapi_addresses_only: bool = False) -> AsyncIterator[Gateway]:
        port = free_port()
        command = self._laid_out(vapi_addresses_only, port)
        tls = write_certificate(self.folder / "tls")
        async with open_proxy(command, self.folder, port, NOBODY if os.geteuid() == 0 else None) as process:
            yield Gateway(port, self.folder, process, tls)


@pytest.fixture
async def cluster(nginx: str, folder: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(open_cluster_dns())
        nursery = await stack.enter_async_context(open_background())
        yield Cluster(nginx, folder, dns, free_port(), nursery)


async def test_gateway_finds_pods_by_their_names_and_follows_one_that_comes_back_elsewhere(cluster: Cluster) -> None:
    pods = [SmallPod(f"voice-{number}") for number in range(3)]
    for number, pod in enumerate(pods):
        await cluster.add(pod.pod_id, f"127.0.0.{number + 2}", pod.answer)
    async with cluster.gateway() as gateway:
        for pod in pods:
            answer = await gateway.ask(f"/p/{pod.pod_id}/tool")
            assert (answer.status, json.loads(answer.body)["pod"]) == (200, pod.pod_id)
        assert (await gateway.ask("/p/voice-9/tool")).status == 502  # there is no such name
        long = await gateway.ask("/p/voice-0/tool", b'{"a":"' + b"x" * 500_000 + b'"}')  # kept in a file meanwhile
        assert (long.status, json.loads(long.body)["bytes"]) == (200, 500_008)
        assert (await gateway.ask("/tool")).status == 200
        probe = await gateway.ask("/healthz", b"", method="GET", secret=None)
        assert (probe.status, '"gateway":"nginx"' in probe) == (200, True)

        again = SmallPod("voice-1")
        await cluster.add("voice-1", "127.0.0.9", again.answer)
        with trio.fail_after(5):
            while not again.asked:
                assert (await gateway.ask("/p/voice-1/tool")).status == 200
                await trio.sleep(0.05)
    said = (cluster.folder / "output").read_text()
    assert [line for line in said.splitlines() if "could not be resolved (3: Host not found)" not in line] == []


async def test_gateway_answers_what_is_under_way_when_it_is_told_to_go(cluster: Cluster) -> None:
    pod, may_answer, answers = SmallPod("voice-0"), trio.Event(), []

    async def slowly(request: HttpRequest) -> HttpReply | None:
        reply = await pod.answer(request)
        await may_answer.wait()
        return reply

    await cluster.add("voice-0", "127.0.0.2", slowly)
    async with cluster.gateway() as gateway, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append((await gateway.ask("/p/voice-0/tool")).status)

        nursery.start_soon(ask)
        with trio.fail_after(5):
            while not pod.asked:
                await trio.sleep(0.01)
        gateway.process.send_signal(signal.SIGQUIT)  # the image's STOPSIGNAL
        with trio.fail_after(5):
            while await listens(gateway.port):
                await trio.sleep(0.01)
        assert gateway.process.poll() is None
        may_answer.set()
        with trio.fail_after(5):
            assert await gateway.process.wait() == 0
    assert answers == [200]


async def test_gateway_lets_the_probe_in_when_it_lets_in_nobody_but_vapi(cluster: Cluster) -> None:
    await cluster.add("voice-0", "127.0.0.2", SmallPod("voice-0").answer)
    async with cluster.gateway(vapi_addresses_only=True) as gateway:
        assert (await gateway.ask("/healthz", b"", method="GET", secret=None)).status == 200
        assert (await gateway.ask("/p/voice-0/tool")).status == 403
