"""What a request is given."""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from runyard.db.bell import Topic
from runyard.db.database import Database, Session
from runyard.db.queries import events
from runyard.domain.access import Act, Caller
from runyard.schemas.system import GpuRead
from runyard.server.feed import Hub
from runyard.server.gate import Gate, client_address
from runyard.server.guard import CALLER
from runyard.server.intake import Intake
from runyard.server.scrape import Scrape
from runyard.server.setting_up import SettingUp
from runyard.services import audit
from runyard.services.context import Context
from runyard.services.previews import Previews
from runyard.services.tracing import Traces

YARD = "runyard.yard"
SUCCESSOR = "x-successor"
"""In the description of an older path: the operation that it stands for."""


@dataclass(frozen=True)
class Yard:
    """What all requests share. `wake` tells the engine that rows have changed."""

    database: Database
    hub: Hub
    context: Context
    gate: Gate
    wake: Callable[[Topic], None]
    clock: Callable[[], float]
    gpus: Callable[[], list[GpuRead]]
    slots: int
    machine: str = "local"
    """The name of the machine that jobs run on."""
    cgroup_missing: str | None = None
    traces: Traces = field(default_factory=Traces)
    setting_up: SettingUp | None = None
    """While the first account can be made by a link."""

    intake: Intake = field(init=False)
    scrape: Scrape = field(init=False)
    previews: Previews = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intake", Intake(self.database, self.context, partial(self.changed, "queue")))
        object.__setattr__(self, "previews", Previews(self.context))
        object.__setattr__(self, "scrape", Scrape(self.database, self.context.home, self.gpus, self.clock))

    def changed(self, topic: Topic = "work") -> None:
        """After a commit: open pages and the engine hear of it at once."""
        self.hub.notify()
        self.wake(topic)

    async def note_refusal(
        self, connection: HTTPConnection, why: str, target: str | None = None, tenant: str | None = None
    ) -> None:
        """Into the audit log, as many of an address as it takes: refusals must not be what fills the disk.

        The target is what was asked for, unless given; `tenant` is whose that is, where nobody is signed in.
        """
        address, now = client_address(connection), self.clock()
        if self.gate.too_many_refusals(address):
            return
        caller: Caller | None = connection.scope.get(CALLER)
        method, target = connection.scope.get("method", "WEBSOCKET"), target or connection.scope["path"]
        route = connection.scope.get("route")
        action = action_of(route) or f"{method} {connection.scope['path']}"[:100]
        entry = (
            audit.entry(caller, action, now, target)
            if caller
            else audit.of_stranger(address, tenant, action, now, target)
        )
        async with self.database.write() as session:
            await audit.note_all(session, [entry | {"refused": why}])

    async def cursor(self, after: int | str) -> int:
        """Where a stream begins; one from the future, as of another data folder, means now."""
        async with self.database.read() as session:
            newest = await events.last_id(session)
        return newest if isinstance(after, str) else min(after, newest)


@dataclass(frozen=True)
class Desk:
    """The yard for one request: as much of it as is its caller's, and no way to the rest.

    `action` is what the request does, by the id of its operation.
    """

    yard: Yard
    caller: Caller
    action: str
    connection: HTTPConnection

    def read(self, *, long: bool = False, widely: bool = False) -> AbstractAsyncContextManager[Session]:
        """As `Database.read`, with what is the tenant's.

        With `widely`, an operator has what is all tenants': for people and what they may have, not for work.
        """
        return self.yard.database.read(tenant=self._reach(widely), long=long)

    @asynccontextmanager
    async def write(
        self, target: str | None = None, details: Mapping[str, Any] | None = None, *, widely: bool = False
    ) -> AsyncIterator[Session]:
        """As `Database.write`, as far as `read`. What is done to the target goes into the audit log, too."""
        async with self.yard.database.write(tenant=self._reach(widely)) as session:
            yield session
            await audit.note(session, self.caller, self.action, self.yard.clock(), target, details)

    def _reach(self, widely: bool) -> str | None:
        return None if widely and self.caller.may(Act.OPERATE) else self.caller.tenant

    async def until_revoked(self) -> None:
        """Comes back once the caller may no longer see what it was given."""
        await self.yard.gate.until_revoked(self.connection, self.caller)

    def access_changed(self) -> None:
        """After a commit that changes somebody's rights: they count from now on, here and in other processes."""
        self.yard.gate.forget()
        self.yard.wake("access")


def new_id() -> str:
    return secrets.token_hex(6)


class Needs:
    """A dependency: the desk of a caller who may do this, or a refusal."""

    def __init__(self, act: Act) -> None:
        self.act = act

    async def __call__(self, connection: HTTPConnection) -> Desk:
        caller: Caller = connection.scope[CALLER]
        caller.require(self.act)
        route = connection.scope["route"]
        return Desk(connection.scope[YARD], caller, action_of(route) or route.name, connection)


def action_of(route: Any) -> str | None:
    """What a route does, by the id of its operation; an older path does what its successor does."""
    extra = getattr(route, "openapi_extra", None) or {}
    return extra.get(SUCCESSOR) or getattr(route, "operation_id", None)


async def _yard(connection: HTTPConnection) -> Yard:  # a plain function would be called in a thread
    yard: Yard = connection.scope[YARD]
    return yard


ToSee = Annotated[Desk, Depends(Needs(Act.SEE))]
ToSubmit = Annotated[Desk, Depends(Needs(Act.SUBMIT))]
ToManage = Annotated[Desk, Depends(Needs(Act.MANAGE))]
ToOperate = Annotated[Desk, Depends(Needs(Act.OPERATE))]
ToMeasure = Annotated[Desk, Depends(Needs(Act.MEASURE))]
ForAnybody = Annotated[Yard, Depends(_yard)]
"""For the routes that answer without knowing who asks."""
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=100)]
Limit = Annotated[int, Query(ge=1, le=500, description="Items on a page.")]
