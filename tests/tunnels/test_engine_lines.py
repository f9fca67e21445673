"""What the lines of the agents mean: pure functions, fed with lines as the programs print them."""

import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime.setting_values import Bind
from runtime.tunnels.agent import Agent
from runtime.tunnels.cloudflared import Cloudflared
from runtime.tunnels.engine import Engine
from runtime.tunnels.facts import Busy, Degraded, Failed, Fatal, Metrics, Ready, Recovered, Url
from runtime.tunnels.ngrok import Ngrok
from runtime.tunnels.ssh import Ssh

SSH = Ssh("tunnel@bastion.example", "https://hooks.example", "/run/pods/pod-1.sock")
ENGINES: tuple[Engine, ...] = (
    Ngrok(token="t"), Cloudflared(), Cloudflared(token="t", named_url="https://x.example"), SSH,
)  # fmt: skip
STARTED = {
    "addr": {"Scheme": "http", "Host": "127.0.0.1:8009"}, "lvl": "info", "msg": "started tunnel",
    "name": "command_line", "obj": "tunnels", "t": "2025-09-01T10:00:00Z", "url": "https://a-b.ngrok-free.app",
}  # fmt: skip


def ngrok_error(code: int, level: str = "eror") -> str:
    text = f"authentication failed: Your authtoken: hunter2\r\n\r\nERR_NGROK_{code}\r\n"
    return json.dumps({"lvl": level, "msg": "session closing", "obj": "tunnels.session", "err": text})


def test_ngrok_is_ready_when_the_tunnel_was_started() -> None:
    assert Ngrok().facts(json.dumps(STARTED)) == (Url("https://a-b.ngrok-free.app"), Ready())
    in_words = dict(STARTED, addr="http://127.0.0.1:8009")
    assert Ngrok().facts(json.dumps(in_words)) == (Url("https://a-b.ngrok-free.app"), Ready())


@pytest.mark.parametrize("message", ["tunnel session started", "client session established"])
def test_ngrok_is_not_ready_when_only_its_session_was_started(message: str) -> None:
    line = json.dumps({"lvl": "info", "msg": message, "obj": "tunnels.session"})
    assert Ngrok().facts(line) == (Recovered(),)
    agent = Agent(Ngrok(url="https://mine.example"), lambda *_: None)
    agent.heard(line)
    assert agent.state == "url"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (108, "tunnel_busy"), (334, "tunnel_busy"),
        *((code, "tunnel_auth") for code in (105, 106, 107, 120, 121, 4018, 8014)),
        *((code, "tunnel_quota") for code in (302, 312, 313, 324, 399, 725, 727, 729, 18019)),
        (99999, "tunnel_lost"),
    ],
)  # fmt: skip
def test_ngrok_tells_the_causes_apart_when_it_gives_a_code(code: int, cause: str) -> None:
    (fact,) = Ngrok().facts(ngrok_error(code))
    assert isinstance(fact, Busy | Fatal | Failed)
    assert (fact.cause, isinstance(fact, Fatal)) == (cause, cause in ("tunnel_auth", "tunnel_quota"))
    assert str(code) in fact.line
    assert "hunter2" not in fact.line
    assert Ngrok().facts(f"ERROR:  ERR_NGROK_{code}") == (fact,)


def test_ngrok_is_not_refused_when_an_error_has_no_code() -> None:
    assert Ngrok().facts(json.dumps({"lvl": "eror", "msg": "unable to check host info", "err": "x"})) == ()
    offline = json.dumps({"lvl": "eror", "msg": "failed to reconnect session", "err": "dial tcp:\r\n no such host"})
    assert Ngrok().facts(offline) == (Degraded("ngrok: dial tcp: no such host"),)
    assert Ngrok().facts(json.dumps({"lvl": "crit", "msg": "command failed", "err": "bad flag"})) == (
        Failed("ngrok: bad flag"),
    )


CLOUDFLARED_LINES = [
    ("2026-01-01T00:00:00Z INF Starting metrics server on 127.0.0.1:38001/metrics", Metrics("http://127.0.0.1:38001")),
    ("2026-01-01T00:00:00Z INF |  https://a-b-c.trycloudflare.com                  |",
     Url("https://a-b-c.trycloudflare.com")),
    ("2026-01-01T00:00:00Z INF Registered tunnel connection connIndex=0 connection=7d location=fra01", Ready()),
    ("2026-01-01T00:00:00Z ERR Failed to dial connIndex=0", Failed("cloudflared: Failed to dial connIndex=0")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "fact"), CLOUDFLARED_LINES)
def test_cloudflared_tells_one_thing_when_it_prints_a_line_that_matters(line: str, fact: object) -> None:
    assert Cloudflared().facts(line) == (fact,)


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01T00:00:00Z INF |  Your quick Tunnel has been created! Visit it at (it may take some   |",
        "2026-01-01T00:00:00Z INF Thank you for trying Cloudflare Tunnel. See https://developers.cloudflare.com/x |",
        "2026-01-01T00:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...",
        "2026-01-01T00:00:00Z INF +--------------------------------+",
    ],
)
def test_cloudflared_tells_nothing_when_a_line_only_looks_like_an_address(line: str) -> None:
    assert Cloudflared().facts(line) == ()


def test_cloudflared_is_not_ready_when_only_its_banner_came() -> None:
    agent = Agent(Cloudflared(), lambda *_: None)
    agent.heard(CLOUDFLARED_LINES[1][0])
    assert (agent.state, agent.url) == ("url", "https://a-b-c.trycloudflare.com")
    agent.heard(CLOUDFLARED_LINES[2][0])
    assert agent.state == "ready"


