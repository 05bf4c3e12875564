"""Requests at fixed times, whether the server keeps up or not: `python -m bench.openloop < plan.json`.

The plan has `host`, `port`, `rate` (requests a second), `seconds`, `connections` and `requests`: templates of raw
HTTP/1.1, taken in turn, in which `@` stands for the number of the request. Prints JSON: each request's status and its
seconds from the time it was due, and how late the client itself was at most.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

HEADER_END = b"\r\n\r\n"


class Connection:
    """One keep-alive connection: a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> int:
        self._writer.write(request)
        head = await self._reader.readuntil(HEADER_END)
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await self._reader.readexactly(length)
        return int(head.split(b" ", 2)[1])


async def play(plan: dict[str, Any]) -> dict[str, Any]:
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(plan["connections"]):
        free.put_nowait(Connection(*await asyncio.open_connection(plan["host"], plan["port"])))
    templates: Sequence[str] = plan["requests"]
    answers: list[tuple[int, float]] = []
    began, latest = time.perf_counter() + 0.2, 0.0

    async def send(number: int, due: float) -> None:
        connection = await free.get()
        try:
            status = await connection.ask(templates[number % len(templates)].replace("@", f"{number:08d}").encode())
        finally:
            free.put_nowait(connection)
        answers.append((status, time.perf_counter() - due))

    async with asyncio.TaskGroup() as group:
        for number in range(int(plan["rate"] * plan["seconds"])):
            due = began + number / plan["rate"]
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            latest = max(latest, time.perf_counter() - due)
            group.create_task(send(number, due))
    return {"answers": answers, "late": latest, "seconds": time.perf_counter() - began}


def request(method: str, path: str, body: dict[str, Any] | None = None, headers: Sequence[str] = ()) -> str:
    """A template; the `@` in it must have a fixed width in the body, which it has."""
    text = "" if body is None else json.dumps(body)
    length = len(text.replace("@", "00000000").encode())
    lines = [
        f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {length}",
        *headers,
    ]  # fmt: skip
    return "\r\n".join(lines) + "\r\n\r\n" + text


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(json.load(sys.stdin)))))
