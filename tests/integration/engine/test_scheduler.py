"""Sharing a machine, with real processes: quotas, shares of a GPU, room made for the urgent, and what is told."""

from dataclasses import replace

from runyard.db.queries import queue
from runyard.db.tables import Job, Limit, Tenant
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Gpu, Machine, Wait
from runyard.domain.quotas import Quota
from runyard.engine.scheduler import HEAD
from runyard.services.queue import Standing, standings
from runyard.testing.yard import OBEDIENT, Yard, appears, eventually

ENDS = "say('finished', outcome='completed')"
WAITS = OBEDIENT + "until('go'); " + ENDS
SAVES = """
signal.signal(signal.SIGTERM, leave)
if attempt > 1:
    say("resumed", step=3, checkpoint="checkpoints/step-000003")
for step in ((1, 2, 3), (4, 5))[attempt - 1]:
    metric(step, loss=attempt)
attempt == 1 and until("never")
say("finished", outcome="completed")
"""

LINGERS = """
def told(*_):
    open("told", "w")

signal.signal(signal.SIGTERM, told)
say("phase", phase="training")
if attempt == 1:
    until("told")
    until("go")
    leave()
say("finished", outcome="completed")
"""
"""Does nothing on its own before it is told to save, and then leaves when there is a `go`."""


async def standing(yard: Yard, id_: str) -> Standing:
    async with yard.database.read() as session:
        return (await standings(session, [await yard.job(id_)], yard.context.clock()))[id_]


async def waits_because(yard: Yard, id_: str, words: str) -> None:
    async def told() -> bool:
        return words in ((await standing(yard, id_)).cause or "")

    await eventually(told)


async def at_step(yard: Yard, id_: str, step: int) -> bool:
    return step in await yard.curve(id_)


async def test_an_urgent_job_pauses_a_low_one_which_goes_on_afterwards(running: Yard) -> None:
    await running.submit("low", SAVES, priority="low", resumable=True)
    await eventually(lambda: at_step(running, "low", 3))
    queued_at = (await running.job("low")).queued_at
    await running.submit("urgent", WAITS, priority="urgent", resumable=True)
    await running.reaches("urgent", "running")
    low = await running.job("low")
    assert (low.state, low.queued_at, low.yields_to, low.failures) == ("queued", queued_at, None, 0)
    assert [move.cause for move in await running.moves("low")][-2:] == ["preempted", "yielded"]
    assert "urgent" in ([move.message for move in await running.moves("low")][-2] or "")
    assert (running.run("low") / "stop").read_text() == "save"
    (running.run("urgent") / "go").touch()
    await running.reaches("urgent", "completed")
    await running.reaches("low", "completed")
    assert await running.curve("low") == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}
    assert [attempt.exit_code for attempt in await running.attempts("low")] == [75, 0]


async def test_what_can_not_go_on_is_not_paused_for_anybody(yard: Yard) -> None:
    await yard.submit("rigid", WAITS, priority="low", resumable=False)
    yard.start()
    await yard.reaches("rigid", "running")
    await yard.submit("urgent", ENDS, priority="urgent")
    await waits_because(yard, "urgent", "waits for the job before it to end; 1st in line")
    assert (await yard.job("rigid")).state == "running"
    (yard.run("rigid") / "go").touch()
    await yard.reaches("urgent", "completed")


async def test_what_comes_free_goes_to_the_urgent_one_and_to_nobody_before_it(yard: Yard) -> None:
    await yard.restart(machine=Machine(slots=2))
    for id_ in ("one", "two"):
        await yard.submit(id_, WAITS, priority="low", resumable=True)
        await yard.reaches(id_, "running")
    await yard.submit("high", WAITS, priority="high")
    await yard.submit("urgent", WAITS, priority="urgent")
    await yard.reaches("urgent", "running")
    assert {(await yard.job(id_)).state for id_ in ("one", "high")} <= {"running", "queued"}
    assert (await yard.job("one")).state == "running", "no more had to yield than one"
    assert (await yard.job("high")).state == "queued"
    for id_ in ("urgent", "one", "high", "two"):
        await eventually(lambda id_=id_: _is_running(yard, id_))
        (yard.run(id_) / "go").touch()
        await yard.reaches(id_, "completed")


