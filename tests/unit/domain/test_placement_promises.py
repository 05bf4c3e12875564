"""What placement promises over random yards."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.domain.placement import RANK, Gpu, Held, Machine, Plan, Quotas, Waiting, order, plan
from runyard.domain.quotas import Book, Quota

MEMORY = 100
NOW = 1000.0
TENANT_OF = {"a": "y", "b": "y", "c": "x", "d": "x"}
"""An account is of one tenant."""

jobs = st.lists(
    st.builds(
        Waiting,
        job_id=st.uuids().map(str),
        priority=st.sampled_from(sorted(RANK)),
        arrived=st.floats(-100_000, NOW),
        gpus=st.sampled_from([None, 0, 1, 1, 2, 3]),
        gpu_memory_mb=st.sampled_from([None, None, 20, 50, 100, 120]),
        cpus=st.sampled_from([None, None, 1.0, 3.0]),
        memory_mb=st.sampled_from([None, None, 30, 90]),
        user=st.sampled_from(sorted(TENANT_OF)),
        duration=st.sampled_from([None, 10.0, 100.0]),
        back=st.sampled_from([None, None, NOW - 1.0, NOW - 13 * 3600.0]),
    ).map(lambda job: job._replace(tenant=TENANT_OF[job.user])),
    max_size=14,
    unique_by=lambda job: job.job_id,
)
LIMITED = [("x", "tenant", "running"), ("x", "tenant", "gpus"), ("y", "each user", "gpus"), ("y", "user a", "running")]
amounts = st.sampled_from([1.0, 2.0, 4.0])
books = st.builds(
    Book,
    set_=st.dictionaries(st.sampled_from(LIMITED), amounts),
    each_user=st.dictionaries(st.sampled_from([Quota.RUNNING, Quota.GPUS]), amounts),
)
quotas = st.one_of(st.just(Quotas()), st.builds(Quotas, books))


@dataclass(frozen=True)
class Case:
    queue: list[Waiting]
    held: list[Held]
    machines: list[Machine]
    quotas: Quotas

    def decide(self) -> Plan:
        return plan(self.queue, self.held, self.machines, NOW, self.quotas)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    unusable = st.sampled_from([None, None, None, "quarantined"])
    machines = [
        Machine(
            f"m{number}",
            tuple(Gpu(index, MEMORY, draw(unusable)) for index in range(draw(st.integers(0, 4)))),
            slots=draw(st.integers(0, 2)),
            cpus=draw(st.sampled_from([None, 4.0])),
            memory_mb=draw(st.sampled_from([None, 100])),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    limits, earlier = draw(quotas), draw(jobs)
    found = plan([job._replace(arrived=0.0) for job in earlier], [], machines, 0.0, limits)
    by_id = {job.job_id: job for job in earlier}
    held = [
        Held(
            start.job_id,
            start.machine,
            start.gpus,
            by_id[start.job_id].needs._replace(gpus=len(start.gpus)),
            by_id[start.job_id].priority,
            by_id[start.job_id].user,
            draw(st.floats(0, NOW)),
            draw(st.sampled_from([None, NOW - 5, NOW + 5, NOW + 50])),
            resumable=draw(st.booleans()),
            stopping=draw(st.sampled_from([False, False, True])),
            tenant=by_id[start.job_id].tenant,
        )
        for start in found.starts
    ]
    return Case(draw(jobs), held, machines, limits)


def after(case: Case, found: Plan) -> list[Held]:
    """All that is held when the plan has been carried out, but for those who have to leave."""
    by_id = {job.job_id: job for job in case.queue}
    started = [(start, by_id[start.job_id]) for start in found.starts]
    return [
        *case.held,
        *(
            Held(job.job_id, start.machine, start.gpus, job.needs, user=job.user, tenant=job.tenant)
            for start, job in started
        ),
    ]


@given(cases())
def test_every_job_starts_or_waits_and_knows_its_place_and_why(case: Case) -> None:
    found = case.decide()
    started = [start.job_id for start in found.starts]
    line = [job.job_id for job in order.line(case.queue, NOW) if job.job_id not in started]
    assert len(set(started)) == len(started)
    assert [wait.job_id for wait in found.waits] == line
    assert [wait.position for wait in found.waits] == list(range(1, len(line) + 1))
    assert all(wait.cause for wait in found.waits)


@given(cases())
def test_nothing_is_promised_twice(case: Case) -> None:
    found = case.decide()
    held = after(case, found)
    for machine in case.machines:
        here = [one for one in held if one.machine == machine.name]
        sizes = {gpu.index: gpu.memory_mb for gpu in machine.gpus}
        on_gpu: dict[int, list[Held]] = {index: [one for one in here if index in one.gpus] for index in sizes}
        for index, holders in on_gpu.items():
            if any(one.needs.gpu_memory_mb is None for one in holders):
                assert len(holders) == 1, "a whole GPU is shared"
            assert sum(one.needs.gpu_memory_mb or 0 for one in holders) <= sizes[index]
        assert sum(not one.gpus for one in here) <= machine.slots
        assert machine.cpus is None or sum(one.needs.cpus or 0 for one in here) <= machine.cpus
        assert machine.memory_mb is None or sum(one.needs.memory_mb or 0 for one in here) <= machine.memory_mb
    usable = {m.name: {gpu.index for gpu in m.gpus if gpu.unusable is None} for m in case.machines}
    assert all(set(start.gpus) <= usable[start.machine] for start in found.starts)


@given(cases())
def test_everybody_gets_what_was_asked_for(case: Case) -> None:
    by_id = {job.job_id: job for job in case.queue}
    has_gpus = any(machine.gpus for machine in case.machines)
    for start in case.decide().starts:
        asked = by_id[start.job_id].needs.gpus
        assert len(set(start.gpus)) == len(start.gpus) == (has_gpus if asked is None else asked)


@given(cases())
def test_no_quota_is_passed(case: Case) -> None:
    """Of users and of tenants. A user's own limit goes before each user's, and that before the installation's."""
    found, book = case.decide(), case.quotas.book
    held, by_id = after(case, found), {job.job_id: job for job in case.queue}
    for start in found.starts:
        job = by_id[start.job_id]
        for by, name in (("user", job.user), ("tenant", job.tenant)):
            mine = [one for one in held if getattr(one, by) == name]
            running = limit(book, by, job, "running")
            assert running is None or len(mine) <= running
            gpus = limit(book, by, job, "gpus") if start.gpus else None
            assert gpus is None or sum(len(one.gpus) for one in mine) <= gpus


