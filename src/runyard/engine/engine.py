"""The engine: loops that share a context and wake each other."""

import asyncio
from dataclasses import replace

from runyard.engine import backfill, strays
from runyard.engine.context import Context
from runyard.engine.gpus import Guard
from runyard.engine.ingest import Ingest
from runyard.engine.janitor import Janitor
from runyard.engine.loop import Loop
from runyard.engine.notices import Notices
from runyard.engine.scheduler import Scheduler
from runyard.engine.schedules import Calendar
from runyard.engine.supervisor import Supervisor


class Engine:
    """Moves jobs while it runs. Trainers do not notice when it ends; the next one takes them up again."""

    def __init__(self, context: Context) -> None:
        self.guard = Guard(context, self._fill)
        self._context = context = replace(context, unusable=self.guard.unusable)
        self.ingest = Ingest(context, self._listen)
        self.supervisor = Supervisor(context, self.ingest, self.guard, self._leave_room, self._attend)
        self.scheduler = Scheduler(context, self.supervisor)
        self.calendar = Calendar(context, self._fill)
        self.janitor = Janitor(context)
        self.notices = Notices(context)
        self._guarding = Loop("gpus", self.guard.tick, self.guard.pause)
        self._listening = Loop("ingest", self.ingest.tick, self.ingest.pause)
        self._attending = Loop("supervisor", self.supervisor.tick, self.supervisor.pause)
        self._filling = Loop("scheduler", self.scheduler.tick, self.scheduler.pause)
        self._submitting = Loop("schedules", self.calendar.tick, self.calendar.pause)
        self._telling = Loop("notices", self.notices.tick, self.notices.pause)
        self._cleaning = Loop("retention", self.janitor.tick, self.janitor.pause)

    async def run(self) -> None:
        """Until cancelled; no error of a tick ends it."""
        await self.guard.begin()
        loops = (
            self._guarding,
            self._filling,
            self._attending,
            self._listening,
            self._submitting,
            self._telling,
            self._cleaning,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(strays.sweep(self._context))
                group.create_task(backfill.run(self._context))
                for loop in loops:
                    group.create_task(loop.run())
        finally:
            await self.notices.close()
            await self.supervisor.close()

    def wake(self) -> None:
        """Something has changed: look at once."""
        self._fill()
        self.supervisor.look_at_all()
        self._submitting.wake()
        self._telling.wake()
        self._cleaning.wake()

    def wake_scheduler(self) -> None:
        """Somebody more stands in line."""
        self._filling.wake()

    def _fill(self) -> None:
        self.scheduler.hurry()
        self._filling.wake()

    def _leave_room(self) -> None:
        self._fill()
        self._guarding.wake()

    def _attend(self) -> None:
        self._attending.wake()

    def _listen(self) -> None:
        self._listening.wake()
