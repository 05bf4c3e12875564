"""People are told: real receivers, from the feed to the signature."""

import asyncio
import json
import logging
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.integration.engine.receiver import Receiver, listening

from runyard.db.database import Database
from runyard.db.queries import channels as channel_rows
from runyard.db.queries import events, jobs, leaders
from runyard.db.tables import Channel, Cursor, Delivery, Job, Tenant, User
from runyard.domain import access, notices
from runyard.domain.access import Caller, Role
from runyard.domain.lifecycle import Cause
from runyard.engine.notices import Notices
from runyard.protocol.notices import Occasion
from runyard.services import channels, deliveries
from runyard.services.context import Context as Limits
from runyard.services.outbound import Outbound
from runyard.testing.yard import Yard, eventually, make_context

ENDS = [Occasion.COMPLETED, Occasion.FAILED]
LOOPBACK = Outbound(("127.0.0.0/8",))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


class Desk:
    """Jobs that move, channels, and an engine's notices; its clock can be set forward."""

    def __init__(self, database: Database, home: Path, way: Outbound = LOOPBACK) -> None:
        self.database = database
        self.later = 0.0
        limits = Limits(home=home, min_free=0, outbound=way, private_key=b"k" * 32)
        self.context = make_context(database, home / "runs", limits=limits, clock=self.clock)
        self.notices = Notices(self.context)

    def clock(self) -> float:
        return time.time() + self.later

    async def channel(
        self, url: str, name: str = "hook", states: Any = ENDS, caller: Caller = access.LOCAL, **more: Any
    ) -> tuple[Channel, str]:
        address = channels.Address(more.pop("kind", "webhook"), url, "shown")
        request = channels.Request(name, address, more.pop("of", "user"), states)
        async with self.database.write(tenant=caller.tenant) as session:
            new_id = self.context.new_id()
            found, secret = await channels.add(session, caller, request, self.context.limits, new_id, self.clock())
        return found, secret or ""

    async def job(self, id_: str, *causes: Cause, notify: Any = None, **more: Any) -> None:
        """A new job, and what has become of it."""
        now = self.clock()
        values = {
            "tenant": "main",
            "user": "local",
            "kind": "sft",
            "name": f"name of {id_}",
            "priority": "normal",
        } | more
        times = {"created_at": now, "queued_at": now, "updated_at": now}
        spec: dict[str, Any] = {"notify": notify} if notify else {}
        async with self.database.write() as session:
            job = Job(
                id=id_, spec=spec, resolved_spec=spec, state="queued", attempts=0, events_offset=0, failures=0,
                resumable=False, kept=False, **values, **times,
            )  # fmt: skip
            await jobs.add(session, job, "me")
        for cause in causes:
            await self.move(id_, cause)

    async def move(self, id_: str, cause: Cause) -> None:
        async with self.database.write() as session:
            job = await jobs.get(session, id_)
            assert job is not None
            reason = {"reason": "crashed", "message": "it broke"} if cause == Cause.FAILED else {}
            await jobs.apply_move(session, job, cause, "engine", self.clock(), attempt=1, **reason)

    async def fail(self, id_: str, **more: Any) -> None:
        await self.job(id_, Cause.PLACED, Cause.STARTED, Cause.FAILED, **more)

    async def tick(self) -> None:
        """Read, send what is due, and wait until that is done."""
        await self.notices.tick()
        await self.notices.tick()
        await asyncio.gather(*self.notices._sending.values())

    async def sent(self) -> list[Delivery]:
        async with self.database.read() as session:
            found = [one for row in await channel_rows.enabled(session) for one in await deliveries_of(session, row)]
        return sorted(found, key=lambda one: (one.created_at, one.event_id or 0))


async def deliveries_of(session: Any, channel: Channel) -> list[Delivery]:
    found, _ = await deliveries.page(session, channel, None, 100)
    return list(found)


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(database, tmp_path)
    await desk.tick()
    yield desk
    await desk.notices.close()


