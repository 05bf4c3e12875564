"""When those that wait may start, as far as anybody can know."""

from collections.abc import Sequence
from heapq import heappop, heappush

from runyard.domain.placement.decisions import Expected
from runyard.domain.placement.demand import Needs, Waiting
from runyard.domain.placement.room import Free, Room, choose

MOST_MACHINES = 16
"""With more of them the answer would cost more than it is worth."""


def forecast(room: Room, line: Sequence[tuple[Waiting, Needs]], now: float) -> dict[str, Expected]:
    """Expected starts by job, if those with GPUs, and those without, start in their order: of all up to the first for
    whom nobody can know it."""
    if len(room.bays) > MOST_MACHINES:
        return {}
    with_gpus = [(job, needs) for job, needs in line if needs.gpus]
    without = [(job, needs) for job, needs in line if not needs.gpus]
    return _in_order(room, with_gpus, now) | _in_order(room, without, now)


def _in_order(room: Room, line: Sequence[tuple[Waiting, Needs]], now: float) -> dict[str, Expected]:
    expected: dict[str, Expected] = {}
    frees = [bay.free.copy() for bay in room.bays]
    leaving: list[tuple[float, int, str, Needs, tuple[int, ...]]] = []
    for position, bay in enumerate(room.bays):
        for end, job_id in bay.ends:
            held = bay.held[job_id]
            heappush(leaving, (max(end, now), position, job_id, held.needs, held.gpus))
    at = now
    for job, needs in line:
        while (place := _place(frees, needs)) is None and leaving:
            at, position, _, left, gpus = heappop(leaving)
            frees[position].take(left, gpus, -1)
        if place is None:
            break
        position, gpus = place
        expected[job.job_id] = Expected(at, room.bays[position].machine.name, gpus)
        frees[position].take(needs, gpus)
        if job.duration is not None:
            heappush(leaving, (at + job.duration, position, job.job_id, needs, gpus))
    return expected


def _place(frees: Sequence[Free], needs: Needs) -> tuple[int, tuple[int, ...]] | None:
    for position, free in enumerate(frees):
        gpus = choose([free], needs)
        if gpus is not None:
            return position, gpus
    return None