def test_cloudflared_rests_when_quick_tunnels_are_rate_limited() -> None:
    line = 'Z ERR Error unmarshaling QuickTunnel response: error code: 1015 status_code="429 Too Many Requests"'
    (fact,) = Cloudflared().facts(line)
    assert isinstance(fact, Busy)
    assert fact.rest_seconds >= 60


@pytest.mark.parametrize("token", ["", "t"])
@pytest.mark.parametrize(
    "asked_for",
    ["status_code=429", "error code: 1015", "Registered tunnel connection", "Provided Tunnel token is not valid"],
)
def test_cloudflared_tells_nothing_when_a_line_quotes_what_a_stranger_asked_for(asked_for: str, token: str) -> None:
    line = (
        '2026-01-01T00:00:00Z ERR Request failed error="Incoming request ended abruptly: context canceled" connIndex=0'
        f" dest=https://a-b-c.trycloudflare.com/{asked_for} originService=http://127.0.0.1:8009 type=http"
    )
    assert Cloudflared(token=token, named_url="https://x.example").facts(line) == ()


@pytest.mark.parametrize(
    ("line", "kind", "cause"),
    [
        ("root@127.0.0.1: Permission denied (publickey).", Fatal, "tunnel_auth"),
        ("Host key verification failed.", Fatal, "tunnel_auth"),
        ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", Fatal, "tunnel_auth"),
        ("No ED25519 host key is known for [b]:22 and you have requested strict checking.", Fatal, "tunnel_auth"),
        ('Load key "/k": error in libcrypto', Fatal, "tunnel_auth"),
        ("Error: remote port forwarding failed for listen path /run/pods/pod-1.sock", Busy, "tunnel_busy"),
        ("kex_exchange_identification: Connection reset by peer", Failed, "tunnel_lost"),
        ("Connection to 127.0.0.1 closed by remote host.", Failed, "tunnel_lost"),
        ("ssh: Could not resolve hostname b: Name or service not known", Failed, "tunnel_lost"),
        ("Timeout, server b not responding.", Failed, "tunnel_lost"),
    ],
)
def test_ssh_tells_the_causes_apart_when_it_fails(line: str, kind: type, cause: str) -> None:
    (fact,) = SSH.facts(line)
    assert isinstance(fact, kind)
    assert fact.cause == cause  # type: ignore[attr-defined]


def test_ssh_is_ready_when_the_session_says_so_and_only_then() -> None:
    assert SSH.facts("READY") == (Ready(),)
    for line in ("READY?", " READY", "Are you READY", "Welcome"):
        assert SSH.facts(line) == ()


words = st.sampled_from(
    ["ERR_NGROK_", "108", "|", "https://x", "READY", "ERR ", "{", '"msg":', '"lvl":"crit"', "\\", " "]
)


@hypothesis.given(st.one_of(st.text(max_size=80), st.lists(words, max_size=8).map("".join)))
def test_engines_make_only_facts_of_lines_when_these_are_garbage(line: str) -> None:
    for engine in ENGINES:
        for fact in engine.facts(line):
            assert isinstance(fact, Url | Metrics | Ready | Recovered | Degraded | Busy | Fatal | Failed)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.given(st.dictionaries(st.sampled_from(["lvl", "msg", "err", "url", "addr"]), json_values, max_size=5))
def test_ngrok_survives_any_json_when_fields_are_of_the_wrong_kind(entry: dict[str, object]) -> None:
    for line in (entry, {**entry, "lvl": "crit"}, {**entry, "msg": "started tunnel"}):
        Ngrok().facts(json.dumps(line))
    assert Ngrok().facts("[" * 100_000) == ()


def test_agent_stays_dead_when_more_lines_come() -> None:
    states: list[str] = []
    agent = Agent(Ngrok(), lambda state, _: states.append(state))
    for line in (ngrok_error(108), json.dumps(STARTED)):
        agent.heard(line)
    assert states == ["dead"]
    assert agent.end.cause == "tunnel_busy"


def test_agent_is_degraded_only_when_it_was_ready() -> None:
    states: list[str] = []
    agent = Agent(Ngrok(), lambda state, _: states.append(state))
    offline = json.dumps({"lvl": "eror", "msg": "failed to reconnect session", "err": "no such host"})
    again = json.dumps({"lvl": "info", "msg": "client session established"})
    for line in (offline, again, json.dumps(STARTED), offline, offline, again):
        agent.heard(line)
    assert states == ["url", "ready", "degraded", "ready"]


def test_commands_hold_no_secret_when_there_is_a_token(tmp_path: Path) -> None:
    for engine in (Ngrok(token="hunter2"), Cloudflared(token="hunter2", named_url="https://x.example")):
        command = engine.command(Bind("127.0.0.1", 8009), str(tmp_path))
        assert "hunter2" in command.environment.values()
        assert "hunter2" not in " ".join(command.argv)
        assert "hunter2" not in repr(command) + repr(engine)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("u@bastion", "bastion", None), ("u@bastion:2222", "bastion", "2222"), ("u@[::1]:2222", "::1", "2222"),
        ("u@[::1]", "::1", None), ("u@::1", "::1", None),
    ],
)  # fmt: skip
def test_ssh_dials_the_host_when_the_target_has_a_port_or_not(target: str, host: str, port: str | None) -> None:
    argv = Ssh(target, "https://x.example", "/s").command(Bind(unix_path="/run/voice.sock"), "/").argv
    assert argv[-5:-1] == ("-l", "u", "--", host)
    assert (argv[argv.index("-p") + 1] if "-p" in argv else None) == port
    assert argv[argv.index("-R") + 1] == "/s:/run/voice.sock"