async def test_a_failure_is_told_with_a_signature_that_is_good(desk: Desk, receiver: Receiver, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    await desk.job("before", Cause.PLACED, Cause.STARTED, Cause.FAILED)
    _, secret = await desk.channel(f"{receiver.url}/hook?token=of-theirs")
    await desk.fail("j")
    await desk.job("quiet", Cause.PLACED)
    await desk.tick()
    [received] = receiver.received
    assert received.path == "/hook?token=of-theirs"
    body = Webhook(secret).verify(received.body, dict(received.headers))
    assert body["type"] == "job.failed"
    assert body["data"]["job"]["name"] == "name of j"
    assert (body["data"]["reason"], body["data"]["message"]) == ("crashed", "it broke")
    [delivery] = await desk.sent()
    assert received.headers["webhook-id"] == delivery.id
    assert (delivery.status, delivery.tries, delivery.response_code) == ("delivered", 1, 204)
    await desk.tick()
    assert len(receiver.received) == 1
    assert "of-theirs" not in caplog.text


async def test_what_does_not_get_through_is_tried_again_as_the_same_message(desk: Desk, receiver: Receiver) -> None:
    _, secret = await desk.channel(receiver.url)
    receiver.answers = [(500, {}), (503, {"Retry-After": "900"}), (200, {})]
    await desk.fail("j")
    await desk.tick()
    [delivery] = await desk.sent()
    assert (delivery.status, delivery.tries, delivery.response_code) == ("pending", 1, 500)
    assert delivery.last_error == "the answer is 500"
    assert delivery.next_at is not None
    assert 3 < delivery.next_at - desk.clock() < 7
    await desk.tick()
    assert len(receiver.received) == 1, "it is not its time yet"
    desk.later += 10
    await desk.tick()
    [delivery] = await desk.sent()
    assert delivery.next_at is not None
    assert delivery.next_at - desk.clock() > 890, "the receiver asked for patience"
    desk.later += 1000
    await desk.tick()
    [delivery] = await desk.sent()
    assert (delivery.status, delivery.tries, delivery.last_error, delivery.next_at) == ("delivered", 3, None, None)
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    stamps = [int(received.headers["webhook-timestamp"]) for received in receiver.received]
    assert stamps[0] < stamps[1] < stamps[2]
    assert all(b"whsec" not in received.body for received in receiver.received)
    Webhook(secret)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_in_the_end_it_is_given_up_and_can_be_sent_again(desk: Desk, receiver: Receiver) -> None:
    await desk.channel(receiver.url)
    tries = len(notices.PAUSES) + 1
    receiver.answers = [(500, {})] * tries
    await desk.fail("j")
    for _ in range(tries + 1):
        await desk.tick()
        desk.later += 100_000
    [delivery] = await desk.sent()
    assert (delivery.status, delivery.tries, delivery.next_at) == ("failed", tries, None)
    async with desk.database.write() as session:
        row, channel = await deliveries.get(session, delivery.id)
        deliveries.resend(row, channel, desk.clock())
    await desk.tick()
    assert (await desk.sent())[0].status == "delivered"
    assert receiver.received[-1].headers["webhook-id"] == receiver.received[0].headers["webhook-id"]


async def test_who_dies_between_sending_and_noting_sends_it_again_with_the_same_id(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.channel(receiver.url)
    loop, died = asyncio.get_running_loop(), asyncio.Event()

    def die(_: object) -> None:
        loop.call_soon_threadsafe(died.set)
        time.sleep(0.3)  # the answer comes too late

    receiver.on_receipt = die
    await desk.fail("j")
    await desk.notices.tick()
    await desk.notices.tick()
    await died.wait()
    await desk.notices.close()
    assert (await desk.sent())[0].status == "pending"
    receiver.on_receipt = lambda _: None
    desk.notices = Notices(desk.context)
    await desk.tick()
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert (await desk.sent())[0].status == "delivered"


async def test_another_engine_goes_on_where_the_last_one_was(desk: Desk, receiver: Receiver) -> None:
    await desk.channel(receiver.url)
    await desk.fail("seen")
    await desk.tick()
    await desk.fail("while nobody led")
    desk.notices = Notices(desk.context)
    await desk.tick()
    desk.notices = Notices(desk.context)
    await desk.tick()
    named = [json.loads(received.body)["data"]["job"]["id"] for received in receiver.received]
    assert named == ["seen", "while nobody led"]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_engine_that_leads_no_more_tells_nobody(desk: Desk, receiver: Receiver) -> None:
    async def refuse(_: object) -> None:
        raise leaders.NotLeadingError("another leads")

    def stop() -> None:
        raise leaders.NotLeadingError("another may lead")

    await desk.channel(receiver.url)
    await desk.fail("j")
    late = Notices(replace(desk.context, database=desk.database.fenced(refuse)))
    with pytest.raises(leaders.NotLeadingError):
        await late.tick()
    assert await desk.sent() == []
    unsure = Desk(desk.database, desk.context.runs.parent)
    unsure.notices = Notices(replace(desk.context, require_lead=stop))
    await unsure.tick()
    assert [one.status for one in await desk.sent()] == ["pending"]
    assert receiver.received == []
    await desk.tick()
    assert len(receiver.received) == 1


async def test_the_first_engine_tells_what_happened_since_the_channel_was_made(
    database: Database, tmp_path: Path, receiver: Receiver
) -> None:
    desk = Desk(database, tmp_path)
    await desk.fail("before")
    await desk.channel(receiver.url)
    await desk.fail("after")
    await desk.tick()
    assert [json.loads(one.body)["data"]["job"]["id"] for one in receiver.received] == ["after"]


async def test_a_channel_that_is_made_while_the_feed_is_read_is_told_what_follows(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same look at the feed at which what follows is read."""
    await desk.channel(receiver.url, "first")
    read = desk.notices._news

    async def meanwhile(behind: int) -> Any:
        monkeypatch.setattr(desk.notices, "_news", read)
        await desk.channel(receiver.url, "second")
        await desk.fail("job")
        return await read(behind)

    await desk.job("before")
    monkeypatch.setattr(desk.notices, "_news", meanwhile)
    await desk.tick()
    assert len(await desk.sent()) == 2


async def test_the_cursor_moves_on_where_nobody_wants_to_hear(desk: Desk, monkeypatch: Any) -> None:
    monkeypatch.setattr("runyard.engine.notices.MOST_UNWRITTEN", 3)
    for number in range(3):
        await desk.job(f"j{number}", Cause.PLACED)
    await desk.tick()
    async with desk.database.read() as session:
        found = await session.get(Cursor, "notices")
        assert found is not None
        assert found.position == await events.last_id(session)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("place", ["http://169.254.169.254/latest/meta-data", "http://localhost:1/", "http://[::1]:1/"])
async def test_nothing_is_sent_inside(database: Database, tmp_path: Path, place: str) -> None:
    desk = Desk(database, tmp_path, Outbound())
    await desk.tick()
    await desk.channel(place)
    await desk.fail("j")
    await desk.tick()
    [delivery] = await desk.sent()
    assert delivery.status == "pending"
    assert "not on the public network" in (delivery.last_error or "")


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(desk: Desk, receiver: Receiver, status: int) -> None:
    with listening() as inner:
        receiver.answers = [(status, {"Location": inner.url})]
        await desk.channel(receiver.url)
        await desk.fail("j")
        await desk.tick()
        [delivery] = await desk.sent()
        assert delivery.response_code == status
        assert "redirect" in (delivery.last_error or "")
        assert inner.received == []


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_receiver_that_is_gone_switches_its_channel_off(desk: Desk, receiver: Receiver) -> None:
    channel, _ = await desk.channel(receiver.url)
    receiver.answers = [(410, {})]
    await desk.fail("j")
    await desk.tick()
    await desk.fail("k")
    await desk.tick()
    assert len(receiver.received) == 1
    async with desk.database.read() as session:
        found = await channel_rows.get(session, channel.id)
        assert found is not None
        assert not found.enabled
        assert "nobody wants to be told" in (found.disabled_because or "")
        assert [one.status for one in await deliveries_of(session, found)] == ["failed"]


async def test_a_channel_that_was_removed_or_switched_off_is_silent(desk: Desk, receiver: Receiver) -> None:
    gone, _ = await desk.channel(receiver.url, "gone")
    off, _ = await desk.channel(receiver.url, "off")
    receiver.answers = [(500, {}), (500, {})]
    await desk.fail("j")
    await desk.tick()
    assert len(receiver.received) == 2
    async with desk.database.write() as session:
        row = await channel_rows.get(session, gone.id)
        assert row is not None
        await channels.remove(session, row)
        row = await channel_rows.get(session, off.id)
        assert row is not None
        await channels.switch(session, row, on=False)
    desk.later += 100
    await desk.fail("k")
    await desk.tick()
    assert len(receiver.received) == 2
    async with desk.database.write() as session:
        row = await channel_rows.get(session, off.id)
        assert row is not None
        await channels.switch(session, row, on=True)
    await desk.tick()
    assert len(receiver.received) == 2, "what happened while it was off is not told"
    await desk.fail("l")
    await desk.tick()
    assert json.loads(receiver.received[-1].body)["data"]["job"]["id"] == "l"


async def people(desk: Desk) -> dict[str, Caller]:
    async with desk.database.write() as session:
        session.add(Tenant(name="other", created_at=1.0))
        await session.flush()
        for name, tenant in (("max", "main"), ("mia", "main"), ("otto", "other")):
            session.add(User(name=name, tenant=tenant, role="admin", enabled=True, created_at=1.0))
    return {
        name: Caller(name, tenant, role=Role.ADMIN)
        for name, tenant in (("max", "main"), ("mia", "main"), ("otto", "other"))
    }


async def test_each_is_told_of_their_own(desk: Desk, receiver: Receiver) -> None:
    who = await people(desk)
    for caller in who.values():
        await desk.channel(f"{receiver.url}/{caller.user}", caller.user, caller=caller)
        await desk.channel(f"{receiver.url}/all-of-{caller.user}", f"all-{caller.user}", caller=caller, of="tenant")
    await desk.fail("ours", user="max")
    await desk.fail("theirs", user="otto", tenant="other")
    await desk.tick()
    told = sorted((received.path, json.loads(received.body)["data"]["job"]["id"]) for received in receiver.received)
    assert told == [
        *(("/all-of-max", "ours"), ("/all-of-mia", "ours"), ("/all-of-otto", "theirs")),
        *(("/max", "ours"), ("/otto", "theirs")),
    ]
    async with desk.database.write() as session:
        user = await session.get(User, "max")
        assert user is not None
        user.enabled = False
    receiver.received.clear()
    await desk.fail("again", user="max")
    await desk.tick()
    assert sorted(one.path for one in receiver.received) == ["/all-of-max", "/all-of-mia"], (
        "who may not come in is not told"
    )


async def test_a_job_names_who_is_told_besides(desk: Desk, receiver: Receiver) -> None:
    who = await people(desk)
    await desk.channel(f"{receiver.url}/team", "team", [], caller=who["max"], of="tenant")
    await desk.channel(f"{receiver.url}/mia", "mia", [], caller=who["mia"])
    await desk.channel(f"{receiver.url}/otto", "otto", [], caller=who["otto"], of="tenant")
    wish = {"channels": ["team", "mia", "otto"], "states": ["running", "failed"]}
    await desk.fail("j", user="max", notify=wish)
    await desk.fail("quiet", user="max")
    await desk.tick()
    told = [(received.path, json.loads(received.body)["type"]) for received in receiver.received]
    assert told == [("/team", "job.running"), ("/team", "job.failed")], "not those of others, whoever names them"


async def test_one_slow_receiver_keeps_no_other_waiting(desk: Desk, receiver: Receiver) -> None:
    answer = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: object) -> None:
        asyncio.run_coroutine_threadsafe(answer.wait(), loop).result(20)

    with listening() as slow:
        slow.on_receipt = wait
        await desk.channel(slow.url, "slow")
        await desk.channel(receiver.url, "quick")
        for number in range(4):
            await desk.fail(f"j{number}")

        async def all_told() -> bool:
            await desk.notices.tick()
            return len(receiver.received) == 4 and len(slow.received) > 0

        await eventually(all_told)
        assert len(slow.received) == 1, "each is told one thing after the other"
        answer.set()
        await desk.tick()
        assert [json.loads(one.body)["data"]["job"]["id"] for one in slow.received] == ["j0", "j1", "j2", "j3"]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_apprise_tells_in_words_and_reaches_nothing_inside(desk: Desk, receiver: Receiver, caplog: Any) -> None:
    host = receiver.url.removeprefix("http://")
    receiver.answers = [(200, {})]
    await desk.channel(f"gotify://{host}/AsecretTOKEN123456", "chat", kind="apprise")
    await desk.fail("j")
    await desk.tick()
    [received] = receiver.received
    assert received.headers["x-gotify-key"] == "AsecretTOKEN123456"
    assert json.loads(received.body)["title"] == "name of j failed"
    assert [one.status for one in await desk.sent()] == ["delivered"]
    shut = Desk(desk.database, desk.context.runs.parent, Outbound())
    await desk.fail("k")
    await shut.tick()
    assert len(receiver.received) == 1
    last = (await desk.sent())[-1]
    assert last.status == "pending"
    assert "not on the public network" in (last.last_error or "")
    assert "secretTOKEN" not in caplog.text + str([one.last_error for one in await desk.sent()])


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as it takes."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        in_data = False
        for line in self.rfile:
            if in_data:
                self.server.lines.append(line.decode().rstrip())  # type: ignore[attr-defined]
                in_data = line != b".\r\n"
                if not in_data:
                    self.wfile.write(b"250 taken\r\n")
                continue
            word = line[:4].upper()
            in_data = word == b"DATA"
            self.wfile.write(b"354 go on\r\n" if in_data else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_e_mail_arrives(desk: Desk) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.lines = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_address[1]
        await desk.channel(f"mailto://127.0.0.1:{port}?from=yard@example.org&to=max@example.org", kind="apprise")
        await desk.fail("j")
        await desk.tick()
        server.shutdown()
        thread.join()
        assert [(one.status, one.last_error) for one in await desk.sent()] == [("delivered", None)]
        lines: list[str] = server.lines  # type: ignore[attr-defined]
        assert any(line.startswith("Subject: ") and "name of j failed" in line for line in lines), lines
        assert any("max@example.org" in line for line in lines if line.startswith("To:"))


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_redirect_of_apprise_is_not_followed_inside(desk: Desk, receiver: Receiver) -> None:
    with listening() as inner:
        receiver.answers = [(307, {"Location": inner.url.replace("127.0.0.1", "127.0.0.2")})]
        await desk.channel(f"gotify://{receiver.url.removeprefix('http://')}/AsecretTOKEN123456", kind="apprise")
        await desk.fail("j")
        await desk.tick()
        assert len(receiver.received) == 1
        assert inner.received == []
        assert [one.status for one in await desk.sent()] == ["pending"]


async def test_old_messages_are_forgotten(desk: Desk, receiver: Receiver) -> None:
    await desk.channel(receiver.url)
    receiver.answers = [(204, {}), (500, {})]
    await desk.fail("told")
    await desk.tick()
    await desk.fail("pending")
    await desk.tick()
    desk.later += 31 * 86_400
    desk.notices = Notices(desk.context)
    receiver.answers = [(500, {})] * 9
    await desk.tick()
    assert [one.job_id for one in await desk.sent()] == ["pending"]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_with_a_whole_engine(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    """A job that fails, one that stalls, one that no machine has room for."""
    limits = Limits(home=tmp_path, min_free=0, outbound=LOOPBACK)
    yard = Yard(database, tmp_path / "runs", limits=limits, grace_seconds=0.3)
    desk = Desk(database, tmp_path)
    desk.context = yard.context
    states = [Occasion.FAILED, Occasion.STALLED, Occasion.NEVER_STARTS]
    await desk.channel(receiver.url, states=states)
    yard.start()
    try:
        await yard.submit("failing", "sys.exit(3)", tenant="main")
        await yard.reaches("failing", "failed")
        await yard.submit("huge", gpus=64)
        await yard.submit("stalling", "say('phase', phase='training')\nuntil('never')", {"stall_timeout": 1.0})
        await yard.reaches("stalling", "failed")

        async def all_told() -> bool:
            return len(receiver.received) >= 4

        await eventually(all_told)
    finally:
        await yard.clean()
    told = sorted(
        (json.loads(one.body)["type"], json.loads(one.body)["data"]["job"]["id"]) for one in receiver.received
    )
    assert told == [
        *(("job.failed", "failing"), ("job.failed", "stalling")),
        *(("job.never_starts", "huge"), ("job.stalled", "stalling")),
    ]
