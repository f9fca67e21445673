"""The way to Vapi's API, the key, and this machine's clock beside Vapi's: by one GET, which costs nothing."""

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import trio

from runtime import limits
from runtime.doctor.finding import Finding, one_line
from runtime.errors import StartError
from runtime.http_client import HttpClient, Reply, Unreachable, open_http_client
from runtime.setting_values import LOOPBACK
from runtime.settings import Reading, Settings
from runtime.tls import trusting
from runtime.vapi_api import quoted

WAY, KEY, CLOCK = "way to Vapi", "Vapi key", "clock"

CLOCK_WARNING_SECONDS: Final = 30  # a Date is of whole seconds, and the reply was under way
CLOCK_WRONG_SECONDS: Final = 300  # certificates that are new, or about to end, are refused
PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
EDGE_BLOCKS: Final = b"1010"  # Cloudflare's error code in a 403: a program it does not like
# OpenSSL's reasons (X509_V_ERR_…) that a wrong clock gives.
NOT_YET_VALID, EXPIRED = 9, 10


async def look_at_vapi(reading: Reading) -> Sequence[Finding]:
    settings = reading.settings
    try:
        context = trusting(settings.ssl_cert_file)
    except StartError as exc:
        advice = "set SSL_CERT_FILE to a PEM file of authorities, or unset it for the system's"
        return [Finding("wrong", WAY, one_line(exc), advice), *_skipped(settings, "SSL_CERT_FILE must be right first")]
    way = await way_finding(settings, context, proxies=sorted(reading.variables & set(PROXIES)))
    if way.mark not in ("ok", "warning"):
        return [way, *_skipped(settings, "there is no way to Vapi")]
    if trouble := _unusable_key(settings.vapi_api_key):
        return [way, trouble, Finding("skipped", CLOCK, "not compared: without a key nothing is asked of Vapi")]
    async with open_http_client(context) as http:
        return [way, *await ask_vapi(settings, http)]


def _skipped(settings: Settings, why: str) -> list[Finding]:
    key = _unusable_key(settings.vapi_api_key) or Finding("skipped", KEY, f"not tried: {why}")
    return [key, Finding("skipped", CLOCK, f"not compared: {why}")]


def _unusable_key(key: str) -> Finding | None:
    if not key:
        advice = "put the private key of your Vapi account there (dashboard.vapi.ai, API keys)"
        return Finding("wrong", KEY, "VAPI_API_KEY is not set", advice)
    if not key.isascii() or not key.isprintable() or " " in key:
        advice = "copy the private key again, without quotation marks and spaces"
        return Finding("wrong", KEY, "VAPI_API_KEY holds a character that cannot be in a key", advice)
    return None


async def way_finding(settings: Settings, context: ssl.SSLContext, proxies: Sequence[str] = ()) -> Finding:
    """Whether a connection is made and, for https, trusted."""
    url = urlsplit(settings.vapi_base_url)
    host, tls = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if tls else 80)
    begun = trio.current_time()
    try:
        with trio.fail_after(limits.VAPI_REST_SECONDS):
            async with await trio.open_tcp_stream(host, port) as stream:
                if tls:
                    await trio.SSLStream(stream, context, server_hostname=host).do_handshake()
    except (OSError, ExceptionGroup, trio.TooSlowError) as exc:
        return _no_way(f"{host}:{port}", exc, proxies)
    except (trio.BrokenResourceError, ssl.CertificateError) as exc:
        return _no_trust(host, exc.__cause__ or exc, settings)
    took = f"{host}:{port} answers in {(trio.current_time() - begun) * 1000:.0f} ms"
    if tls:
        return Finding("ok", WAY, f"{took}, and its certificate is trusted")
    if host in LOOPBACK:
        return Finding("ok", WAY, f"{took}; on this machine: a simulated Vapi")
    return Finding("warning", WAY, f"{took}, without TLS", "use https in VAPI_BASE_URL: others can read the key")


def _no_way(where: str, exc: BaseException, proxies: Sequence[str]) -> Finding:
    why = f"no answer within {limits.VAPI_REST_SECONDS:g} s" if isinstance(exc, trio.TooSlowError) else _reason(exc)
    advice = f"let this machine reach {where}: name server, firewall, or VAPI_BASE_URL"
    if proxies:
        advice += f"; {proxies[0]} is set, and is not used: calls need a direct way"
    return Finding("unreachable", WAY, f"{where} cannot be reached: {why}", advice)