def limit(book: Book, by: str, job: Waiting, quota: str) -> float | None:
    if by == "tenant":
        return book.set_.get((job.tenant, "tenant", quota))
    own = (book.set_.get((job.tenant, of, quota)) for of in (f"user {job.user}", "each user"))
    return next((amount for amount in own if amount is not None), book.each_user.get(Quota(quota)))


@given(cases())
def test_order_is_kept_between_equal_requests(case: Case) -> None:
    started = {start.job_id for start in case.decide().starts}
    waited: set[tuple[object, ...]] = set()
    for job in order.line(case.queue, NOW):
        request = (job.needs, job.user, job.duration)
        if job.job_id in started:
            assert request not in waited
        waited |= {request} - ({request} if job.job_id in started else set())


@given(cases())
def test_preemption_hits_only_those_who_can_go_on_and_only_for_need(case: Case) -> None:
    found = case.decide()
    held = {one.job_id: one for one in case.held}
    by_id = {job.job_id: job for job in case.queue}
    victims = [preemption.job_id for preemption in found.preemptions]
    assert len(set(victims)) == len(victims)
    for preemption in found.preemptions:
        victim = held[preemption.job_id]
        assert victim.resumable
        assert not victim.stopping
        assert RANK[victim.priority] > RANK["urgent"]
        assert by_id[preemption.yields_to].priority == "urgent"
        assert preemption.yields_to not in {start.job_id for start in found.starts}


@given(cases())
def test_what_had_to_yield_is_enough_and_none_of_it_too_much(case: Case) -> None:
    """For a single urgent job: with all that stops gone it starts; with any of the victims still there it does not."""
    urgent = [job for job in case.queue if job.priority == "urgent"][:1]
    alone = Case(urgent, case.held, case.machines, case.quotas)
    victims = {preemption.job_id for preemption in alone.decide().preemptions}
    if not victims:
        return
    staying = [one for one in case.held if one.job_id not in victims and not one.stopping]
    assert Case(urgent, staying, case.machines, Quotas()).decide().starts
    for spared in [one for one in case.held if one.job_id in victims]:
        machine = [m for m in case.machines if m.name == spared.machine]
        assert not Case(urgent, [*staying, spared], machine, Quotas()).decide().starts


