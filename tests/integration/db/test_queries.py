"""Queries that the engine lives on."""

import pytest

from runyard.db.database import Database
from runyard.db.queries import artifacts, attempts, checkpoints, events, jobs, metrics, moves
from runyard.db.queries.attempts import Beginning, Lease
from runyard.db.tables import Attempt, Job
from runyard.domain.errors import IllegalMoveError
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Start

JOB = {
    "tenant": "main",
    "user": "local",
    "kind": "sft",
    "name": "name",
    "spec": {},
    "resolved_spec": {},
    "priority": "normal",
    "state": "queued",
    "events_offset": 0,
    "attempts": 0,
    "created_at": 1.0,
    "queued_at": 1.0,
    "updated_at": 1.0,
}


@pytest.fixture
async def job(database: Database) -> Job:
    row = Job(id="job", **JOB)
    async with database.write() as session:
        session.add(row)
    return row


async def move(database: Database, *causes: Cause, at: float = 10.0, **values: object) -> Job:
    async with database.write() as session:
        job = await session.get_one(Job, "job")
        for cause in causes:
            await jobs.apply_move(session, job, cause, "me", at, **values)  # type: ignore[arg-type]
    return job


async def test_a_move_changes_the_row_the_history_and_the_feed(database: Database, job: Job) -> None:
    moved = await move(database, Cause.PLACED, Cause.STARTED, at=5.0, attempt=1)
    assert (moved.state, moved.started_at, moved.finished_at, moved.updated_at) == ("running", 5.0, None, 5.0)
    moved = await move(database, Cause.FAILED, at=9.0, attempt=1, reason="crashed", message="words")
    assert (moved.state, moved.finished_at, moved.reason, moved.message) == ("failed", 9.0, "crashed", "words")
    async with database.read() as session:
        history = [(m.before, m.after, m.cause, m.actor, m.attempt) for m in await moves.of_job(session, "job")]
        feed = await events.after(session, 0, "job")
    assert history == [
        ("queued", "starting", "placed", "me", 1),
        ("starting", "running", "started", "me", 1),
        ("running", "failed", "failed", "me", 1),
    ]
    assert [event.type for event in feed] == ["state"] * 3
    assert feed[2].data == {
        "before": "running",
        "after": "failed",
        "cause": "failed",
        "actor": "me",
        "reason": "crashed",
        "message": "words",
        "attempt": 1,
    }


async def test_a_retry_clears_the_failure_and_goes_to_the_end_of_the_line(database: Database, job: Job) -> None:
    await move(database, Cause.PLACED, Cause.FAILED, reason="crashed", message="words")
    again = await move(database, Cause.RETRY_ASKED, at=20.0)
    assert (again.state, again.reason, again.message, again.finished_at, again.queued_at) == (
        "queued",
        None,
        None,
        None,
        20.0,
    )


async def test_a_job_that_its_machine_stopped_keeps_its_place(database: Database, job: Job) -> None:
    again = await move(database, Cause.PLACED, Cause.STARTED, Cause.STOPPED, at=20.0)
    assert (again.state, again.queued_at) == ("queued", 1.0)


async def test_a_repeated_wish_leaves_no_trace_and_an_illegal_one_an_error(database: Database, job: Job) -> None:
    await move(database, Cause.CANCEL_ASKED, Cause.CANCEL_ASKED)
    async with database.read() as session:
        assert len(await moves.of_job(session, "job")) == 1
    with pytest.raises(IllegalMoveError):
        await move(database, Cause.PAUSE_ASKED)


async def begin(database: Database, lease: Lease | None = None) -> Attempt:
    async with database.write() as session:
        job = await session.get_one(Job, "job")
        beginning = Beginning(f"attempt-{job.attempts + 1}", "local", lease or Lease("here", "token"))
        attempt = attempts.begin(session, job, beginning, Start("job", "m", (1,)), 2.0)
        if lease is None:
            attempt.lease_owner = attempt.lease_token = None
        return attempt


async def test_attempts_are_numbered_and_hold_what_they_were_given(database: Database, job: Job) -> None:
    await begin(database)
    await begin(database)
    async with database.read() as session:
        assert [attempt.number for attempt in await attempts.of_job(session, "job")] == [1, 2]


@pytest.mark.parametrize(
    ("owner", "token", "due"),
    [
        ("here", "now", False),
        ("here", "before", True),  # ours, from before a restart
        ("there", "theirs", False),  # its run folder is out of reach
        (None, None, True),
    ],
)
async def test_attempts_to_take_over(
    database: Database, job: Job, owner: str | None, token: str | None, due: bool
) -> None:
    await begin(database, Lease(owner, token) if owner and token else None)
    async with database.read() as session:
        ids = await attempts.to_claim(session, Lease("here", "now"))
        assert ids == (["attempt-1"] if due else [])
        assert [a.id for a in await attempts.elsewhere(session, "here")] == (["attempt-1"] if owner == "there" else [])


