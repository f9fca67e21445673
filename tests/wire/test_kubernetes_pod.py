"""A pod's doors under the environment that the manifest gives it, asked from another machine as the kubelet, Prometheus
and a stranger would ask."""

from collections.abc import Iterator

import pytest
import trio

from tests.gateway.kubernetes import container_of, environment_of, printed_objects
from tests.wire.machines import NEAR_ADDRESS, Cable, Machine, cable_or_skip
from tests.world import open_world


@pytest.fixture
def cable() -> Iterator[Cable]:
    """The pod's machine, on which every port is free, and another."""
    with cable_or_skip() as joined:
        yield joined


async def ask(elsewhere: Machine, port: int, path: str) -> tuple[int, str]:
    """Status and body, asked as a probe asks: with the pod's address as Host."""
    host = f"{NEAR_ADDRESS}:{port}"
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n\r\n"
    reply = bytearray()
    with trio.fail_after(5):
        async with await elsewhere.dial(NEAR_ADDRESS, port) as stream:
            await stream.send_all(request.encode())
            while piece := await stream.receive_some():
                reply += piece
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_probes_are_answered_and_the_page_is_not_when_another_machine_asks(cable: Cable) -> None:
    trio.socket.set_custom_socket_factory(cable.near)
    objects = printed_objects()
    container = container_of(objects, "StatefulSet", "voice")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    async with open_world(VOICE_HOST="0.0.0.0", **environment_of(objects)) as world:
        assert world.doors.voice_url.endswith(f":{ports['voice']}/voice")
        for probe in ("readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            status, body = await ask(cable.far, ports[get["port"]], get["path"])
            assert status == 200, (probe, body)
        annotations = objects["StatefulSet", "voice"]["spec"]["template"]["metadata"]["annotations"]
        status, figures = await ask(cable.far, int(annotations["prometheus.io/port"]), "/metrics")
        assert (status, "voice_calls{" in figures) == (200, True)
        for path in ("/", "/calls", "/events"):
            status, refusal = await ask(cable.far, ports["console"], path)
            assert (status, "this machine only" in refusal) == (403, True)
