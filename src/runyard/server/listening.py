"""The web server: where it listens, how it starts and ends."""

import errno
import gc
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from runyard.server.wire import Wire

GRACE_SECONDS = 2
"""For requests under way when the server stops; streams are told to end at once."""
CLIENT_SILENCE_MILLISECONDS = 600_000
"""The system drops a connection whose client has taken nothing for so long."""


class StartError(RuntimeError):
    """The server can't start; says why and what to do."""


class Server(uvicorn.Server):
    """Says when it has started, and ends the streams before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started
        self._on_stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


def config(proxies: Sequence[str] = (), certificate: tuple[Path, Path] | None = None) -> uvicorn.Config:
    """`proxies` are believed about for whom they ask; `certificate` is its file and that of its key, for https."""
    chain, key = certificate or (None, None)
    return uvicorn.Config(
        app="",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        ssl_certfile=chain,
        ssl_keyfile=key,
        ws=Wire,
        ws_per_message_deflate=False,  # costs far more time than loopback saves
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Raises StartError."""
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {port} is taken by another program: choose one with --port") from None
        raise StartError(f"can't listen on {address}:{port}: {error.strerror}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CLIENT_SILENCE_MILLISECONDS)
    return listener


def url(listener: socket.socket, host: str, *, https: bool = False) -> str:
    """As clients of this machine write it: port 0 has become a real one, and every address this machine's own."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if https else 'http'}://{name}:{listener.getsockname()[1]}"


def collect_seldom() -> None:
    """What is loaded stays, so that looking through it again and again only makes open pages wait: half the p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