async def _is_running(yard: Yard, id_: str) -> bool:
    return (await yard.job(id_)).state == "running"


async def test_an_urgent_job_that_is_cancelled_leaves_the_other_to_go_on(yard: Yard) -> None:
    await yard.submit("low", WAITS, priority="low", resumable=True)
    yard.start()
    await yard.reaches("low", "running")
    await yard.stop()
    await yard.submit("urgent", WAITS, priority="urgent")
    await yard.engine.scheduler.tick()
    assert (await yard.job("low")).state == "pausing"
    assert (await yard.job("low")).yields_to == "urgent"
    await yard.ask("urgent", Cause.CANCEL_ASKED)
    await yard.restart()
    await yard.reaches("low", "running", after="queued")
    (yard.run("low") / "go").touch()
    assert (await yard.reaches("low", "completed")).attempts == 2


async def test_a_person_who_pauses_what_has_to_yield_means_it(yard: Yard) -> None:
    await yard.submit("low", WAITS, priority="low", resumable=True)
    yard.start()
    await yard.reaches("low", "running")
    await yard.stop()
    await yard.submit("urgent", ENDS, priority="urgent")
    await yard.engine.scheduler.tick()
    await yard.ask("low", Cause.PAUSE_ASKED)
    await yard.restart()
    await yard.reaches("urgent", "completed")
    assert (await yard.reaches("low", "paused")).attempts == 1


async def test_a_pause_that_is_taken_back_in_time_keeps_the_place_in_line(yard: Yard) -> None:
    """It has been told to save and leave, and does; who came after it still starts after it."""
    await yard.submit("first", LINGERS)
    yard.start()
    await yard.reaches("first", "running")
    await yard.submit("second", ENDS)
    await yard.ask("first", Cause.PAUSE_ASKED)
    await appears(yard.run("first") / "told")
    await yard.ask("first", Cause.RESUME_ASKED)
    first = await yard.job("first")
    assert (first.state, first.returns) == ("pausing", True)
    (yard.run("first") / "go").touch()
    first = await yard.reaches("first", "completed")
    assert (first.attempts, first.returns) == (2, False)
    await yard.reaches("second", "completed")
    [began] = [attempt.created_at for attempt in await yard.attempts("second")]
    assert first.finished_at is not None
    assert began >= first.finished_at
    assert (await yard.states("first"))[-5:] == ["pausing", "queued", "starting", "running", "completed"]


async def test_who_asks_last_while_it_is_being_paused_is_obeyed(yard: Yard) -> None:
    await yard.submit("job", LINGERS)
    yard.start()
    await yard.reaches("job", "running")
    for cause in (Cause.PAUSE_ASKED, Cause.RESUME_ASKED, Cause.RESUME_ASKED, Cause.PAUSE_ASKED):
        await yard.ask("job", cause)
    (yard.run("job") / "go").touch()
    assert (await yard.reaches("job", "paused")).attempts == 1
    changed = [event.data for event in await yard.feed("job", "changed")]
    assert changed == [{"returns": True, "actor": "me"}, {"returns": False, "actor": "me"}]


async def test_shares_sit_on_one_gpu_together_while_they_fit(yard: Yard) -> None:
    await yard.restart(machine=Machine(gpus=(Gpu(3, 24_000),)))
    code = f"open('devices', 'w').write(os.environ['CUDA_VISIBLE_DEVICES']); {WAITS}"
    for id_, memory in [("a", 10_000), ("b", 12_000), ("c", 4_000)]:
        await yard.submit(id_, code, gpu_memory_mb=memory)
    for id_ in "ab":
        await yard.reaches(id_, "running")
        assert (yard.run(id_) / "devices").read_text() == "3"
    await waits_because(yard, "c", "needs 4000 MB on 1 GPU, 0 free; 1st in line")
    assert [a.gpu_memory_mb for a in await yard.attempts("b")] == [12_000]
    for id_ in "abc":
        await appears(yard.run(id_) / "devices")
        (yard.run(id_) / "go").touch()
        await yard.reaches(id_, "completed")


