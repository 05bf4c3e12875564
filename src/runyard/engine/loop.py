"""A loop that ticks until it is cancelled, whatever its ticks throw."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Backoff:
    """How long to leave alone what keeps failing. Times are those of the event loop."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    @property
    def is_failing(self) -> bool:
        return self._failures > 0

    def is_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._until

    def worked(self) -> None:
        self._failures, self._until = 0, 0.0

    def failed(self, what: str) -> float:
        """To be called while the exception is handled; the pause to make, in seconds."""
        # A long outage would fill the log with the same trace.
        log.error("%s failed and is tried again", what, exc_info=self._failures == 0)
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures += 1
        self._until = asyncio.get_running_loop().time() + pause
        return pause


class Loop:
    """Ticks again at once while a tick says that there is more to do, else when woken or after a pause.

    `pause` gives seconds, or None to rest until woken.
    """

    def __init__(self, name: str, tick: Callable[[], Awaitable[bool]], pause: Callable[[], float | None]) -> None:
        self._name, self._tick, self._pause = name, tick, pause
        self._woken = asyncio.Event()
        self._backoff = Backoff()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            try:
                busy = await self._tick()
                self._backoff.worked()
            except Exception:  # noqa: BLE001 - logged there; a loop that ends would leave every job as it is
                await asyncio.sleep(self._backoff.failed(self._name))
                continue
            if busy:
                await asyncio.sleep(0)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._woken.wait()
