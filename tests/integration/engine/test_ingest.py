"""Lines that come whole, late, in floods, or broken."""

import asyncio
import json

import asyncpg
import pytest
from sqlalchemy import make_url

from runyard.domain.placement import Machine
from runyard.testing.yard import OBEDIENT, Yard, appears, eventually

TALK = "say('phase', phase='training')\n"


async def has_step(yard: Yard, step: int) -> bool:
    return step in await yard.curve("job")


async def has_points(yard: Yard, id_: str, count: int) -> bool:
    return len(await yard.curve(id_)) == count


async def read_within(yard: Yard, size: int) -> bool:
    return (await yard.job("job")).events_offset <= size


async def test_half_a_line_waits_for_its_other_half(running: Yard) -> None:
    code = (
        TALK
        + """
line = json.dumps({"n": 2, "at": 1.0, "attempt": 1, "type": "metric", "step": 1, "values": {"loss": 4.0}}).encode()
file.write(line[:20])
until("go")
file.write(line[20:] + b"\\n")
number = 2
metric(2, loss=5.0)
"""
    )
    await running.submit("job", code)
    await running.reaches("job", "running")
    await asyncio.sleep(0.2)
    assert await running.curve("job") == {}
    (running.run("job") / "go").touch()
    await running.reaches("job", "completed")
    assert await running.curve("job") == {1: 4.0, 2: 5.0}
    assert await running.feed("job", "message") == []


async def test_broken_lines_are_skipped_counted_and_told(running: Yard) -> None:
    code = TALK + "metric(1, loss=1)\nfile.write(b'{half\\n\\xff\\xff\\n[]\\n')\nmetric(2, loss=2)"
    await running.submit("job", code)
    await running.reaches("job", "completed")
    assert await running.curve("job") == {1: 1, 2: 2}
    warnings = await running.feed("job", "message")
    assert sum(warning.data["data"]["skipped"] for warning in warnings) == 3
    assert warnings[0].data["level"] == "warning"


async def test_values_that_a_database_can_not_hold_do_not_stop_the_rest(running: Yard) -> None:
    odd = "say('message', level='info', text='a\\0b', data={'\\0': 10**40})\n"
    code = TALK + "metric(1, loss=float('nan'))\n" + odd + "metric(2, loss=2)"
    await running.submit("job", code)
    await running.reaches("job", "completed")
    assert await running.curve("job") == {1: None, 2: 2}


async def test_a_history_that_was_cut_short_counts_nothing_twice(yard: Yard) -> None:
    yard.start()
    code = TALK + "metric(1, loss=1); metric(2, loss=2); until('go'); metric(3, loss=3); number -= 1; metric(3, loss=4)"
    await yard.submit("job", code)
    await eventually(lambda: has_step(yard, 2))
    path = yard.run("job") / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    await eventually(lambda: read_within(yard, len(b"".join(lines[:2]))))
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1, 2: 2, 3: 3}
    assert len(await yard.feed("job", "metric")) == 3


async def test_the_last_lines_before_the_end_are_read(running: Yard) -> None:
    """Far more than one batch, written at once, and then gone."""
    code = TALK + (
        "file.write(b''.join(json.dumps({'n': n, 'at': 1.0, 'attempt': 1, 'type': 'metric', 'step': n, "
        "'values': {'loss': n}}).encode() + b'\\n' for n in range(2, 5002)))"
    )
    await running.submit("job", code)
    job = await running.reaches("job", "completed")
    curve = await running.curve("job")
    assert (len(curve), curve[5001]) == (5000, 5001)
    assert job.events_offset == (running.run("job") / "events.jsonl").stat().st_size


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_a_flood_does_not_keep_others_waiting(yard: Yard) -> None:
    """One that is read first has written as much as takes many batches, the other a line: that one comes before."""
    steps = {"flood": 10_000, "quiet": 1}
    await yard.restart(machine=Machine(slots=2))
    await yard.stop()
    for id_, count in steps.items():
        code = f"for step in range({count}): metric(step, loss=step)\nopen('said', 'w'); until('end')"
        await yard.submit(id_, TALK + code)
        await yard.engine.scheduler.tick()
        await yard.engine.supervisor.tick()
        await appears(yard.run(id_) / "said")
    yard.start()
    for id_, count in steps.items():
        await eventually(lambda id_=id_, count=count: has_points(yard, id_, count))
    [line] = await yard.feed("quiet", "metric")
    before = [event for event in await yard.feed("flood", "metric") if event.id < line.id]
    assert len(before) < 5000
    for id_ in steps:
        (yard.run(id_) / "end").touch()
        await yard.reaches(id_, "completed")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_ten_thousand_points_at_once_are_taken_in_many_batches(yard: Yard) -> None:
    """So that nothing else waits for long; `python -m bench ingest` says how long."""
    await yard.submit("job", OBEDIENT + "open('ready', 'w'); until('never')")
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await appears(yard.run("job") / "ready")
    await yard.engine.supervisor.tick()
    with (yard.run("job") / "events.jsonl").open("a") as file:
        for n in range(2, 10_002):
            point = {"n": n, "at": 1e9 + n, "attempt": 1, "type": "metric", "step": n, "values": {"loss": 1 / n}}
            file.write(json.dumps(point) + "\n")
    batches = 0
    while await yard.engine.ingest.tick():
        batches += 1
    assert len(await yard.curve("job")) == 10_000
    assert batches >= 10


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_an_outage_of_the_database_changes_no_jobs_state(running: Yard, postgres_uri: str) -> None:
    await running.submit("job", TALK + "until('go'); metric(1, loss=1); say('finished', outcome='completed')")
    await running.reaches("job", "running")
    name = make_url(running.database.url).database
    connection = await asyncpg.connect(postgres_uri)
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    (running.run("job") / "go").touch()
    await appears(running.run("job") / "attempts" / "1" / "exit.json")
    await asyncio.sleep(0.5)
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await connection.close()
    await running.reaches("job", "completed")
    assert await running.curve("job") == {1: 1}
    assert await running.states("job") == ["starting", "running", "completed"]