async def test_a_user_at_the_quota_waits_and_says_so_while_others_start(yard: Yard) -> None:
    limits = replace(yard.context.limits, each_user={Quota.RUNNING: 1})
    await yard.restart(machine=Machine(slots=3), limits=limits)
    await yard.submit("a", WAITS, user="greedy")
    await yard.submit("b", ENDS, user="greedy")
    await yard.reaches("a", "running")
    await yard.submit("c", ENDS, user="modest")
    await yard.reaches("c", "completed")
    await waits_because(yard, "b", "greedy has 1 running job, and may have 1 (quota running); 1st in line")
    (yard.run("a") / "go").touch()
    await yard.reaches("b", "completed")


async def test_what_was_set_for_a_tenant_holds_at_the_next_look(yard: Yard) -> None:
    await yard.restart(machine=Machine(slots=3))
    async with yard.database.write() as session:
        session.add(Tenant(name="small", created_at=0.0))
        await session.flush()
        session.add(Limit(tenant="small", of="tenant", quota="running", amount=1.0))
    await yard.submit("a", WAITS, user="one", tenant="small")
    await yard.reaches("a", "running")
    await yard.submit("b", ENDS, user="two", tenant="small")
    await yard.submit("c", ENDS, user="three")
    await yard.reaches("c", "completed")
    await waits_because(yard, "b", "the tenant small has 1 running job, and may have 1 (quota running)")
    async with yard.database.write() as session:
        await session.delete(await session.get_one(Limit, ("small", "tenant", "running")))
    yard.engine.wake()
    await yard.reaches("b", "completed")
    (yard.run("a") / "go").touch()
    await yard.reaches("a", "completed")


async def test_a_job_that_makes_room_for_another_tenants_is_not_told_whose(yard: Yard) -> None:
    await yard.restart(machine=Machine(slots=1))
    await yard.submit("ours", SAVES, resumable=True, priority="low")
    await yard.reaches("ours", "running")
    await yard.submit("theirs", ENDS, priority="urgent", user="other", tenant="other")
    await yard.reaches("theirs", "completed")
    told = [move.message for move in await yard.moves("ours") if move.cause == "preempted"]
    assert told == ["makes room for an urgent job"]


async def test_processors_that_are_kept_for_one_are_not_given_to_another(yard: Yard) -> None:
    await yard.restart(machine=Machine(slots=3, cpus=4, memory_mb=1000))
    await yard.submit("a", WAITS, cpus=3.0, memory_mb=800)
    await yard.reaches("a", "running")
    await yard.submit("b", ENDS, cpus=2.0)
    await waits_because(yard, "b", "needs 2 CPUs, 1 free")
    await yard.submit("c", ENDS, memory_mb=300)
    await waits_because(yard, "c", "needs 300 MB of memory, 200 free")
    (yard.run("a") / "go").touch()
    for id_ in "bc":
        await yard.reaches(id_, "completed")


async def test_a_job_that_reports_its_pace_tells_the_next_when_it_may_start(yard: Yard) -> None:
    yard.start()
    pace = "say('progress', phase='training', step=1, total_steps=9, eta_seconds=840.0);"
    await yard.submit("a", f"{OBEDIENT}{pace} until('go'); {ENDS}")
    await yard.reaches("a", "running")

    async def has_pace() -> bool:
        return bool(((await yard.job("a")).snapshot or {}).get("eta_seconds"))

    await eventually(has_pace)
    await yard.submit("b", ENDS)
    await waits_because(yard, "b", "waits for the job before it to end; 1st in line; about 14 min")
    waiting = await yard.job("b")
    assert abs((waiting.expected_start or 0) - yard.context.clock() - 840) < 60
    assert waiting.expected_place == {"machine": yard.context.machine.name, "gpus": []}
    (yard.run("a") / "go").touch()
    done = await yard.reaches("b", "completed")
    assert (done.expected_start, done.expected_place) == (None, None)


