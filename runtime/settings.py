"""Settings: read once from the environment into one frozen object, each with its meaning.

A bad value is a SettingsError: one line that names the variable and what to do.
"""

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import attrs

from runtime import limits
from runtime import setting_values as value
from runtime.errors import SettingsError
from runtime.setting_values import LOOPBACK, Bad, Bind
from runtime.voice_ws import VoiceProtocol
from tools.policy import ToolPolicy

TailMode = Literal["burst", "paced"]
TunnelEngine = Literal["auto", "ngrok", "cloudflared", "ssh", "none"]
TunnelProbe = Literal["off", "warn", "require"]
TunnelShare = Literal["none", "serialize"]
# A door's port alone, on 127.0.0.1; the long form goes before it.
SHORT_FORMS: Final[Mapping[str, str]] = {"WEBHOOK_BIND": "WEBHOOK_PORT", "CONSOLE_BIND": "CONSOLE_PORT"}


def _setting(
    env: str, meaning: str, default: Any = None, parse: Callable[[str], Any] = str, *, secret: bool = False
) -> Any:
    return attrs.field(
        default=default, metadata={"env": env, "meaning": meaning, "parse": parse, "secret": secret}, repr=not secret
    )


@attrs.frozen(kw_only=True)
class Settings:
    """What this process was told. Read with `read_settings`; shown by `voice settings`."""

    port: int = _setting("PORT", "the voice door's port; 0 picks one", 8008, value.port)
    voice_host: str = _setting("VOICE_HOST", "the voice door's address", "0.0.0.0")
    voice_port_shared: bool = _setting(
        "VOICE_PORT_SHARED",
        "on: other processes of this user may listen on PORT too, and Linux spreads the callers over all",
        False, value.on_or_off,
    )  # fmt: skip
    voice_protocol: VoiceProtocol = _setting(
        "VOICE_PROTOCOL", "binary or json; /voice?protocol= overrides it", "binary", value.one_of("binary", "json")
    )
    tail_mode: TailMode = _setting(
        "TAIL_MODE", "burst: the silence after a turn at once; paced: 20 ms frames in real time", "burst",
        value.one_of("burst", "paced"),
    )  # fmt: skip
    webhook_bind: Bind = _setting(
        "WEBHOOK_BIND", "the webhook door: host:port or unix:/path; WEBHOOK_PORT is its short form",
        Bind("127.0.0.1", 8009), value.bind,
    )  # fmt: skip
    console_bind: Bind | None = _setting(
        "CONSOLE_BIND",
        "the console door (page, /metrics, /readyz): host:port, unix:/path or none; CONSOLE_PORT is its short form",
        Bind("127.0.0.1", 8010), value.bind_or_none,
    )  # fmt: skip
    console_hosts: tuple[str, ...] = _setting(
        "CONSOLE_HOSTS", "names under which the console may be asked for, beside localhost and bare addresses", (),
        value.hosts,
    )  # fmt: skip
    console_personal_data: bool = _setting(
        "CONSOLE_PERSONAL_DATA", "on: the console's page may be asked to show personal data; off: it is never told",
        False, value.on_or_off,
    )  # fmt: skip
    record_calls: bool = _setting(
        "RECORD_CALLS", "on: both voices of each call are kept in RECORDINGS, which people must have agreed to", False,
        value.on_or_off,
    )  # fmt: skip
    recordings: Path = _setting("RECORDINGS", "the folder of the recordings", Path("runs/recordings"), Path)
    pod_id: str = _setting("POD_ID", "this process in a fleet; kept in runs/pod_id when not given", "", value.pod_id)
    database_url: str | None = _setting(
        "DATABASE_URL", "postgresql://…; an embedded server when not given", None, secret=True
    )
    vapi_api_key: str = _setting("VAPI_API_KEY", "the private key of the Vapi account", "", secret=True)
    vapi_base_url: str = _setting("VAPI_BASE_URL", "Vapi's REST API", "https://api.vapi.ai", value.base_url)
    vapi_model_provider: str = _setting("VAPI_MODEL_PROVIDER", "who hosts the assistant's language model", "openai")
    vapi_model: str = _setting("VAPI_MODEL", "its model", "gpt-4o-mini")
    vapi_voice_provider: str = _setting("VAPI_VOICE_PROVIDER", "who makes the assistant's voice", "openai")
    vapi_voice_id: str = _setting("VAPI_VOICE_ID", "its voice", "alloy")
    vapi_transcriber_provider: str = _setting("VAPI_TRANSCRIBER_PROVIDER", "who hears for the assistant", "deepgram")
    vapi_transcriber_model: str = _setting("VAPI_TRANSCRIBER_MODEL", "its model", "nova-2")
    vapi_transcriber_language: str = _setting("VAPI_TRANSCRIBER_LANGUAGE", "its language", "en")
    engine_url: str = _setting("ENGINE_URL", "where tool calls are reported", "http://localhost:6100", value.base_url)
    simulation_id: str | None = _setting("SIMULATION_ID", "the simulation reported to; unset reports nothing")
    public_base_url: str | None = _setting(
        "PUBLIC_BASE_URL", "how Vapi reaches the webhook door from outside; /p/{POD_ID}/tool is appended", None,
        value.public_url,
    )  # fmt: skip
    tunnel: TunnelEngine = _setting(
        "TUNNEL", "auto, ngrok, cloudflared, ssh or none: what leads there when PUBLIC_BASE_URL is not given", "auto",
        value.one_of(*get_args(TunnelEngine)),
    )  # fmt: skip
    tunnel_url: str | None = _setting(
        "TUNNEL_URL", "the tunnel's own public address; needed for ssh and TUNNEL_TOKEN", None, value.public_url
    )
    tunnel_probe: TunnelProbe = _setting(
        "TUNNEL_PROBE", "off, warn or require: whether a tunnel has to lead back to this process", "warn",
        value.one_of(*get_args(TunnelProbe)),
    )  # fmt: skip
    tunnel_share: TunnelShare = _setting(
        "TUNNEL_SHARE", "none, or serialize: processes of this machine take turns at one account's tunnel", "none",
        value.one_of(*get_args(TunnelShare)),
    )  # fmt: skip
    tunnel_attempts: int = _setting(
        "TUNNEL_ATTEMPTS", "starts of a busy tunnel, before giving up", limits.TUNNEL_ATTEMPTS, value.count
    )
    tunnel_ready_seconds: float = _setting(
        "TUNNEL_READY_TIMEOUT", "seconds for one start", limits.TUNNEL_READY_SECONDS, value.seconds
    )
    tunnel_deadline_seconds: float = _setting(
        "TUNNEL_DEADLINE", "seconds that a call waits for its tunnel", limits.TUNNEL_SECONDS, value.seconds
    )
    ngrok_authtoken: str = _setting("NGROK_AUTHTOKEN", "the ngrok account", "", secret=True)
    ngrok_bin: str = _setting("NGROK_BIN", "the ngrok program", "ngrok")
    cloudflared_bin: str = _setting("CLOUDFLARED_BIN", "the cloudflared program", "cloudflared")
    tunnel_token: str = _setting("TUNNEL_TOKEN", "cloudflared: a named tunnel's token", "", secret=True)
    ssh_tunnel: str | None = _setting("SSH_TUNNEL", "ssh: user@host[:port] of the bastion", None, value.ssh_target)
    ssh_tunnel_key: Path | None = _setting("SSH_TUNNEL_KEY", "ssh: the private key's file", None, Path)
    ssh_tunnel_known_hosts: Path | None = _setting(
        "SSH_TUNNEL_KNOWN_HOSTS", "ssh: the file that holds the bastion's key", None, Path
    )
    ssh_tunnel_socket: str = _setting(
        "SSH_TUNNEL_SOCKET", "ssh: where the bastion listens, a socket's path or host:port; {pod} is POD_ID",
        "/run/pods/{pod}.sock",
    )  # fmt: skip
    webhook_secret: str | None = _setting(
        "WEBHOOK_SECRET", "the fleet's own secret, accepted on /tool only, for a URL saved in the Vapi account", None,
        value.secret, secret=True,
    )  # fmt: skip
    haproxy_socket: str | None = _setting(
        "HAPROXY_SOCKET", "HAProxy's runtime API, a unix socket: calls are registered there for routing by call id"
    )
    vapi_credential_id: str | None = _setting("VAPI_CREDENTIAL_ID", "a webhook credential made in Vapi's dashboard")
    vapi_static_ips: bool = _setting(
        "VAPI_STATIC_IPS", "on: tool calls come from Vapi's fixed addresses (167.150.224.0/23)", False, value.on_or_off
    )
    webhook_key: str | None = _setting(
        "WEBHOOK_KEY", "signs the webhooks' secrets; made once and kept in the database when not given", None,
        value.secret, secret=True,
    )  # fmt: skip
    ssl_cert_file: Path | None = _setting(
        "SSL_CERT_FILE", "certificate authorities to trust on the way to Vapi; the system's when not given", None, Path
    )
    vapi_slots: int = _setting(
        "VAPI_SLOTS", "calls at once on the Vapi account; more wait in a queue", limits.VAPI_SLOTS, value.count
    )
    voice_token: str | None = _setting(
        "VOICE_TOKEN", "callers must show it, as `Authorization: Bearer …` or `?token=…`", None, value.secret,
        secret=True,
    )  # fmt: skip
    voice_origins: tuple[str, ...] = _setting(
        "VOICE_ORIGINS", "web origins whose pages may call; none when not given", (), value.origins
    )
    max_calls: int = _setting("MAX_CALLS", "calls at once; more are refused with 1013", limits.MAX_CALLS, value.count)
    setups_per_second: int = _setting(
        "SETUPS_PER_SECOND", "new calls a second, in the long run; more are refused with 1013",
        limits.SETUPS_PER_SECOND, value.count,
    )  # fmt: skip
    drain_seconds: float = _setting(
        "DRAIN_SECONDS", "after SIGTERM, seconds for which the running calls may go on; then they are ended",
        limits.DRAIN_SECONDS, value.seconds,
    )  # fmt: skip
    tool_policy: ToolPolicy = _setting(
        "TOOL_POLICY", "verified: tools serve the customer whom the caller has proved to be; open: anybody", "verified",
        value.one_of(*get_args(ToolPolicy)),
    )  # fmt: skip
    tools: tuple[str, ...] = _setting(
        "TOOLS", "modules of tools/, with commas between: the agent has their tools and no others; all when not given",
        (), value.modules,
    )  # fmt: skip
    agent_desc: Path = _setting("AGENT_DESC", "the assistant's instructions", Path("agent_desc.txt"), Path)
    log_level: str = _setting(
        "LOG_LEVEL", "debug, info, warning or error", "info", value.one_of("debug", "info", "warning", "error")
    )
    origins: dict[str, str] = attrs.field(factory=dict, repr=False)
    """Per variable, where its value came from: `environment`, `default`, or a file."""

    def require_vapi(self) -> None:
        """What a process needs before it can take a call. Raises SettingsError."""
        if not self.vapi_api_key:
            raise SettingsError("VAPI_API_KEY is not set: put the private key of your Vapi account there")

    @property
    def vapi_is_simulated(self) -> bool:
        """Vapi's API is on this machine: it reaches the webhook door without a tunnel."""
        return urlsplit(self.vapi_base_url).hostname in LOOPBACK and not self.webhook_bind.unix_path


