"""A stand-in for cloudflared: everything on standard error, the banner first and the connection later.

FAKE_SCENARIO: ok, unconnected (the banner and nothing more), silent (connected, without a line that says so), 429,
die:SECONDS, badtoken.  FAKE_CONNECT_SECONDS: from the banner to the connection.  FAKE_PORT: of the public address.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parent))
from fake_proxy import listen, open_public_address, serve_json, until_death


def log(level: str, message: str) -> None:
    print(f"2026-01-01T00:00:00Z {level} {message}", file=sys.stderr, flush=True)


def refuse_quick_tunnel() -> NoReturn:
    log("INF", "Requesting new quick Tunnel on trycloudflare.com...")
    log("ERR", 'Error unmarshaling QuickTunnel response: error code: 1015 error="invalid character \'e\' looking for '
        'beginning of value" status_code="429 Too Many Requests"')  # fmt: skip
    print("failed to unmarshal quick Tunnel: invalid character 'e' looking for beginning of value", file=sys.stderr)
    sys.exit(1)


def banner(url: str) -> None:
    log("INF", "+----------------------------------------------------------------------+")
    log("INF", "|  Your quick Tunnel has been created! Visit it at (it may take some   |")
    log("INF", "|  time to be reachable):                                              |")
    log("INF", f"|  {url:<68}|")
    log("INF", "+----------------------------------------------------------------------+")


def serve(scenario: str, url: str | None) -> None:
    connected = threading.Event()
    metrics = listen()

    def answer(path: str) -> tuple[int, str]:
        if path == "/ready":
            ready = connected.is_set()
            status = 200 if ready else 503
            return status, json.dumps({"status": status, "readyConnections": int(ready), "connectorId": "x"})
        return 200, json.dumps({"hostname": url})

    serve_json(metrics, answer)
    log("INF", f"Starting metrics server on 127.0.0.1:{metrics.getsockname()[1]}/metrics")
    if url:
        banner(url)
    time.sleep(float(os.environ.get("FAKE_CONNECT_SECONDS", "0")))
    if scenario == "unconnected":
        log("ERR", 'Failed to dial a quic connection error="timeout: no recent network activity" connIndex=0')
        until_death("never")
    connected.set()
    if scenario != "silent":
        log(
            "INF", "Registered tunnel connection connIndex=0 connection=7d ip=198.51.100.7 location=fra01 protocol=quic"
        )
    if scenario.startswith("lost"):
        time.sleep(0.2)
        connected.clear()
        log("WRN", "Lost connection with the edge connIndex=0")
        time.sleep(0.3)
        connected.set()
        log(
            "INF", "Registered tunnel connection connIndex=0 connection=7e ip=198.51.100.7 location=fra01 protocol=quic"
        )
    until_death(scenario)


def main() -> None:
    arguments, scenario = sys.argv[1:], os.environ.get("FAKE_SCENARIO", "ok")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    assert arguments[:2] == ["tunnel", "--no-autoupdate"], arguments
    assert arguments[arguments.index("--metrics") + 1] == "127.0.0.1:0", arguments
    if arguments[-1] == "run":
        token = os.environ["TUNNEL_TOKEN"]
        assert token not in " ".join(arguments)
        if scenario == "badtoken":
            print("Provided Tunnel token is not valid.", file=sys.stderr)
            print('See "cloudflared tunnel run --help".', file=sys.stderr)
            sys.exit(255)
        open_public_address(os.environ["FAKE_UPSTREAM"], int(os.environ.get("FAKE_PORT", "0")))
        serve(scenario, None)
        return
    assert not (Path.home() / ".cloudflared").exists()
    assert os.environ["HOME"] != os.environ["FAKE_REAL_HOME"]
    if scenario == "429":
        refuse_quick_tunnel()
    if "--unix-socket" in arguments:
        upstream = arguments[arguments.index("--unix-socket") + 1]
    else:
        upstream = arguments[arguments.index("--url") + 1].removeprefix("http://")
    log("INF", "Thank you for trying Cloudflare Tunnel. See https://developers.cloudflare.com/cloudflare-one |")
    serve(scenario, open_public_address(upstream, int(os.environ.get("FAKE_PORT", "0"))))


main()
