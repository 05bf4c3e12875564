"""Room for an urgent job, made by pausing lower ones that can go on later."""

from dataclasses import dataclass, field
from math import inf

from runyard.domain.placement.demand import Held, Needs
from runyard.domain.placement.order import RANK
from runyard.domain.placement.room import Bay, Free, Room, Spare, choose


@dataclass
class Clearing:
    """A machine that is being cleared: what will be free on it when all that were told to stop have gone, less what
    urgent jobs will take of it."""

    spare: Spare
    leaving: set[str] = field(default_factory=set)


class Clearings:
    """Who has to make room where. What comes free is kept for whom it was made for."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._clearings: dict[str, Clearing] = {}
        self._hopeless: set[tuple[Needs, float]] = set()

    def make_room(self, needs: Needs, ends: float) -> list[Held] | None:
        """Whom to stop so that an urgent job fits: nobody, if those that are stopping already are enough. None, and
        nothing is kept, if even all that may be stopped would not do.

        What is kept for others from a time on is not in the way of one that `ends` before.
        """
        if (needs, ends) in self._hopeless:
            return None
        best: tuple[tuple[int, int, float], Bay, list[Held]] | None = None
        for bay in self._room.possible(needs):
            victims = self._victims(bay, needs, ends)
            if victims is not None and (best is None or _harm(victims) < best[0]):
                best = _harm(victims), bay, victims
                if not victims:
                    break
        if best is None:
            self._hopeless.add((needs, ends))
            return None
        _, bay, victims = best
        self._clear(bay, needs, ends, victims)
        return victims

    def _victims(self, bay: Bay, needs: Needs, ends: float) -> list[Held] | None:
        """As few as will do: the lowest class first, and in it the youngest."""
        clearing = self._clearings.get(bay.machine.name)
        future = clearing.spare.free.copy() if clearing else _after_stopping(bay)
        others = [free for free in bay.views(ends)[1:] if clearing is None or free is not clearing.spare.free]
        if choose([future, *others], needs) is not None:
            return []
        leaving = clearing.leaving if clearing else set()
        able = [h for h in bay.held.values() if h.resumable and not h.stopping and RANK[h.priority] > RANK["urgent"]]
        able = [held for held in able if held.job_id not in leaving]
        chosen: list[Held] = []
        for held in sorted(able, key=lambda held: (-RANK[held.priority], -held.started, held.job_id)):
            future.give(held)
            chosen.append(held)
            if choose([future, *others], needs) is not None:
                return _needed(chosen, [future, *others], needs)
        return None

    def _clear(self, bay: Bay, needs: Needs, ends: float, victims: list[Held]) -> None:
        name = bay.machine.name
        if name not in self._clearings:
            self._clearings[name] = Clearing(Spare(_after_stopping(bay), -inf))
            bay.spares.append(self._clearings[name].spare)
        clearing = self._clearings[name]
        future = clearing.spare.free
        for held in victims:
            future.give(held)
            clearing.leaving.add(held.job_id)
        frees = [future, *bay.views(ends)[1:]]
        gpus = choose(frees, needs)
        assert gpus is not None, "the victims were chosen so that it fits"
        future.take(needs, gpus)


def _needed(chosen: list[Held], frees: list[Free], needs: Needs) -> list[Held]:
    """Without those whose place turns out not to be needed, the most important spared first."""
    future = frees[0]
    needed = []
    for held in reversed(chosen):
        future.take(held.needs, held.gpus)
        if choose(frees, needs) is None:
            future.give(held)
            needed.append(held)
    return needed[::-1]


def _after_stopping(bay: Bay) -> Free:
    free = bay.free.copy()
    for held in bay.held.values():
        if held.stopping:
            free.give(held)
    return free


def _harm(victims: list[Held]) -> tuple[int, int, float]:
    """To be kept small: a higher class is worse, then more jobs, then more work undone for a while."""
    return max((-RANK[h.priority] for h in victims), default=-9), len(victims), -sum(h.started for h in victims)