async def test_who_lost_the_lease_writes_nothing(database: Database, job: Job) -> None:
    attempt = await begin(database, Lease("a", "first"))
    async with database.write() as session:
        assert await attempts.save(session, attempt.id, "first", stop_sent="save")
        await attempts.claim(session, [attempt.id], Lease("b", "second"))
        assert not await attempts.save(session, attempt.id, "first", stop_sent="discard")
    async with database.read() as session:
        assert [a.stop_sent for a in await attempts.of_job(session, "job")] == ["save"]
        assert await attempts.under_way(session, "first") == []
        assert [a.id for a, _ in await attempts.under_way(session, "second")] == [attempt.id]


def point(attempt: int, **values: float) -> dict[str, object]:
    return {"attempt": attempt, "at": 3.0, "values": values}


async def test_points_of_a_step_join_within_an_attempt_and_replace_across(database: Database, job: Job) -> None:
    async with database.write() as session:
        await metrics.record(session, "job", {("train", 1): point(1, loss=2), ("eval", 1): point(1, loss=3)})
        await metrics.record(session, "job", {("train", 1): point(1, speed=9)})
        await metrics.record(session, "job", {("eval", 1): point(2, accuracy=1)})
    async with database.read() as session:
        rows = await metrics.of_job(session, "job")
    assert [(row.split, row.step, row.values) for row in rows] == [
        ("eval", 1, {"accuracy": 1}),
        ("train", 1, {"loss": 2, "speed": 9}),
    ]


async def test_points_behind_a_step_are_forgotten(database: Database, job: Job) -> None:
    async with database.write() as session:
        await metrics.record(session, "job", {("train", step): point(1, loss=step) for step in range(6)})
        await metrics.forget_after(session, "job", 3)
    async with database.read() as session:
        assert [row.step for row in await metrics.of_job(session, "job", after_step=1)] == [2, 3]


async def test_one_checkpoint_at_most_is_the_best(database: Database, job: Job) -> None:
    values = {"attempt": 1, "path": "p", "size_bytes": 5_000_000_000, "metrics": {}, "files": {}, "created_at": 4.0}
    async with database.write() as session:
        await checkpoints.record(session, "job", 10, values | {"best": True})
        await checkpoints.record(session, "job", 20, values | {"best": True})
        await checkpoints.record(session, "job", 30, values | {"best": False})
        await checkpoints.mark_removed(session, "job", 10, 6.0)
    async with database.read() as session:
        rows = await checkpoints.of_job(session, "job")
    assert [(row.step, row.best, row.removed_at) for row in rows] == [
        (10, False, 6.0),
        (20, True, None),
        (30, False, None),
    ]


async def test_a_checkpoint_that_is_made_again_is_there_again(database: Database, job: Job) -> None:
    values = {"attempt": 1, "path": "p", "size_bytes": 5, "metrics": {}, "files": {}, "created_at": 4.0, "best": False}
    async with database.write() as session:
        await checkpoints.record(session, "job", 10, values)
        await checkpoints.mark_removed(session, "job", 10, 6.0)
        await checkpoints.record(session, "job", 10, values | {"attempt": 2})
    async with database.read() as session:
        assert [(c.attempt, c.removed_at) for c in await checkpoints.of_job(session, "job")] == [(2, None)]


async def test_a_file_that_is_made_again_keeps_its_id(database: Database, job: Job) -> None:
    values = {"kind": "model", "size_bytes": 1, "hash_sha256": "a", "created_at": 1.0, "details": {}}
    async with database.write() as session:
        await artifacts.record(session, "job", "final/model", "id-1", values)
        await artifacts.record(session, "job", "final/model", "id-2", values | {"hash_sha256": "b"})
    async with database.read() as session:
        assert [(a.id, a.hash_sha256) for a in await artifacts.of_job(session, "job")] == [("id-1", "b")]


async def test_the_last_word_is_that_of_the_attempt(database: Database, job: Job) -> None:
    async with database.write() as session:
        assert await events.last_word(session, "job", 1) is None
        await events.append(session, "job", 1.0, "finished", {"attempt": 1, "outcome": "stopped"})
        assert await events.last_word(session, "job", 1) == {"attempt": 1, "outcome": "stopped"}
        assert await events.last_word(session, "job", 2) is None
