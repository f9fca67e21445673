"""ssh -R to a real sshd on this machine."""

import shutil
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from runtime.errors import NoAnswer
from runtime.setting_values import Bind
from runtime.settings import Settings
from runtime.tunnels.tunnel import Tunnel
from tests.programs import need
from tests.tunnels.agents import free_port, lost_lines, open_stage, processes, until
from tests.tunnels.bastion import Bastion, kill_tree, make_bastion, make_key


@pytest.fixture
def bastion(tmp_path: Path) -> Bastion:
    need("ssh", "openssh-client")
    need("ssh-keygen", "openssh-client")
    return make_bastion(need("sshd", "openssh-server"), tmp_path)


def settings_for(bastion: Bastion, **changes: Any) -> Settings:
    """A tunnel to a socket in the bastion's folder."""
    made: dict[str, Any] = {
        "pod_id": "pod-1", "tunnel": "ssh", "tunnel_url": "https://hooks.example", "tunnel_probe": "off",
        "ssh_tunnel": bastion.target, "ssh_tunnel_key": bastion.folder / "user",
        "ssh_tunnel_known_hosts": bastion.folder / "known_hosts", "ssh_tunnel_socket": f"{bastion.folder}/{{pod}}.sock",
    }  # fmt: skip
    return Settings(**{**made, **changes})


async def post_through_socket(path: str, body: bytes) -> bytes:
    """As the bastion's web server would."""
    with trio.fail_after(5):
        async with await trio.open_unix_socket(path) as stream:
            head = b"POST /p/pod-1/tool HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            await stream.send_all(head + body)
            reply = h11.Connection(h11.CLIENT)
            reply.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
            answer = b""
            while True:
                event = reply.next_event()
                if event is h11.NEED_DATA:
                    reply.receive_data(await stream.receive_some(65_536))
                elif isinstance(event, h11.Data):
                    answer += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return answer


async def refused(tunnel: Tunnel) -> NoAnswer:
    with pytest.raises(NoAnswer) as raised:
        await tunnel.base_url()
    return raised.value


def ssh_clients(bastion: Bastion) -> list[int]:
    return processes(lambda words, _: words[0].endswith("ssh") and str(bastion.port) in words)


async def test_post_arrives_when_it_is_sent_to_the_socket_on_the_bastion(bastion: Bastion) -> None:
    async with bastion.up(), open_stage(settings_for(bastion)) as stage:
        assert await stage.tunnel.base_url() == "https://hooks.example"
        assert await post_through_socket(f"{bastion.folder}/pod-1.sock", b"hello") == b"hello"
        assert len(ssh_clients(bastion)) == 1
        stage.actor.cancel()
        await until(lambda: not ssh_clients(bastion), 2.0)


async def test_post_arrives_when_bastion_and_door_use_a_port_and_a_socket(bastion: Bastion) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"  # here the bastion's web server is ssh itself
    door = Bind(unix_path=str(bastion.folder / "door"))
    changes = {"ssh_tunnel_socket": f"127.0.0.1:{port}", "tunnel_url": url, "webhook_bind": door}
    async with bastion.up(), open_stage(settings_for(bastion, tunnel_probe="require", **changes)) as stage:
        assert await stage.leads_here(await stage.tunnel.base_url())


async def test_call_fails_when_the_forward_is_refused_though_the_banner_says_ready(bastion: Bastion) -> None:
    bastion.forwarding = "no"
    async with bastion.up(), open_stage(settings_for(bastion, tunnel_attempts=2)) as stage:
        answer = await refused(stage.tunnel)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_busy", 2)
        assert "does not forward" in answer.line


async def test_calls_go_on_when_the_bastion_was_killed_and_comes_back(bastion: Bastion) -> None:
    async with open_stage(settings_for(bastion, tunnel_attempts=12)) as stage, bastion.up() as sshd:
        await stage.tunnel.base_url()
        with stage.tunnel.use():
            begun = trio.current_time()
            kill_tree(sshd.pid)
            await until(lambda: stage.tunnel.counts["deaths"])
            assert trio.current_time() - begun < 1.0
            await sshd.wait()
            await until(lambda: stage.tunnel.counts["lost"] > 1)  # it has tried in vain
            async with bastion.up(), lost_lines(stage) as lost:
                assert await stage.tunnel.base_url() == "https://hooks.example"
                assert await post_through_socket(f"{bastion.folder}/pod-1.sock", b"again") == b"again"
                assert not lost.lines


async def test_call_fails_when_the_bastion_shows_another_key(bastion: Bastion) -> None:
    other = make_key(bastion.folder / "impostor")
    (bastion.folder / "known_hosts").write_text(f"[127.0.0.1]:{bastion.port} {other}")
    async with bastion.up(), open_stage(settings_for(bastion)) as stage:
        answer = await refused(stage.tunnel)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_auth", 1)
        assert "SSH_TUNNEL_KNOWN_HOSTS" in answer.line


@pytest.mark.parametrize(("key", "says"), [("stranger", "does not take the key"), ("open", "SSH_TUNNEL_KEY")])
async def test_call_fails_when_the_key_is_not_the_right_one_or_anybody_can_read_it(
    bastion: Bastion, key: str, says: str
) -> None:
    make_key(bastion.folder / "stranger")
    shutil.copyfile(bastion.folder / "user", bastion.folder / "open")
    (bastion.folder / "open").chmod(0o644)
    async with bastion.up(), open_stage(settings_for(bastion, ssh_tunnel_key=bastion.folder / key)) as stage:
        answer = await refused(stage.tunnel)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_auth", 1)
        assert says in answer.line


async def test_call_fails_when_the_bastion_is_down(bastion: Bastion) -> None:
    async with open_stage(settings_for(bastion, tunnel_attempts=2)) as stage:
        answer = await refused(stage.tunnel)
        assert (answer.cause, stage.tunnel.counts["starts"]) == ("tunnel_lost", 2)
        assert "Connection refused" in answer.line
