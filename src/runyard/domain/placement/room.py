"""What is free on the machines, kept so that a fitting place is found without looking at all of them."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from runyard.domain.placement.demand import Held, Machine, Needs


class Free:
    """What is free on one machine. A GPU that may not be used is not there at all."""

    __slots__ = ("cpus", "gpus", "memory_mb", "sizes", "slots")

    def __init__(self, machine: Machine) -> None:
        self.sizes = {gpu.index: max(1, gpu.memory_mb) for gpu in machine.gpus if gpu.unusable is None}
        self.gpus = dict(self.sizes)
        self.slots: float = machine.slots
        self.cpus = inf if machine.cpus is None else machine.cpus
        self.memory_mb = inf if machine.memory_mb is None else machine.memory_mb

    def copy(self) -> "Free":
        other = Free.__new__(Free)
        other.sizes, other.gpus = self.sizes, dict(self.gpus)
        other.slots, other.cpus, other.memory_mb = self.slots, self.cpus, self.memory_mb
        return other

    def take(self, needs: Needs, gpus: Iterable[int], sign: int = 1) -> None:
        """May leave less than nothing, where more is kept for a job than there is yet."""
        for index in gpus:
            if index in self.gpus:
                self.gpus[index] -= sign * self.wanted(needs, index)
        self.slots -= sign * (not needs.gpus)
        self.cpus -= sign * (needs.cpus or 0)
        self.memory_mb -= sign * (needs.memory_mb or 0)

    def give(self, held: Held) -> None:
        self.take(held.needs, held.gpus, -1)

    def wanted(self, needs: Needs, index: int) -> int:
        """MB of one GPU."""
        return self.sizes[index] if needs.gpu_memory_mb is None else needs.gpu_memory_mb

    def is_whole(self, index: int) -> bool:
        return self.gpus[index] == self.sizes[index]

    def has_beside_gpus(self, needs: Needs) -> bool:
        if not needs.gpus and self.slots < 1:
            return False
        return (not needs.cpus or needs.cpus <= self.cpus) and (
            not needs.memory_mb or needs.memory_mb <= self.memory_mb
        )


def choose(frees: Sequence[Free], needs: Needs) -> tuple[int, ...] | None:
    """GPUs that satisfy the needs in every one of the views of a machine; None if there is no room.

    The fullest that fit come first, so that other GPUs stay whole.
    """
    for free in frees:
        if not free.has_beside_gpus(needs):
            return None
    if not needs.gpus:
        return ()
    first, memory = frees[0], needs.gpu_memory_mb
    rooms = first.gpus
    if len(frees) > 1:
        rooms = {index: min([free.gpus[index] for free in frees]) for index in rooms}
    sizes = first.sizes
    found = [(room, i) for i, room in rooms.items() if room >= (sizes[i] if memory is None else memory)]
    return tuple(sorted([i for _, i in sorted(found)[: needs.gpus]])) if len(found) >= needs.gpus else None


@dataclass
class Spare:
    """What a job that has to wait leaves to those behind it. One that ends by `until` is not in its way at all."""

    free: Free
    until: float


@dataclass(eq=False)
class Bay:
    """One machine, with who is on it."""

    machine: Machine
    free: Free
    held: dict[str, Held] = field(default_factory=dict)
    ends: list[tuple[float, str]] = field(default_factory=list)
    """Expected ends, where they are known, in order."""
    whole: int = 0
    """GPUs that nobody is on."""
    spares: list[Spare] = field(default_factory=list)

    def views(self, ends: float) -> list[Free]:
        """What counts for a job that ends at a time: what is free now, and what others leave to it."""
        return [self.free, *[spare.free for spare in self.spares if ends > spare.until]]


class Usage:
    """How many jobs and GPUs users and tenants have."""

    def __init__(self) -> None:
        self.users: Counter[str] = Counter()
        self.gpus_of: Counter[str] = Counter()
        self.tenants: Counter[str] = Counter()
        self.gpus_of_tenant: Counter[str] = Counter()

    def add(self, user: str, tenant: str, gpus: int, sign: int = 1) -> None:
        self.users[user] += sign
        self.gpus_of[user] += sign * gpus
        self.tenants[tenant] += sign
        self.gpus_of_tenant[tenant] += sign * gpus


class Room:
    """All machines. It is the same whatever the order in which jobs came and went."""

    def __init__(self, machines: Sequence[Machine], held: Iterable[Held] = ()) -> None:
        self.bays = [Bay(machine, Free(machine)) for machine in machines]
        self.usage = Usage()
        self.has_gpus = any(machine.gpus for machine in machines)
        self._positions = {bay.machine.name: position for position, bay in enumerate(self.bays)}
        self._where: dict[str, int] = {}
        self._largest = max((len(bay.free.gpus) for bay in self.bays), default=0)
        self._whole: list[list[int]] = [[] for _ in range(self._largest + 1)]
        self._shared: list[tuple[int, int, int]] = []
        self._slots = [position for position, bay in enumerate(self.bays) if bay.free.slots >= 1]
        self._resolved: dict[Needs, Needs] = {}
        self._possible: dict[Needs, list[Bay]] = {}
        for position, bay in enumerate(self.bays):
            bay.whole = len(bay.free.gpus)
            self._whole[bay.whole].append(position)
        for one in held:
            self.hold(one)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._where

    def hold(self, held: Held) -> None:
        """What is on a machine that is not here counts for the quotas of its user and tenant only."""
        self.usage.add(held.user, held.tenant, len(held.gpus))
        position = self._where[held.job_id] = self._positions.get(held.machine, -1)
        if position < 0:
            return
        bay = self.bays[position]
        bay.held[held.job_id] = held
        if held.ends is not None:
            insort(bay.ends, (held.ends, held.job_id))
        self._change(position, held, 1)

    def release(self, job_id: str) -> Held:
        bay = self.bays[position := self._where.pop(job_id)]
        held = bay.held.pop(job_id)
        self.usage.add(held.user, held.tenant, len(held.gpus), -1)
        if held.ends is not None:
            del bay.ends[bisect_left(bay.ends, (held.ends, job_id))]
        self._change(position, held, -1)
        return held

    def is_full(self) -> bool:
        return not self._slots and not self._shared and len(self._whole[0]) == len(self.bays)

    def resolve(self, needs: Needs) -> Needs:
        """With the number of GPUs filled in; a job without any has no use for their memory."""
        if needs not in self._resolved:
            gpus = int(self.has_gpus) if needs.gpus is None else needs.gpus
            self._resolved[needs] = needs._replace(gpus=gpus, gpu_memory_mb=needs.gpu_memory_mb if gpus else None)
        return self._resolved[needs]

    def possible(self, needs: Needs) -> list[Bay]:
        """Machines with room for it when nobody else is there."""
        if needs not in self._possible:
            self._possible[needs] = [bay for bay in self.bays if choose([Free(bay.machine)], needs) is not None]
        return self._possible[needs]

    def find(self, needs: Needs, ends: float) -> tuple[Bay, tuple[int, ...]] | None:
        """Where a job that ends at a time can start at once; the tightest place for it."""
        for position in self._candidates(needs):
            bay = self.bays[position]
            gpus = choose(bay.views(ends), needs)
            if gpus is not None:
                return bay, gpus
        return None

    def _candidates(self, needs: Needs) -> Iterator[int]:
        if not needs.gpus:
            yield from self._slots
            return
        if needs.gpu_memory_mb is not None:
            tightest = bisect_left(self._shared, (needs.gpu_memory_mb, -1, -1))
            yield from dict.fromkeys(position for _, position, _ in self._shared[tightest:])
        least = needs.gpus if needs.gpu_memory_mb is None else 1
        for positions in self._whole[least:]:
            yield from positions

    def _change(self, position: int, held: Held, sign: int) -> None:
        """Take or give back, and keep the lists in which places are looked up."""
        bay = self.bays[position]
        before = self._partly(position, held.gpus)
        whole = sum(bay.free.is_whole(index) for index in held.gpus if index in bay.free.gpus)
        had_slot = bay.free.slots >= 1
        bay.free.take(held.needs, held.gpus, sign)
        for entry in before:
            del self._shared[bisect_left(self._shared, entry)]
        for entry in self._partly(position, held.gpus):
            insort(self._shared, entry)
        whole -= sum(bay.free.is_whole(index) for index in held.gpus if index in bay.free.gpus)
        if whole:
            _discard(self._whole[bay.whole], position)
            bay.whole -= whole
            insort(self._whole[bay.whole], position)
        if had_slot != (bay.free.slots >= 1):
            (_discard if had_slot else insort)(self._slots, position)

    def _partly(self, position: int, gpus: Iterable[int]) -> list[tuple[int, int, int]]:
        """Those of the GPUs that somebody is on, with room for others."""
        free = self.bays[position].free
        return [
            (free.gpus[index], position, index)
            for index in gpus
            if index in free.gpus and 0 < free.gpus[index] < free.sizes[index]
        ]


def _discard(positions: list[int], position: int) -> None:
    del positions[bisect_left(positions, position)]
