"""What a request is given."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from runyard.db.bell import Topic
from runyard.db.database import Database
from runyard.db.queries import events
from runyard.schemas.system import GpuRead
from runyard.server.feed import Hub
from runyard.server.intake import Intake
from runyard.services.context import Context

ACTOR = "api"
"""Who asks, in a job's history: there are no accounts."""


@dataclass(frozen=True)
class Yard:
    """All that the routes work with. `wake` tells the engine that rows have changed."""

    database: Database
    hub: Hub
    context: Context
    wake: Callable[[Topic], None]
    clock: Callable[[], float]
    gpus: Callable[[], list[GpuRead]]
    slots: int
    machine: str = "local"
    """The name of the machine that jobs run on."""
    cgroup_missing: str | None = None

    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intake", Intake(self.database, self.context, partial(self.changed, "queue")))

    def changed(self, topic: Topic = "work") -> None:
        """After a commit: open pages and the engine hear of it at once."""
        self.hub.notify()
        self.wake(topic)

    async def cursor(self, after: int | str) -> int:
        """Where a stream begins; one from the future, as of another data folder, means now."""
        async with self.database.read() as session:
            newest = await events.last_id(session)
        return newest if isinstance(after, str) else min(after, newest)


def new_id() -> str:
    return secrets.token_hex(6)


async def _yard(connection: HTTPConnection) -> Yard:  # a plain function would be called in a thread
    yard: Yard = connection.app.state.yard
    return yard


YardDep = Annotated[Yard, Depends(_yard)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=100)]
Limit = Annotated[int, Query(ge=1, le=500, description="Items on a page.")]