def _reason(exc: BaseException) -> str:
    """Trio says of several attempts that all failed, and keeps in a group why."""
    group = exc if isinstance(exc, ExceptionGroup) else exc.__cause__
    if isinstance(group, ExceptionGroup) and group.exceptions:
        return _reason(group.exceptions[0])
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:  # those below are the resolver's
        return os.strerror(exc.errno)
    return one_line(getattr(exc, "strerror", None) or exc)


def _no_trust(host: str, exc: BaseException, settings: Settings) -> Finding:
    if not isinstance(exc, ssl.SSLCertVerificationError):
        line = f"{host} does not complete the TLS handshake: {one_line(exc)}"
        return Finding("unreachable", WAY, line, "see whether a proxy or firewall is between, and VAPI_BASE_URL")
    line = f"the certificate of {host} is not trusted: {one_line(exc.verify_message)}"
    if exc.verify_code in (NOT_YET_VALID, EXPIRED):
        return Finding("wrong", WAY, line, f"set this machine's clock, if it is not {datetime.now(UTC):%F %H:%M} UTC")
    known = f"SSL_CERT_FILE, now {settings.ssl_cert_file}," if settings.ssl_cert_file else "SSL_CERT_FILE"
    advice = f"if a proxy reads TLS here, {known} must name a PEM file with its authority (and the public ones)"
    return Finding("wrong", WAY, line, advice)


async def ask_vapi(settings: Settings, http: HttpClient) -> list[Finding]:
    """The rows of the key and the clock."""
    url = f"{settings.vapi_base_url}/call?limit=1"
    headers = {"Authorization": f"Bearer {settings.vapi_api_key}"}
    try:
        reply = await http.request("GET", url, seconds=limits.VAPI_REST_SECONDS, headers=headers)
    except Unreachable as exc:
        line, advice = f"Vapi did not answer GET /call: {exc}", "try again; status.vapi.ai tells of outages"
        return [Finding("unreachable", KEY, line, advice), Finding("skipped", CLOCK, "not compared: no answer")]
    return [key_finding(reply), clock_finding(reply.date, datetime.now(UTC))]


def key_finding(reply: Reply) -> Finding:
    if reply.status == 200 and isinstance(reply.json(), list):
        return Finding("ok", KEY, "accepted by GET /call, which costs nothing")
    if reply.status == 403 and EDGE_BLOCKS in reply.body:
        line = "Vapi's edge blocks this program or network (403, error code 1010)"
        return Finding("unreachable", KEY, line, "try from another network, or ask Vapi")
    if reply.status in (401, 403):
        advice = "put the account's private key in VAPI_API_KEY, not the public one (dashboard.vapi.ai, API keys)"
        return Finding("wrong", KEY, f"Vapi refused the key ({reply.status})", advice)
    if reply.status == 402:
        return Finding("wrong", KEY, "Vapi wants payment first (402)", "add credit in Vapi's dashboard")
    if reply.status == 429:
        return Finding("warning", KEY, "not told: too many requests with this key (429)", "try again in a minute")
    if reply.status >= 500:
        line = f"Vapi answered GET /call with {reply.status}: {quoted(reply)}"
        return Finding("unreachable", KEY, line, "try again; status.vapi.ai tells of outages")
    line = f"VAPI_BASE_URL answered GET /call with {reply.status}, not as Vapi does: {quoted(reply)}"
    return Finding("wrong", KEY, line, "correct VAPI_BASE_URL; https://api.vapi.ai is Vapi's own")


def clock_finding(date: str, now: datetime) -> Finding:
    """`date`: the header's text. `now`: by this machine, when the reply had come."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return Finding("skipped", CLOCK, "not compared: the reply carries no date")
    ours_ahead = (now - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()
    off = f"{abs(ours_ahead):,.0f} s {'ahead of' if ours_ahead > 0 else 'behind'} Vapi's"
    advice = "set the clock: timedatectl set-ntp true, or chronyd, or the host's when this is a container"
    if abs(ours_ahead) > CLOCK_WRONG_SECONDS:
        return Finding("wrong", CLOCK, f"{off}: certificates and logs cannot be trusted", advice)
    if abs(ours_ahead) > CLOCK_WARNING_SECONDS:
        return Finding("warning", CLOCK, off, advice)
    return Finding("ok", CLOCK, f"within {max(1, round(abs(ours_ahead)))} s of Vapi's")