async def test_what_an_earlier_engine_told_is_taken_back_when_it_is_no_longer_true(yard: Yard) -> None:
    for number in range(25):
        await yard.submit(f"job{number:02}", WAITS, queued_at=float(number))
    await yard.engine.scheduler.tick()
    async with yard.database.read() as session:
        assert len(await queue.told(session)) == 20
    assert (await standing(yard, "job24")).cause == "waits for those before it; 24th in line"
    for number in range(15):
        await yard.submit(f"first{number:02}", WAITS, queued_at=-1.0)
    await yard.restart()
    await yard.stop()
    await yard.engine.scheduler.tick()
    async with yard.database.read() as session:
        told = set(await queue.told(session))
    assert len(told) == 20
    assert "job20" not in told
    assert [event.data["position"] for event in await yard.feed("job20", "queue")] == [20]
    assert (await standing(yard, "job20")).position == 35


async def test_a_job_between_two_tries_has_no_place_but_a_reason(yard: Yard) -> None:
    yard.start()
    await yard.restart(retry_seconds=3600.0)
    await yard.submit("job", "os.kill(os.getpid(), 9)", {"retries": 1})
    await yard.reaches("job", "queued", after="starting")
    assert await standing(yard, "job") == Standing(None, "is tried again in about 60 min")


async def test_a_tick_with_nothing_new_writes_nothing(yard: Yard) -> None:
    for id_ in ("a", "b", "c"):
        await yard.submit(id_, WAITS)
    for _ in range(3):
        await yard.engine.scheduler.tick()
    assert [event.data["position"] for event in await yard.feed("c", "queue")] == [2]


async def test_of_a_line_that_moves_fast_no_more_are_told_in_a_second_than_stand_at_its_head(yard: Yard) -> None:
    seconds = [0.0]
    await yard.restart(monotonic=lambda: seconds[0])
    await yard.stop()
    ids = [f"job{number:02}" for number in range(30)]
    for id_ in ids:
        await yard.submit(id_, WAITS)
    scheduler = yard.engine.scheduler

    async def told() -> int:
        await scheduler.tick()
        return sum([len(await yard.feed(id_, "queue")) for id_ in ids])

    assert await told() == 20
    await yard.ask("job01", Cause.CANCEL_ASKED)
    assert await told() == 20
    assert (await standing(yard, "job02")).position == 1
    assert scheduler.pause() == 1.0, "to tell the others"
    seconds[0] += 1
    assert await told() == 40
    assert scheduler.pause() > 1.0


async def test_those_who_can_never_start_are_in_nobodys_way_however_many_they_are(yard: Yard) -> None:
    row = {
        "tenant": "main",
        "user": "local",
        "kind": "sft",
        "name": "large",
        "spec": {},
        "resolved_spec": {},
        "priority": "high",
        "state": "queued",
    }
    row |= {"created_at": 1.0, "queued_at": 1.0, "updated_at": 1.0, "attempts": 0, "events_offset": 0, "gpus": 9}
    async with yard.database.write() as session:
        session.add_all(Job(id=f"large{number:04}", **row) for number in range(HEAD + 10))
    await yard.submit("small", ENDS)
    yard.start()
    await yard.reaches("small", "completed")
    assert (await standing(yard, "large1005")).cause == "needs 9 GPUs, this machine has none; 1006th in line"


async def test_who_left_the_line_a_moment_ago_is_told_nothing(yard: Yard) -> None:
    for id_ in ("first", "second"):
        await yard.submit(id_, "until('never')")
    await yard.engine.scheduler.tick()
    await yard.ask("second", Cause.CANCEL_ASKED)
    async with yard.database.write() as session:
        await queue.tell(session, [Wait("second", 1, "waits for the job before it to end")], [], 1.0)
    job = await yard.job("second")
    assert (job.state, job.wait_cause) == ("cancelled", None)
    last = (await yard.feed("second", "queue"))[-1:] + (await yard.feed("second", "state"))[-1:]
    assert max(last, key=lambda event: event.id).type == "state"
