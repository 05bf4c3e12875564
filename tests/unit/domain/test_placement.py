"""Promises of the scheduler over random yards."""

from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.placement import RANK, Machine, Taken, Waiting, plan

waiting_jobs = st.lists(
    st.builds(
        Waiting,
        job_id=st.uuids().map(str),
        priority=st.sampled_from(sorted(RANK)),
        arrived=st.floats(0, 100),
        gpus=st.sampled_from([None, 0, 1, 2, 3]),
    ),
    max_size=12,
    unique_by=lambda job: job.job_id,
)


@st.composite
def yards(draw: st.DrawFn) -> tuple[list[Waiting], list[Taken], Machine]:
    machine = Machine(gpus=tuple(range(draw(st.integers(0, 4)))), slots=draw(st.integers(0, 3)))
    held = draw(st.lists(st.sampled_from(machine.gpus), unique=True)) if machine.gpus else []
    taken = [Taken((gpu,)) for gpu in held] + [Taken()] * draw(st.integers(0, 3))
    return draw(waiting_jobs), taken, machine


def line(queue: list[Waiting]) -> list[Waiting]:
    return sorted(queue, key=lambda job: (RANK[job.priority], job.arrived, job.job_id))


def wanted(job: Waiting, machine: Machine) -> int:
    return min(1, len(machine.gpus)) if job.gpus is None else job.gpus


@given(yards())
def test_every_job_starts_or_waits_and_knows_its_place(yard: tuple[list[Waiting], list[Taken], Machine]) -> None:
    starts, waits = plan(*yard)
    started = [start.job_id for start in starts]
    assert sorted(started + [wait.job_id for wait in waits]) == sorted(job.job_id for job in yard[0])
    assert [wait.job_id for wait in waits] == [job.job_id for job in line(yard[0]) if job.job_id not in started]
    assert [wait.position for wait in waits] == list(range(1, len(waits) + 1))
    assert all(wait.cause for wait in waits)


@given(yards())
def test_no_gpu_is_promised_twice_and_no_slot_overfilled(yard: tuple[list[Waiting], list[Taken], Machine]) -> None:
    queue, taken, machine = yard
    starts, _ = plan(*yard)
    held = [gpu for holder in taken for gpu in holder.gpus]
    given_out = [gpu for start in starts for gpu in start.gpus]
    assert len(set(given_out)) == len(given_out)
    assert set(given_out) <= set(machine.gpus) - set(held)
    demands = {job.job_id: wanted(job, machine) for job in queue}
    assert all(len(start.gpus) == demands[start.job_id] for start in starts)
    on_slots = sum(not start.gpus for start in starts)
    assert on_slots <= max(0, machine.slots - sum(not holder.gpus for holder in taken))


@given(yards())
def test_nobody_is_passed_by_one_behind_who_wants_the_same(yard: tuple[list[Waiting], list[Taken], Machine]) -> None:
    queue, _, machine = yard
    started = {start.job_id for start in plan(*yard)[0]}
    blocked: set[bool] = set()
    for job in line(queue):
        demand = wanted(job, machine)
        if job.job_id in started:
            assert (demand > 0) not in blocked
        elif demand <= len(machine.gpus):
            blocked.add(demand > 0)


@given(yards())
def test_room_is_used(yard: tuple[list[Waiting], list[Taken], Machine]) -> None:
    queue, taken, machine = yard
    starts, waits = plan(*yard)
    waiting = {wait.job_id for wait in waits}
    free = len(machine.gpus) - sum(len(holder.gpus) for holder in [*taken, *starts])
    first = next((job for job in line(queue) if job.job_id in waiting and wanted(job, machine) > 0), None)
    if first is not None and wanted(first, machine) <= len(machine.gpus):
        assert wanted(first, machine) > free


@given(yards())
def test_the_order_of_rows_does_not_matter(yard: tuple[list[Waiting], list[Taken], Machine]) -> None:
    queue, taken, machine = yard
    shuffled = sorted(queue, key=lambda job: job.job_id[::-1])
    assert plan(shuffled, taken, machine) == plan(queue, taken, machine)


def test_causes_are_words_for_people() -> None:
    queue = [Waiting("a", "normal", 0, gpus=2), Waiting("b", "normal", 1, gpus=9), Waiting("c", "low", 2, gpus=0)]
    _, waits = plan(queue, [Taken((0,)), Taken()], Machine(gpus=(0, 1), slots=1))
    assert [wait.cause for wait in waits] == [
        "needs 2 GPUs, 1 free",
        "needs 9 GPUs, this machine has 2",
        "waits for the job before it to end",
    ]