@attrs.frozen
class Reading:
    """What the environment says, right or wrong. A setting whose value is wrong has its default in `settings`."""

    settings: Settings
    wrong: Mapping[str, SettingsError]
    """By variable; the line may name its short form instead."""
    variables: frozenset[str]
    """The names of all that the environment holds, ours or not; without their values."""


def read_settings(environ: Mapping[str, str] | None = None, *, state_folder: Path = Path("runs")) -> Settings:
    """Read every setting once. An empty variable counts as unset. Raises SettingsError, the first one."""
    reading = read_environment(environ, state_folder=state_folder)
    for error in reading.wrong.values():
        raise error
    return reading.settings


def read_environment(environ: Mapping[str, str] | None = None, *, state_folder: Path = Path("runs")) -> Reading:
    """The same for who wants to know all that is wrong. Raises nothing."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    wrong: dict[str, SettingsError] = {}
    for field in setting_fields():
        env, parse = field.metadata["env"], field.metadata["parse"]
        short = SHORT_FORMS.get(env, "")
        origins[env] = "default"
        for name in (env, short):
            raw = environ.get(name, "").strip()
            if raw:
                origins[env] = "environment" if name == env else short
                try:
                    parsed = _parsed(name, raw, parse if name == env else value.port, not field.metadata["secret"])
                    values[field.name] = parsed if name == env else Bind("127.0.0.1", parsed)
                except SettingsError as exc:
                    wrong[env] = exc
                break
    if "pod_id" not in values and "POD_ID" not in wrong:
        values["pod_id"] = _kept_pod_id(state_folder / "pod_id")
        origins["POD_ID"] = str(state_folder / "pod_id")
    return Reading(Settings(**values, origins=origins), wrong, frozenset(environ))


def _parsed(env: str, raw: str, parse: Callable[[str], Any], shown: bool) -> Any:
    try:
        return parse(raw)
    except Bad as exc:
        raise SettingsError(f"{env}={raw!r} {exc}" if shown else f"{env} {exc}") from None


def _kept_pod_id(path: Path) -> str:
    """hostname-random6, made once: unguessable, and the same after a restart."""
    try:
        kept = path.read_text(errors="replace").strip()
        if re.fullmatch(r"[a-z0-9-]{1,40}", kept):
            return kept
    except OSError:
        pass
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:33] or "pod"
    made = f"{host}-{secrets.token_hex(3)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made + "\n")
    except OSError:
        pass  # a read-only folder: a new name at every start does no harm
    return made


def setting_fields() -> list["attrs.Attribute[Any]"]:
    """Those of `Settings` that somebody may set; `metadata` has env, meaning, parse and secret."""
    return [field for field in attrs.fields(Settings) if "env" in field.metadata]
