"""Takes submissions in groups: those that come while one group is written are the next, in one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runyard.db.database import Database
from runyard.domain.errors import RunyardError
from runyard.services import queue, submissions
from runyard.services.context import Context
from runyard.services.queue import Standing
from runyard.services.submissions import Submission, Submitted

MOST = 100
"""In one group, so that none holds up the other writers for long."""


@dataclass(frozen=True)
class Accepted:
    submitted: Submitted
    standing: Standing


class Intake:
    """One transaction a submission would let no more through than the disk and the processor make transactions."""

    def __init__(self, database: Database, context: Context, clock: Callable[[], float]) -> None:
        self._database, self._context, self._clock = database, context, clock
        self._waiting: list[tuple[Submission, asyncio.Future[Accepted]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Accepted:
        """Raises what `submissions.submit` raises."""
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._take(group)
        finally:
            self._writing = None

    async def _take(self, group: Sequence[tuple[Submission, asyncio.Future[Accepted]]]) -> None:
        try:
            results = await self._submit_all([submission for submission, _ in group])
        except Exception as error:  # noqa: BLE001 - each request that waits for it answers with it
            if len(group) == 1:
                _answer(group[0][1], error)
                return
            for one in group:  # what is wrong with one must not be the end of the others
                await self._take([one])
            return
        for (_, answer), result in zip(group, results, strict=True):
            _answer(answer, result)

    async def _submit_all(self, group: Sequence[Submission]) -> list[Accepted | RunyardError]:
        async with self._database.write() as session:
            results = await submissions.submit_all(session, group, self._context)
            taken = [result.job for result in results if isinstance(result, Submitted)]
            standings = await queue.standings(session, taken, self._clock())
        return [
            Accepted(result, standings[result.job.id]) if isinstance(result, Submitted) else result
            for result in results
        ]


def _answer(answer: asyncio.Future[Accepted], result: Accepted | Exception) -> None:
    if answer.done():  # who asked has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
