"""How long the event loop, which answers all requests, had no time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

EVERY_SECONDS = 0.01


@asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """The seconds by which each of many short sleeps in the block took longer than it should."""
    seen: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(EVERY_SECONDS)
            seen.append(time.monotonic() - before - EVERY_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
