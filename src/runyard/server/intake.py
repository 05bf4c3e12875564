"""Takes submissions in groups: those that come while one group is written are the next, in one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from runyard.db.database import Database
from runyard.services import audit, submissions
from runyard.services.context import Context
from runyard.services.submissions import Submission, Submitted

MOST = 100
"""In one group, so that none holds up the other writers for long."""
PAUSE = 0.02
"""Seconds after a group of several in which the next one gathers: most of what a group costs, it costs however small
it is. One who submits again and again, alone, does not wait."""


class Waiting(NamedTuple):
    submission: Submission
    audited: Mapping[str, Any]
    answer: asyncio.Future[Submitted]


class Intake:
    """One transaction a submission would let no more through than the disk and the processor make transactions."""

    def __init__(self, database: Database, context: Context, taken: Callable[[], None]) -> None:
        """`taken` is called when there are new jobs."""
        self._database, self._context, self._taken = database, context, taken
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission, audited: Mapping[str, Any]) -> Submitted:
        """`audited` is what the audit log has of it, if a job is made. Raises what `submissions.submit` raises."""
        answer: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(submission, audited, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._take(group)
                self._taken()
                if len(group) > 1:
                    await asyncio.sleep(PAUSE)
        finally:
            self._writing = None

    async def _take(self, group: Sequence[Waiting]) -> None:
        try:
            async with self._database.write() as session:
                results = await submissions.submit_all(session, [one.submission for one in group], self._context)
                made = zip(group, results, strict=True)
                new = [one.audited for one, result in made if isinstance(result, Submitted) and result.created]
                await audit.note_all(session, new)
        except Exception as error:  # noqa: BLE001 - each request that waits for it answers with it
            if len(group) == 1:
                _answer(group[0].answer, error)
                return
            for one in group:  # what is wrong with one must not be the end of the others
                await self._take([one])
            return
        for one, result in zip(group, results, strict=True):
            _answer(one.answer, result)


def _answer(answer: asyncio.Future[Submitted], result: Submitted | Exception) -> None:
    if answer.done():  # who asked has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
