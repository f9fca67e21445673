"""What the fake agents share: a public address that really leads to the port they were given, and signals."""

import os
import socket
import threading
import time
from collections.abc import Callable


def relay(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _serve(visitor: socket.socket, upstream: str) -> None:
    try:
        if upstream.startswith("/"):
            inner = socket.socket(socket.AF_UNIX)
            inner.connect(upstream)
        else:
            host, _, port = upstream.rpartition(":")
            inner = socket.create_connection((host, int(port)))
    except OSError:
        visitor.sendall(b"HTTP/1.1 502 Bad Gateway\r\nngrok-error-code: ERR_NGROK_8012\r\ncontent-length: 0\r\n\r\n")
        visitor.close()
        return
    there = threading.Thread(target=relay, args=(visitor, inner), daemon=True)
    there.start()
    relay(inner, visitor)
    there.join()
    visitor.close()
    inner.close()


def accept_all(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    def loop() -> None:
        while True:
            visitor, _ = listener.accept()
            threading.Thread(target=handle, args=(visitor,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def listen(port: int = 0) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    listener.listen(16)
    return listener


def open_public_address(upstream: str, port: int = 0) -> str:
    """http://127.0.0.1:PORT, which leads to `upstream`."""
    listener = listen(port)
    accept_all(listener, lambda visitor: _serve(visitor, upstream))
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def serve_json(listener: socket.socket, answer: Callable[[str], tuple[int, str]]) -> None:
    """`answer` makes a status and a body of a path."""

    def handle(visitor: socket.socket) -> None:
        path = visitor.recv(65_536).decode(errors="replace").split(" ")[1]
        status, body = answer(path)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        visitor.sendall((head + "connection: close\r\n\r\n" + body).encode())
        visitor.close()

    accept_all(listener, handle)


def until_death(scenario: str) -> None:
    """Live on; `die:SECONDS` of natural causes."""
    kind, _, seconds = scenario.partition(":")
    time.sleep(float(seconds) if kind == "die" else 3600)
    os._exit(1)
