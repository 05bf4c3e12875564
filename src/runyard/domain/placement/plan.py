"""One pass over the line: who starts, who makes room, who waits and why."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from runyard.domain.placement import order, words
from runyard.domain.placement.decisions import Plan, Preemption, Start, Wait
from runyard.domain.placement.demand import UNLIMITED, Held, Machine, Needs, Quotas, Waiting
from runyard.domain.placement.forecast import forecast
from runyard.domain.placement.preemption import Clearings
from runyard.domain.placement.reservations import reserve
from runyard.domain.placement.room import Bay, Room, Usage


def plan(
    queue: Iterable[Waiting],
    held: Iterable[Held],
    machines: Sequence[Machine],
    now: float,
    quotas: Quotas = UNLIMITED,
    explain: int | None = None,
) -> Plan:
    """What to do with those that wait, given all that attempts hold which were not released yet.

    The first `explain` in line are told why they wait, and all that can never start; everybody unless set.
    """
    return fill(Room(machines, held), queue, now, quotas, explain)


def fill(
    room: Room, queue: Iterable[Waiting], now: float, quotas: Quotas = UNLIMITED, explain: int | None = None
) -> Plan:
    """As `plan`, with what is held in a room that is there already; what starts is held in it afterwards."""
    for bay in room.bays:
        bay.spares.clear()
    pass_ = _Pass(room, now, quotas, inf if explain is None else explain)
    for job in order.line(queue, now):
        if not pass_.is_settled(job) and not pass_.consider(job):
            break
    return Plan(pass_.starts, pass_.preemptions, pass_.told(), room.is_full())


@dataclass
class _Pass:
    room: Room
    now: float
    quotas: Quotas
    explain: float
    starts: list[Start] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clearings = Clearings(self.room)
        self._waiting = 0
        self._failed: set[tuple[Needs, int]] = set()
        """Needs that found no place, and how many of the spares counted: room only shrinks in one pass."""
        self._closed: set[tuple[object, ...]] = set()
        self._closed_to_urgent: set[tuple[object, ...]] = set()
        """Needs as they were asked for, with no room for them even where nothing is kept."""
        self._untils: list[float] = []
        self._reserved: set[bool] = set()
        """For jobs with GPUs, for jobs without."""
        self._blocked: list[tuple[Waiting, Needs]] = []
        self._soon = Usage()
        """Of those for whom room is being made: else others of theirs might take what they may still have."""

    def is_settled(self, job: Waiting) -> bool:
        """One more in line, of whom nothing else has to be known. Most are, so this is quick."""
        closed = self._closed_to_urgent if job.priority == "urgent" else self._closed
        if job[3:7] not in closed or self._waiting < self.explain:
            return False
        self._waiting += 1
        return True

    def consider(self, job: Waiting) -> bool:
        """False if nobody behind it can start or has to be told anything."""
        needs = self.room.resolve(job.needs)
        cause = self._refusal(job, needs)
        if cause is None and self._start(job, needs):
            return True
        self._waiting += 1
        if cause is None:
            cause = self._block(job, needs)
        if cause:
            self.waits.append(Wait(job.job_id, self._waiting, cause, never=self._is_hopeless(needs, job)))
        return self.explain > 0 or job.priority == "urgent" or not self.room.is_full()

    def told(self) -> list[Wait]:
        """With the expected starts."""
        starts = forecast(self.room, self._blocked, self.now)
        return [wait._replace(expected=starts.get(wait.job_id)) for wait in self.waits]

    def _refusal(self, job: Waiting, needs: Needs) -> str | None:
        """What has nothing to do with what is free; such a job is in nobody's way."""
        if job.job_id in self.room:
            return words.HELD
        if not self.room.possible(needs):
            cause = words.too_much(needs, [bay.machine for bay in self.room.bays])
            return cause if self._is_hopeless(needs, job) or self._waiting < self.explain else ""
        over = words.over_quota(needs, job, self.room.usage, self._soon, self.quotas)
        return over if over is None or self._waiting < self.explain else ""

    def _is_hopeless(self, needs: Needs, job: Waiting) -> bool:
        """No machine has that much, nor would one have if all of its GPUs could be used; or nobody may have it."""
        if not self.room.possible(needs):
            return not any(gpu.unusable for bay in self.room.bays for gpu in bay.machine.gpus)
        return words.is_beyond(needs, self.quotas.shares(job.user, job.tenant))

    def _start(self, job: Waiting, needs: Needs) -> bool:
        ends = self._ends(job)
        key = needs, bisect_left(self._untils, ends)
        if key in self._failed:
            return False
        found = self.room.find(needs, ends)
        if found is None:
            self._failed.add(key)
            if self.room.find(needs, -inf) is None:
                self._closed.add(job.needs)
            return False
        self._take(job, needs, ends, *found)
        return True

    def _ends(self, job: Waiting) -> float:
        return inf if job.duration is None else self.now + job.duration

    def _take(self, job: Waiting, needs: Needs, ends: float, bay: Bay, gpus: tuple[int, ...]) -> None:
        name = bay.machine.name
        known = None if job.duration is None else ends
        held = (job.job_id, name, gpus, needs, job.priority, job.user, self.now, known, job.resumable)
        self.room.hold(Held(*held, tenant=job.tenant))
        for spare in bay.spares:
            if ends > spare.until:
                spare.free.take(needs, gpus)
        self.starts.append(Start(job.job_id, name, gpus))

    def _block(self, job: Waiting, needs: Needs) -> str:
        """Keep room for it, if it is its turn; why it waits, if that is to be told."""
        told = self._waiting <= self.explain
        if told:
            self._blocked.append((job, needs))
        if job.priority == "urgent" and (victims := self._clearings.make_room(needs, self._ends(job))) is not None:
            self._soon.add(job.user, job.tenant, needs.gpus or 0)
            self.preemptions += [Preemption(held.job_id, job.job_id) for held in victims]
            self._spares_changed()
            return words.makes_room(len(victims)) if told else ""
        if job.needs in self._closed:
            self._closed_to_urgent.add(job.needs)
        if bool(needs.gpus) not in self._reserved:
            self._reserved.add(bool(needs.gpus))
            reserve(self.room, needs, self.now)
            self._spares_changed()
        return words.no_room(needs, self.room) if told else ""

    def _spares_changed(self) -> None:
        self._untils = sorted(spare.until for bay in self.room.bays for spare in bay.spares)
        self._failed = {key for key in self._failed if not key[1]}
