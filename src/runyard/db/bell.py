"""Lets the processes of one PostgreSQL hear of each other's commits at once; a SQLite file has only one process."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from runyard.db.database import Database

Topic = Literal["feed", "queue", "work", "access"]
"""There is something new to show; somebody more stands in line; there is something else to do; somebody's rights have
changed."""

CHANNEL = "runyard"
RECONNECT_SECONDS = 1.0
PROBE_SECONDS = 15.0
"""Between two questions whether the connection still works, and the time for an answer."""

log = logging.getLogger(__name__)


class Bell:
    """What rings while the connection is down is not heard: everybody looks now and then without being told, too, and
    looks at once when the connection is back."""

    def __init__(self, database: Database, heard: dict[Topic, Callable[[], None]]) -> None:
        """`heard` is called when another process rings."""
        self._database, self._heard = database, heard
        self._topics: set[Topic] = set()
        self._rung = asyncio.Event()

    def ring(self, *topics: Topic) -> None:
        """To be called after the commit; many in a row are one."""
        self._topics.update(topics)
        self._rung.set()

    async def run(self) -> None:
        """Until cancelled."""
        while self._database.dialect == "postgresql":
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises
                log.warning("the database does not tell of changes, which are looked for instead: %s", error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        async with self._database.driver_connection() as connection:
            connection.add_termination_listener(lambda _: self._rung.set())
            await connection.add_listener(CHANNEL, self._hear)
            for heard in self._heard.values():
                heard()
            while not connection.is_closed():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_SECONDS):
                        await self._rung.wait()
                self._rung.clear()
                topics, self._topics = self._topics, set()
                try:
                    for topic in topics or ("",):
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, topic, timeout=PROBE_SECONDS)
                except BaseException:
                    self.ring(*topics)  # again, once there is another connection
                    raise

    def _hear(self, connection: Any, sender: int, _: str, topic: Any) -> None:
        if sender != connection.get_server_pid() and topic in self._heard:
            self._heard[topic]()
