"""Who is, was and will be where: the machines over time, for a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runyard.db.database import Session
from runyard.db.queries import attempts, queue
from runyard.domain.lifecycle import FINAL, State

EXIT_STOPPED = 75
"""What a trainer leaves with that has saved and stopped."""


@dataclass(frozen=True)
class Block:
    """A job's time on a place. `end` is None where nobody can know it; `row` counts from 0 where several share."""

    job_id: str
    name: str
    state: State
    start: float
    end: float | None
    row: int = 0


@dataclass
class Lane:
    """A GPU, or a machine's slots for jobs without one (`gpu` is None)."""

    machine: str
    gpu: int | None
    blocks: list[Block] = field(default_factory=list)
    rows: int = 1


async def lanes(session: Session, machine: str, gpus: Iterable[int], since: float, now: float) -> list[Lane]:
    """A lane for each GPU of the machine, and for whatever else was used since then; slots last."""
    found: dict[tuple[str, int | None], Lane] = {(machine, gpu): Lane(machine, gpu) for gpu in gpus}
    for row in await attempts.since(session, since):
        start, end = row.started_at or row.created_at, row.ended_at
        block = Block(row.job_id, row.name, _state(row, now), start, end or attempts.expected_end(row))
        _add(found, row.machine or machine, row.gpus, block)
    for job in await queue.expected(session):
        assert job.expected_start is not None
        start = max(job.expected_start, now)
        end = start + job.estimated_seconds if job.estimated_seconds is not None else None
        place = job.expected_place or {}
        block = Block(job.id, job.name, State.QUEUED, start, end)
        _add(found, place.get("machine", machine), place.get("gpus", ()), block)
    if not found:
        found[machine, None] = Lane(machine, None)
    for lane in found.values():
        lane.blocks, lane.rows = stacked(lane.blocks, now)
    return sorted(found.values(), key=lambda lane: (lane.machine != machine, lane.machine, lane.gpu is None, lane.gpu))


def stacked(blocks: Iterable[Block], now: float) -> tuple[list[Block], int]:
    """In the order of their starts, each in the first row that is free by then; and how many rows that takes."""
    ends: list[float] = []
    placed = []
    for block in sorted(blocks, key=lambda block: (block.start, block.job_id)):
        row = next((number for number, end in enumerate(ends) if end <= block.start), len(ends))
        end = block.end if block.end is not None else float("inf")
        if block.state not in FINAL and block.state != State.QUEUED:
            end = max(end, now)  # it is still there, whatever was expected
        ends[row : row + 1] = [end]
        placed.append(Block(block.job_id, block.name, block.state, block.start, block.end, row))
    return placed, max(1, len(ends))


def _add(lanes_: dict[tuple[str, int | None], Lane], machine: str, gpus: Sequence[int], block: Block) -> None:
    for gpu in gpus or (None,):
        lanes_.setdefault((machine, gpu), Lane(machine, gpu)).blocks.append(block)


def _state(row: attempts.Stay, now: float) -> State:
    """Of this try; the job may have gone on since."""
    if row.ended_at is None or (row.number == row.attempts and State(row.state) in FINAL):
        return State(row.state)
    if row.reason is not None:
        return State.FAILED
    return State.PAUSED if row.exit_code == EXIT_STOPPED else State.CANCELLED
