"""A stand-in for ngrok's agent, version 3: its arguments, its lines, its account, and an address that works.

FAKE_SCENARIO: ok, 107, 4018, 334, hang, die:SECONDS, deaf (ignores SIGTERM), flood, offline, degraded, quota.
FAKE_SESSIONS: a folder, and FAKE_SESSION_COUNT, how many agents each token may run at once (ERR_NGROK_108).
FAKE_PORT: of the public address; FAKE_ELSEWHERE: where it leads, instead of where it was told to.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent))
from fake_proxy import listen, open_public_address, serve_json, until_death

TEXTS = {
    107: "authentication failed: The authtoken you specified is properly formed, but it is invalid.\r\n"
    "Your authtoken: {token}\r\n",
    4018: "authentication failed: Usage of ngrok requires a verified account and authtoken.\r\n",
    108: "authentication failed: Your account is limited to 1 simultaneous ngrok agent sessions.\r\n",
    334: "failed to start tunnel: The endpoint 'https://x.ngrok-free.app' is already online.\r\n",
    727: "authentication failed: You have reached your HTTP request limit for the month.\r\n",
}


def log(level: str, message: str, **fields: Any) -> None:
    print(json.dumps({"lvl": level, "msg": message, "t": "2026-01-01T00:00:00Z", **fields}), flush=True)


def refuse(code: int, token: str) -> NoReturn:
    error = TEXTS[code].format(token=token) + f"\r\n\r\nERR_NGROK_{code}\r\n"
    log("eror", "session closing", obj="tunnels.session", err=error)
    log("eror", "terminating with error", obj="app", err=error)
    log("crit", "command failed", err=error)
    for line in error.split("\r\n"):
        print(f"ERROR:  {line}", flush=True)
    sys.exit(1)


def take_a_session(folder: str, count: int, token: str) -> Any:
    """A locked file, for as long as this process lives."""
    for number in range(count):
        slot = open(f"{folder}/{token}-{number}", "w")  # noqa: SIM115
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return slot
        except BlockingIOError:
            slot.close()
    refuse(108, token)


def web_service() -> tuple[Any, str]:
    for port in range(4040, 4080):
        try:
            return listen(port), f"127.0.0.1:{port}"
        except OSError:
            log("warn", "can't bind default web address, trying alternatives", obj="web", addr=f"127.0.0.1:{port}")
    sys.exit("no port left")


def start(arguments: list[str], scenario: str, token: str) -> None:
    upstream = os.environ.get("FAKE_ELSEWHERE") or arguments[1]
    web, web_address = web_service()
    tunnels: list[dict[str, Any]] = []

    def answer(path: str) -> tuple[int, str]:
        if path == "/api/tunnels":
            return 200, json.dumps({"tunnels": tunnels, "uri": path})
        return 200, json.dumps({"endpoints": [{"name": t["name"], "url": t["public_url"]} for t in tunnels]})

    serve_json(web, answer)
    log("info", "starting web service", obj="web", addr=web_address, allow_hosts=[])
    if scenario == "hang":
        until_death("never")
    if scenario == "offline":
        while True:
            log("eror", "failed to reconnect session", obj="tunnels.session", err="dial tcp: no such host")
            time.sleep(0.05)
    log("info", "client session established", obj="tunnels.session")
    log("info", "tunnel session started", obj="tunnels.session")
    if scenario == "334":
        time.sleep(0.2)
        refuse(334, token)
    given = [word.removeprefix("--url=") for word in arguments if word.startswith("--url=")]
    url = open_public_address(upstream, int(os.environ.get("FAKE_PORT", "0")))
    url = given[0] if given else url
    tunnels.append({"name": "command_line", "public_url": url, "proto": "https", "config": {"addr": upstream}})
    log("info", "started tunnel", obj="tunnels", name="command_line", addr={"Scheme": "http", "Host": ""}, url=url)
    if scenario == "flood":
        for number in range(60_000):
            log("dbug", "noise", number=number)
        print("x" * 300_000, flush=True)
        log("info", "the flood is over")
    if scenario == "degraded":
        log("eror", "failed to reconnect session", obj="tunnels.session", err="dial tcp: i/o timeout")
        time.sleep(0.3)
        log("info", "client session established", obj="tunnels.session")
    until_death(scenario)


def main() -> None:
    arguments, scenario = sys.argv[1:], os.environ.get("FAKE_SCENARIO", "ok")
    token = os.environ.get("NGROK_AUTHTOKEN", "")
    assert arguments[0] == "http", arguments
    assert "--log=stdout" in arguments, arguments
    assert "--log-format=json" in arguments, arguments
    assert not token or token not in " ".join(arguments), arguments
    assert "VAPI_API_KEY" not in os.environ
    signal.signal(signal.SIGTERM, signal.SIG_IGN if scenario == "deaf" else lambda *_: os._exit(0))
    log("info", "no configuration paths supplied")
    if not token:
        refuse(4018, token)
    if scenario in ("107", "quota"):
        refuse(727 if scenario == "quota" else 107, token)
    folder, session = os.environ.get("FAKE_SESSIONS"), None
    if folder:
        session = take_a_session(folder, int(os.environ.get("FAKE_SESSION_COUNT", "1")), token)
    start(arguments, scenario, token)
    del session


main()
