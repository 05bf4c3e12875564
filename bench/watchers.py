"""Many viewers in one process: `python -m bench.watchers`, with a plan on standard input.

The plan has `host`, `port`, `paths` (a WebSocket each, or server-sent events for those that end with "stream"), and for
the last viewer alone `stall`: how many seconds it takes nothing. A line says that all are connected. One that is cut
off comes back with its cursor. It goes on until standard input is closed, then prints JSON: for each viewer what it got
of metrics (cursor, job, step, time by the trainer's clock, which is this machine's, time of arrival), and how often
somebody was cut off.
"""

import asyncio
import json
import sys
import time
from typing import Any

AT_ONCE = 20
TEXT, PING, PONG = 0x81, 0x89, 0x8A
MASKED = 0x80
GET = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Connection(asyncio.Protocol):
    """Notes when each message came and looks into none before the end.

    It is the server that is measured: a library that does more for each message would be most of what the last viewer
    waits for.
    """

    def __init__(self, path: str, messages: list[tuple[float, bytes]]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.transport: Any = None
        self._path, self._messages = path, messages
        self._is_socket = not path.partition("?")[0].endswith("stream")
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write((GET.format(self._path) + UPGRADE * self._is_socket + "\r\n").encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed before it was open"))

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._buffer += data
        if not self.opened.done() and not self._take_head():
            return
        if self._is_socket:
            self._take_frames(now)
        else:
            self._take_events(now)

    def _take_head(self) -> bool:
        head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if end:
            assert head.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 200 ")), head
            self._buffer[:] = rest
            self.opened.set_result(None)
        return bool(end)

    def _take_frames(self, now: float) -> None:
        buffer = self._buffer
        while len(buffer) >= 2:
            length, start = buffer[1], 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(buffer[2:start])
            if len(buffer) < start + length:
                break
            kind, payload = buffer[0], bytes(buffer[start : start + length])
            del buffer[: start + length]
            if kind == TEXT:
                self._messages.append((now, payload))
            elif kind == PING:
                self.transport.write(bytes([PONG, MASKED + len(payload), 0, 0, 0, 0]) + payload)

    def _take_events(self, now: float) -> None:
        """The sizes of chunks between them do no harm."""
        *events, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer[:] = rest
        self._messages += [(now, event.partition(b"data: ")[2]) for event in events if b"data: " in event]


class Viewer:
    def __init__(self, plan: dict[str, Any], path: str) -> None:
        self.path, self.cuts = path, 0
        self._plan = plan
        self._messages: list[tuple[float, bytes]] = []
        self._connection: Connection | None = None

    async def connect(self) -> None:
        path = self.path
        if self._messages:
            path = f"{path.partition('?')[0]}?after={json.loads(self._messages[-1][1])['id']}"
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_connection(
            lambda: Connection(path, self._messages), self._plan["host"], self._plan["port"]
        )
        await self._connection.opened

    async def stall(self, seconds: float) -> None:
        assert self._connection is not None
        self._connection.transport.pause_reading()
        await asyncio.sleep(seconds)
        self._connection.transport.resume_reading()

    async def come_back(self) -> None:
        """Whenever it is cut off."""
        while True:
            assert self._connection is not None
            await self._connection.ended.wait()
            self.cuts += 1
            await self.connect()

    def metrics(self) -> list[tuple[int, str, int, float, float]]:
        events = [(json.loads(message), came) for came, message in self._messages]
        return [
            (event["id"], event["job_id"], event["data"]["step"], event["at"], came)
            for event, came in events
            if event["type"] == "metric"
        ]


async def watch(plan: dict[str, Any]) -> dict[str, Any]:
    few = asyncio.Semaphore(AT_ONCE)
    viewers = [Viewer(plan, path) for path in plan["paths"]]

    async def connect(viewer: Viewer) -> None:
        async with few:
            await viewer.connect()

    await asyncio.gather(*map(connect, viewers))
    coming_back = [asyncio.create_task(viewer.come_back()) for viewer in viewers]
    if stall := plan.get("stall"):
        coming_back.append(asyncio.create_task(viewers[-1].stall(stall)))
    print("watching", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in coming_back:
        task.cancel()
    return {"viewers": [viewer.metrics() for viewer in viewers], "cuts": sum(viewer.cuts for viewer in viewers)}


if __name__ == "__main__":
    from uvicorn.loops.auto import auto_loop_factory

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        print(json.dumps(runner.run(watch(json.loads(sys.stdin.readline())))))
