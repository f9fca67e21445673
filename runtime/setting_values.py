"""What a setting's text may be: one parser per kind of value. Each raises Bad, worded to follow `NAME='value' `."""

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


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


class Bad(ValueError):
    """What is wrong with a value, worded to follow `NAME='value' `."""


def port(raw: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", raw) or int(raw) > 65_535:
        raise Bad("is not a port: use a number from 0 (pick one) to 65535")
    return int(raw)


def count(raw: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", raw) or int(raw) < 1:
        raise Bad("is not a whole number above 0")
    return int(raw)


def one_of(*choices: str) -> Callable[[str], Any]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise Bad(f"is not one of: {', '.join(choices)}")
        return raw

    return parse


def base_url(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        usable = usable and "@" not in parts.netloc  # a password would be shown wherever the address is
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise Bad("is not a base URL: use https://host[:port][/path], with no query and no password")
    return raw.rstrip("/")


def public_url(raw: str) -> str:
    url = base_url(raw)
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in LOOPBACK:
        raise Bad("must be https: Vapi sends the call's secret to it")
    return url


def bind(raw: str) -> Bind:
    if raw.startswith("unix:"):
        path = raw.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 100:
            raise Bad("is not usable: a unix socket needs an absolute path of at most 100 bytes")
        return Bind(unix_path=path)
    host, colon, number = raw.rpartition(":")
    if not colon or not host:
        raise Bad("is not host:port nor unix:/path")
    return Bind(host.strip("[]"), port(number))


def bind_or_none(raw: str) -> Bind | None:
    return None if raw == "none" else bind(raw)


def hosts(raw: str) -> tuple[str, ...]:
    """Names of hosts, without ports, with commas between them."""
    found = tuple(part.strip().lower() for part in raw.split(","))
    for host in found:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
            raise Bad("is not a list of host names: use console.example.com, without scheme or port, commas between")
    return found


def modules(raw: str) -> tuple[str, ...]:
    """Names of Python modules, with commas between them."""
    found = tuple(part.strip() for part in raw.split(","))
    if not all(name.isidentifier() for name in found):
        raise Bad("is not a list of modules: use their names without .py, with commas between them")
    return found


def pod_id(raw: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,40}", raw):
        raise Bad("must be 1 to 40 of a-z, 0-9 and '-'")
    return raw


def origins(raw: str) -> tuple[str, ...]:
    """Web origins with commas between them, as browsers write them: scheme://host[:port], in lower case."""
    found = tuple(part.strip().lower().rstrip("/") for part in raw.split(","))
    for origin in found:
        if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", origin):
            raise Bad("is not a list of origins: use https://host[:port], with commas between them")
    return found


def ssh_target(raw: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+@[A-Za-z0-9.\[\]:-]+", raw) or raw.startswith("-"):
        raise Bad("is not user@host or user@host:port")
    return raw


def seconds(raw: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", raw) or float(raw) <= 0:
        raise Bad("is not a number of seconds above 0")
    return float(raw)


def secret(raw: str) -> str:
    """A secret that other programs carry in a header."""
    if len(raw) < 16 or not raw.isascii() or not raw.isprintable() or " " in raw:
        raise Bad("is too weak or cannot be a header: use at least 16 printable ASCII characters without spaces")
    return raw


def on_or_off(raw: str) -> bool:
    if raw not in ("on", "off"):
        raise Bad("is not one of: on, off")
    return raw == "on"