@given(cases())
def test_nobody_yields_in_vain_and_the_room_goes_to_who_it_was_made_for(case: Case) -> None:
    """Carry out a plan, let those who stop leave: then the urgent jobs start, whoever else waits for room."""
    found = case.decide()
    victims = {preemption.job_id for preemption in found.preemptions}
    if not victims:
        return
    held = [one for one in after(case, found) if one.job_id not in victims and not one.stopping]
    started = {start.job_id for start in found.starts}
    over = {wait.job_id for wait in found.waits if "(quota " in wait.cause}
    left = [job for job in case.queue if job.job_id not in started | over]
    then = plan(left, held, case.machines, NOW, case.quotas)
    assert {preemption.yields_to for preemption in found.preemptions} <= {start.job_id for start in then.starts}


@given(cases())
def test_the_order_of_rows_does_not_matter(case: Case) -> None:
    queue = sorted(case.queue, key=lambda job: job.job_id[::-1])
    held = sorted(case.held, key=lambda one: one.job_id[::-1])
    assert Case(queue, held, case.machines, case.quotas).decide() == case.decide()


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 2), st.booleans())
def test_a_large_job_starts_though_small_ones_keep_coming(
    data: st.DataObject, gpus: int, machines: int, knows: bool
) -> None:
    yard = [Machine(f"m{n}", tuple(Gpu(i, MEMORY) for i in range(gpus))) for n in range(machines)]
    lasts = data.draw(st.lists(st.integers(1, 9), min_size=8, max_size=8))
    share = data.draw(st.sampled_from([None, 30, 60]))
    assert _starts_within(yard, gpus, "normal", lasts, share, knows=knows) < 200


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=8, max_size=8), st.booleans())
def test_a_low_job_starts_though_higher_ones_keep_coming(lasts: list[int], knows: bool) -> None:
    """A tick is ten minutes here; after a day it counts as high."""
    yard = [Machine("m", (Gpu(0, MEMORY), Gpu(1, MEMORY)))]
    ticks = _starts_within(yard, 2, "low", lasts, None, knows=knows, others="high", tick=600.0)
    assert 144 <= ticks < 200


def _starts_within(
    yard: list[Machine], gpus: int, priority: str, lasts: list[int], share: int | None,
    *, knows: bool, others: str = "normal", tick: float = 1.0,
) -> int:  # fmt: skip
    """Ticks until a job starts in a yard that is full at first, while four small ones come with every tick."""
    large = Waiting("large", priority, 0.0, gpus)
    queue, held, ends = [], list[Held](), dict[str, float]()
    for count in range(300):
        now = count * tick
        held = [one for one in held if ends[one.job_id] > now]
        for n in range(4):
            duration = lasts[(count + n) % len(lasts)] * tick if knows else None
            arrived = now - 1e-9 * (count == 0)
            queue.append(Waiting(f"s{count:03}{n}", others, arrived, 1, share, duration=duration))
        line = queue if count == 0 else [large, *queue]
        by_id = {job.job_id: job for job in line}
        for start in plan(line, held, yard, now, explain=0).starts:
            if start.job_id == "large":
                return count
            job = by_id[start.job_id]
            queue.remove(job)
            number = int(start.job_id[1:4]) + int(start.job_id[4])
            ends[job.job_id] = now + lasts[number % len(lasts)] * tick
            known = ends[job.job_id] if knows else None
            held.append(Held(job.job_id, start.machine, start.gpus, job.needs, others, started=now, ends=known))
    return 300


@given(cases())
def test_room_is_used_when_nobody_before_needs_it(case: Case) -> None:
    """The first in line for whom there is room, and whom no quota holds, starts."""
    found = case.decide()
    started = {start.job_id for start in found.starts}
    first = next(iter(order.line(case.queue, NOW)), None)
    if first is not None and first.job_id not in started:
        alone = plan([first], case.held, case.machines, NOW, case.quotas)
        assert not alone.starts


def test_a_yard_that_is_idle_takes_as_many_as_fit() -> None:
    yard = [Machine(f"m{n}", tuple(Gpu(i, MEMORY) for i in range(4))) for n in range(5)]
    queue = [Waiting(f"{n:03}", "normal", float(n), 1, 25) for n in range(100)]
    found = plan(queue, [], yard, NOW)
    assert len(found.starts) == 80
    assert Counter(start.machine for start in found.starts) == {f"m{n}": 16 for n in range(5)}
