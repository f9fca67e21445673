"""Settings: read once from the environment into one frozen object, each with its meaning.

A bad value is a SettingsError: one line that names the variable and what to do.
"""

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from runtime import limits
from runtime.errors import SettingsError
from runtime.voice_ws import VoiceProtocol

TailMode = Literal["burst", "paced"]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@attrs.frozen
class Bind:
    """Where a door listens: TCP host and port, or the path of a unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    unix_path: str | None = None

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def seen_from_here(self) -> "Bind":
        """The address by which this machine itself reaches it."""
        return attrs.evolve(self, host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))


class _Bad(ValueError):
    """What is wrong with a value, worded to follow `NAME='value' `."""


def _port(raw: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", raw) or int(raw) > 65_535:
        raise _Bad("is not a port: use a number from 0 (pick one) to 65535")
    return int(raw)


def _count(raw: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", raw) or int(raw) < 1:
        raise _Bad("is not a whole number above 0")
    return int(raw)


def _one_of(*choices: str) -> Callable[[str], Any]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise _Bad(f"is not one of: {', '.join(choices)}")
        return raw

    return parse


def _url(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise _Bad("is not a base URL: use https://host[:port][/path], with no query")
    return raw.rstrip("/")


def _public_url(raw: str) -> str:
    url = _url(raw)
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _LOOPBACK:
        raise _Bad("must be https: Vapi sends the call's secret to it")
    return url


def _bind(raw: str) -> Bind:
    if raw.startswith("unix:"):
        path = raw.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 100:
            raise _Bad("is not usable: a unix socket needs an absolute path of at most 100 bytes")
        return Bind(unix_path=path)
    host, colon, port = raw.rpartition(":")
    if not colon or not host:
        raise _Bad("is not host:port nor unix:/path")
    return Bind(host.strip("[]"), _port(port))


def _pod(raw: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,40}", raw):
        raise _Bad("must be 1 to 40 of a-z, 0-9 and '-'")
    return raw


def _setting(
    env: str, meaning: str, default: Any = None, parse: Callable[[str], Any] = str, *, secret: bool = False
) -> Any:
    return attrs.field(
        default=default, metadata={"env": env, "meaning": meaning, "parse": parse, "secret": secret}, repr=not secret
    )


@attrs.frozen(kw_only=True)
class Settings:
    """What this process was told. Read with `read_settings`; shown by `voice settings`."""

    port: int = _setting("PORT", "the voice door's port; 0 picks one", 8008, _port)
    voice_host: str = _setting("VOICE_HOST", "the voice door's address", "0.0.0.0")
    voice_protocol: VoiceProtocol = _setting(
        "VOICE_PROTOCOL", "binary or json; /voice?protocol= overrides it", "binary", _one_of("binary", "json")
    )
    tail_mode: TailMode = _setting(
        "TAIL_MODE", "burst: the silence after a turn at once; paced: 20 ms frames in real time", "burst",
        _one_of("burst", "paced"),
    )  # fmt: skip
    webhook_bind: Bind = _setting(
        "WEBHOOK_BIND", "the webhook door: host:port or unix:/path; WEBHOOK_PORT is its short form",
        Bind("127.0.0.1", 8009), _bind,
    )  # fmt: skip
    pod_id: str = _setting("POD_ID", "this process in a fleet; kept in runs/pod_id when not given", "", _pod)
    database_url: str | None = _setting(
        "DATABASE_URL", "postgresql://…; an embedded server when not given", None, secret=True
    )
    vapi_api_key: str = _setting("VAPI_API_KEY", "the private key of the Vapi account", "", secret=True)
    vapi_base_url: str = _setting("VAPI_BASE_URL", "Vapi's REST API", "https://api.vapi.ai", _url)
    vapi_model_provider: str = _setting("VAPI_MODEL_PROVIDER", "who hosts the assistant's language model", "openai")
    vapi_model: str = _setting("VAPI_MODEL", "its model", "gpt-4o-mini")
    vapi_voice_provider: str = _setting("VAPI_VOICE_PROVIDER", "who makes the assistant's voice", "openai")
    vapi_voice_id: str = _setting("VAPI_VOICE_ID", "its voice", "alloy")
    vapi_transcriber_provider: str = _setting("VAPI_TRANSCRIBER_PROVIDER", "who hears for the assistant", "deepgram")
    vapi_transcriber_model: str = _setting("VAPI_TRANSCRIBER_MODEL", "its model", "nova-2")
    vapi_transcriber_language: str = _setting("VAPI_TRANSCRIBER_LANGUAGE", "its language", "en")
    engine_url: str = _setting("ENGINE_URL", "where tool calls are reported", "http://localhost:6100", _url)
    simulation_id: str | None = _setting("SIMULATION_ID", "the simulation reported to; unset reports nothing")
    public_base_url: str | None = _setting(
        "PUBLIC_BASE_URL", "how Vapi reaches the webhook door from outside; /p/{POD_ID}/tool is appended", None,
        _public_url,
    )  # fmt: skip
    webhook_key: str | None = _setting(
        "WEBHOOK_KEY", "signs the webhooks' secrets; made once and kept in the database when not given", None,
        secret=True,
    )  # fmt: skip
    ssl_cert_file: Path | None = _setting(
        "SSL_CERT_FILE", "certificate authorities to trust on the way to Vapi; the system's when not given", None, Path
    )
    max_calls: int = _setting("MAX_CALLS", "calls at once; more are refused with 1013", limits.MAX_CALLS, _count)
    agent_desc: Path = _setting("AGENT_DESC", "the assistant's instructions", Path("agent_desc.txt"), Path)
    log_level: str = _setting(
        "LOG_LEVEL", "debug, info, warning or error", "info", _one_of("debug", "info", "warning", "error")
    )
    origins: dict[str, str] = attrs.field(factory=dict, repr=False)
    """Per variable, where its value came from: `environment`, `default`, or a file."""

    def require_vapi(self) -> None:
        """What a process needs before it can take a call. Raises SettingsError."""
        if not self.vapi_api_key:
            raise SettingsError("VAPI_API_KEY is not set: put the private key of your Vapi account there")
        simulated = urlsplit(self.vapi_base_url).hostname in _LOOPBACK and not self.webhook_bind.unix_path
        if self.public_base_url is None and not simulated:
            raise SettingsError(
                "PUBLIC_BASE_URL is not set: Vapi calls the tools over the public internet; "
                "set it to the https address that leads to the webhook door"
            )


def read_settings(environ: Mapping[str, str] | None = None, *, state_folder: Path = Path("runs")) -> Settings:
    """Read every setting once. An empty variable counts as unset. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field in _fields():
        env = field.metadata["env"]
        raw = environ.get(env, "").strip()
        origins[env] = "environment" if raw else "default"
        if raw:
            values[field.name] = _parsed(env, raw, field.metadata["parse"])
    short = environ.get("WEBHOOK_PORT", "").strip()
    if short and "webhook_bind" not in values:
        values["webhook_bind"] = Bind("127.0.0.1", _parsed("WEBHOOK_PORT", short, _port))
        origins["WEBHOOK_BIND"] = "WEBHOOK_PORT"
    if "pod_id" not in values:
        values["pod_id"] = _kept_pod_id(state_folder / "pod_id")
        origins["POD_ID"] = str(state_folder / "pod_id")
    return Settings(**values, origins=origins)


def _parsed(env: str, raw: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(raw)
    except _Bad as exc:
        raise SettingsError(f"{env}={raw!r} {exc}") from None


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


def _fields() -> list["attrs.Attribute[Any]"]:
    return [field for field in attrs.fields(Settings) if "env" in field.metadata]


def describe(settings: Settings) -> list[tuple[str, str, str, str]]:
    """(variable, value, origin, meaning) of each setting, secrets masked."""
    rows = []
    for field in _fields():
        value = getattr(settings, field.name)
        masked = "********" if field.metadata["secret"] and value else value
        env = field.metadata["env"]
        shown = "" if masked is None else str(masked)
        rows.append((env, shown, settings.origins.get(env, "default"), field.metadata["meaning"]))
    return rows
