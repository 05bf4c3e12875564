"""Room that is kept for the first that can't start, so that small jobs behind it never starve it."""

from math import inf

from runyard.domain.placement.demand import Needs
from runyard.domain.placement.room import Bay, Free, Room, Spare, choose


def reserve(room: Room, needs: Needs, now: float) -> None:
    """Keep the place where the needs can be met first: what is free there already, and what comes free in time.

    Jobs behind it may use the rest, and the place itself if they end before it is needed. Where nobody can say when
    that is, the machine is the one with the least missing, and all that the job needs there is kept.
    """
    places = sorted((_earliest(bay, needs, now), position, bay) for position, bay in enumerate(room.possible(needs)))
    best: tuple[tuple[float, float, int], Bay, Spare] | None = None
    for bound, position, bay in places:
        if best is not None and bound > best[0][0]:
            break
        at, missing, spare = _look(bay, needs, now)
        if best is None or (at, missing, position) < best[0]:
            best = (at, missing, position), bay, spare
    if best is not None:
        best[1].spares.append(best[2])


def _earliest(bay: Bay, needs: Needs, now: float) -> float:
    """A time before which there is no room for sure; quick to find."""
    missing = _missing_count(bay, needs)
    if missing <= 0:
        return now
    for end, job_id in bay.ends:
        missing -= max(1, len(bay.held[job_id].gpus))
        if missing <= 0:
            return max(end, now)
    return inf


def _missing_count(bay: Bay, needs: Needs) -> float:
    if not needs.gpus:
        return 1 - bay.free.slots
    if needs.gpu_memory_mb is None:
        return needs.gpus - bay.whole
    return needs.gpus - sum(free >= needs.gpu_memory_mb for free in bay.free.gpus.values())


def _look(bay: Bay, needs: Needs, now: float) -> tuple[float, float, Spare]:
    """When there is room on a machine, how much is missing if nobody knows when, and what that leaves to others."""
    after = bay.free.copy()
    gpus = choose([after], needs)
    if gpus is not None:  # what is in its way is kept for one before it
        after.take(needs, gpus)
        return now, 0.0, Spare(after, -inf)
    for end, job_id in bay.ends:
        after.give(bay.held[job_id])
        gpus = choose([after], needs)
        if gpus is not None:
            after.take(needs, _coming(bay.free, after, needs) or gpus)
            return max(end, now), 0.0, Spare(after, max(end, now))
    after = bay.free.copy()
    gpus = _most_free(after, needs)
    missing = _missing(bay, needs, gpus)
    after.take(needs, gpus)
    return inf, missing, Spare(after, -inf)


def _coming(before: Free, after: Free, needs: Needs) -> tuple[int, ...]:
    """Whole GPUs, those first that are not free yet: what is free now can be of use until then."""
    if not needs.gpus or needs.gpu_memory_mb is not None:
        return ()
    whole = [index for index in after.gpus if after.is_whole(index)]
    return tuple(sorted(whole, key=lambda index: (before.is_whole(index), index))[: needs.gpus])


def _most_free(free: Free, needs: Needs) -> tuple[int, ...]:
    fitting = [index for index in free.gpus if free.sizes[index] >= free.wanted(needs, index)]
    return tuple(sorted(fitting, key=lambda i: (free.wanted(needs, i) - free.gpus[i], i))[: needs.gpus])


def _missing(bay: Bay, needs: Needs, gpus: tuple[int, ...]) -> float:
    """In GPUs, machines or slots; it only shrinks while the place is kept."""
    free, machine = bay.free, bay.machine
    found = sum(max(0, free.wanted(needs, index) - free.gpus[index]) / free.sizes[index] for index in gpus)
    found += 0 if needs.gpus else max(0.0, 1 - free.slots)
    found += max(0.0, (needs.cpus or 0) - free.cpus) / (machine.cpus or 1)
    return found + max(0.0, (needs.memory_mb or 0) - free.memory_mb) / (machine.memory_mb or 1)
