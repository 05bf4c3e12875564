"""Tells people what happens to jobs: reads the feed behind a cursor, writes what is to be sent, and sends it.

A message and the place in the feed that was read to are written in one transaction, so that none is forgotten and
none made twice. It is sent afterwards, and noted after that: who dies in between leaves it to be sent again, with the
same id.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from runyard.db.database import Session
from runyard.db.queries import channels as channel_rows
from runyard.db.queries import deliveries as queries
from runyard.db.queries import events, users
from runyard.db.queries.deliveries import Told
from runyard.db.tables import Channel, Delivery
from runyard.domain import notices
from runyard.domain.notices import Happening, Subscription
from runyard.engine.context import Context
from runyard.engine.loop import Backoff
from runyard.protocol.notices import Occasion
from runyard.services import accounts, deliveries

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at the feed."""
PAGE = 500
AT_ONCE = 8
"""Channels that are told at the same time; each is told one thing after the other."""
MUCH = 2000
"""Entries of the feed, most of which tell of steps and are of no interest here."""
KEPT_SECONDS = 30 * 86_400.0
FORGET_SECONDS = 3600.0
MOST_UNWRITTEN = 10_000
"""So much of the feed may be read again after a restart, where nobody wants to be told anything."""


class Notices:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._position: int | None = None
        self._written = 0
        self._sending: dict[str, asyncio.Task[None]] = {}
        """By channel."""
        self._backoffs: dict[str, Backoff] = {}
        """Of channels that could not be told."""
        self._forget_at = 0.0

    def pause(self) -> float:
        return LOOK_SECONDS

    async def close(self) -> None:
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def tick(self) -> bool:
        """True if there is more to read at once."""
        more = await self._read()
        await self._send_due()
        await self._forget()
        return more

    async def _read(self) -> bool:
        """What is new in the feed becomes messages for those who want to hear of it."""
        context = self._context
        async with context.database.read() as session:
            newest = await events.last_id(session)
            wanted = await channel_rows.enabled(session)
            if self._position is None:
                begun = await queries.cursor(session)
                self._written = -MOST_UNWRITTEN if begun is None else begun
                first = min([newest, *(channel.after_event for channel in wanted)]) if begun is None else begun
                self._position = min(first, newest)
        behind = newest - self._position if wanted else 0
        news, channels = await self._news(behind) if behind > 0 else ([], [])
        last = news[-1].id if news else 0  # it may have come after `newest` was read
        position = last if len(news) == PAGE else max(newest, last)
        new = self._made(channels, news)
        if new or position - self._written >= MOST_UNWRITTEN:
            async with context.database.write() as session:
                if (await queries.cursor(session) or 0) > self._position:
                    self._position = None  # another has read on meanwhile
                    return True
                for delivery in new:
                    await self._add(session, delivery)
                await queries.move_cursor(session, position)
            self._written = position
        self._position = position
        return len(news) == PAGE

    async def _news(self, behind: int) -> tuple[list[Told], Sequence[Channel]]:
        """And who is to be told of it; to catch up with much keeps nothing else waiting."""
        assert self._position is not None, "it was found out where to read on"
        async with self._context.database.read(long=behind > MUCH) as session:
            news = await queries.news(session, self._position, PAGE)
            if not news:
                return [], []
            wanted = await channel_rows.enabled(session)  # after the news: one that was made before them is there
            off = await _switched_off(session, wanted)
            return news, [channel for channel in wanted if channel.user not in off or channel.of == "tenant"]

    def _made(self, channels: Sequence[Channel], news: Sequence[Told]) -> list[Delivery]:
        by_tenant: dict[str, list[Channel]] = {}
        for channel in channels:
            by_tenant.setdefault(channel.tenant, []).append(channel)
        made = []
        for told in news:
            occasion = notices.occasion(told.type, told.data)
            if occasion is None:
                continue
            happening = _happening(told, occasion)
            for channel in by_tenant.get(told.tenant, []):
                if notices.tells(_subscription(channel), happening):
                    made.append(self._message(channel, told, occasion))
        return made

    def _message(self, channel: Channel, told: Told, occasion: Occasion) -> Delivery:
        type_ = f"job.{occasion}"
        body = notices.message(type_, told.at, notices.about(told.job, told.data))
        delivery = deliveries.new(channel, type_, body, self._context.new_id(), self._context.clock())
        delivery.event_id, delivery.job_id = told.id, told.job["id"]
        return delivery

    async def _add(self, session: Session, delivery: Delivery) -> None:
        """Once for a channel that was removed a moment ago: never; for one that waits for ever: once."""
        if await channel_rows.get(session, delivery.channel_id) is None:
            return
        job_id = delivery.job_id or ""
        once = delivery.type == f"job.{Occasion.NEVER_STARTS}"
        if once and await queries.was_told(session, delivery.channel_id, job_id, delivery.type):
            return
        await queries.add(session, delivery)

    async def _send_due(self) -> None:
        room = AT_ONCE - len(self._sending)
        if room <= 0:
            return
        async with self._context.database.read() as session:
            due = await queries.due(session, self._context.clock(), list(self._sending), room)
        for delivery_id, channel_id in due:
            self._sending[channel_id] = asyncio.create_task(self._tell(channel_id, delivery_id))

    async def _tell(self, channel_id: str, delivery_id: str) -> None:
        """One thing after the other, as long as something is due."""
        backoff = self._backoffs.setdefault(channel_id, Backoff())
        following: str | None = delivery_id
        try:
            while following is not None:
                await self._send(following)
                async with self._context.database.read() as session:
                    following = await queries.due_of_channel(session, channel_id, self._context.clock())
            del self._backoffs[channel_id]
        except Exception:  # noqa: BLE001 - logged there; what was not noted is sent again
            await asyncio.sleep(backoff.failed("telling a channel"))
        finally:
            del self._sending[channel_id]

    async def _send(self, delivery_id: str) -> None:
        context = self._context
        async with context.database.read() as session:
            found = await queries.with_channel(session, delivery_id)
            if found is None or found[0].next_at is None:
                return
            delivery, channel = found
            is_off = not channel.enabled or bool(await _switched_off(session, [channel]))
        sent_to = channel.sealed
        if not is_off:
            context.require_lead()
            outcome = await deliveries.send(delivery, channel, context.limits, context.clock())
            if outcome.error:
                log.info("channel %s was not told (%s): %s", channel.id, delivery.id, outcome.error)
        async with context.database.write() as session:
            found = await queries.with_channel(session, delivery_id)
            if found is None:
                return
            delivery, channel = found
            if is_off:
                deliveries.give_up(delivery, "the channel is switched off")
            else:
                deliveries.note(delivery, channel, sent_to, outcome, context.clock(), random.random())

    async def _forget(self) -> None:
        now = self._context.monotonic()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_SECONDS
        async with self._context.database.write() as session:
            await queries.forget(session, self._context.clock() - KEPT_SECONDS)


def _happening(told: Told, occasion: Occasion) -> Happening:
    wish: Mapping[str, Sequence[str]] = told.notify or {}
    return Happening(told.id, occasion, told.job["user"], wish.get("channels", ()), wish.get("states", ()))


def _subscription(channel: Channel) -> Subscription:
    of = cast(Literal["user", "tenant"], channel.of)
    return Subscription(channel.name, channel.user, of, channel.states, channel.after_event)


async def _switched_off(session: Session, channels: Sequence[Channel]) -> set[str]:
    """Users who may not come in any more: they are told nothing, either."""
    owners = {channel.user for channel in channels if channel.of == "user"}
    if not owners or not await accounts.exist(session):
        return set()
    tenants = {(channel.user, channel.tenant) for channel in channels}
    known = [await users.known(session, name) for name in owners]
    return owners - {one.user.name for one in known if one and (one.user.name, one.user.tenant) in tenants}
