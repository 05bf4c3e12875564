"""The rules of placement, one by one."""

from collections.abc import Sequence

import pytest

from runyard.domain.placement import Gpu, Held, Machine, Needs, Plan, Preemption, Quotas, Start, Waiting, order, plan
from runyard.domain.quotas import Book, Quota

HOUR = 3600.0
NOW = 100 * HOUR
TWO = Machine("m", (Gpu(0, 24_000), Gpu(1, 24_000)), slots=1, cpus=8, memory_mb=64_000)


def job(id_: str, gpus: int | None = None, priority: str = "normal", ago: float = 0.0, **values: object) -> Waiting:
    return Waiting(id_, priority, NOW - ago, gpus, **values)  # type: ignore[arg-type]


def on(id_: str, *gpus: int, **values: object) -> Held:
    needs = Needs(len(gpus), *(values.pop(name, None) for name in ("gpu_memory_mb", "cpus", "memory_mb")))
    return Held(id_, str(values.pop("machine", "m")), gpus, needs, **values)  # type: ignore[arg-type]


def each_user(**amounts: float) -> Quotas:
    return Quotas(Book(each_user={Quota(name): amount for name, amount in amounts.items()}))


def decide(
    queue: Sequence[Waiting], held: Sequence[Held] = (), *machines: Machine, quotas: Quotas | None = None
) -> Plan:
    return plan(queue, held, machines or (TWO,), NOW, quotas or Quotas())


def started(found: Plan) -> dict[str, tuple[int, ...]]:
    return {start.job_id: start.gpus for start in found.starts}


def causes(found: Plan) -> dict[str, str]:
    return {wait.job_id: wait.cause for wait in found.waits}


def test_classes_first_then_arrival_and_the_place_in_line_is_counted_over_all() -> None:
    queue = [job("late", 1), job("early", 1, ago=9), job("low", 1, "low", ago=99), job("urgent", 1, "urgent")]
    found = decide(queue, [on("x", 0), on("y", 1)])
    assert [(wait.job_id, wait.position) for wait in found.waits] == [
        ("urgent", 1), ("early", 2), ("late", 3), ("low", 4),
    ]  # fmt: skip


def test_who_waits_long_moves_up_but_never_to_urgent() -> None:
    def line(*queue: Waiting) -> list[str]:
        return [one.job_id for one in order.line(queue, NOW)]

    assert line(job("new", 1), job("old", 1, "low", ago=13 * HOUR)) == ["old", "new"]
    assert line(job("new", 1, "high"), job("old", 1, "low", ago=13 * HOUR)) == ["new", "old"]
    assert line(job("new", 1, "high"), job("old", 1, "low", ago=25 * HOUR)) == ["old", "new"]
    assert line(job("new", 1, "urgent"), job("old", 1, "low", ago=99 * HOUR)) == ["new", "old"]


def test_a_job_takes_a_gpu_where_there_is_one_else_a_slot() -> None:
    assert started(decide([job("a")])) == {"a": (0,)}
    assert started(decide([job("a")], [], Machine("m", (), slots=1))) == {"a": ()}
    assert started(decide([job("a", 0), job("b", 0)])) == {"a": ()}


def test_shares_fill_one_gpu_before_the_next_and_whole_jobs_never_share() -> None:
    queue = [job(id_, 1, ago=9 - n, gpu_memory_mb=8_000) for n, id_ in enumerate("abcd")]
    assert started(decide(queue)) == {"a": (0,), "b": (0,), "c": (0,), "d": (1,)}
    assert started(decide([job("whole", 1), *queue[:1]], [on("x", 1, gpu_memory_mb=1)])) == {"a": (1,), "whole": (0,)}
    assert started(decide([job("share", 1, gpu_memory_mb=1)], [on("x", 0), on("y", 1)])) == {}


def test_a_share_goes_where_it_fits_best() -> None:
    held = [on("x", 0, gpu_memory_mb=4_000), on("y", 1, gpu_memory_mb=12_000)]
    assert started(decide([job("a", 1, gpu_memory_mb=10_000)], held)) == {"a": (1,)}
    assert started(decide([job("a", 1, gpu_memory_mb=14_000)], held)) == {"a": (0,)}
    assert started(decide([job("a", 2, gpu_memory_mb=12_000)], held)) == {"a": (0, 1)}
    assert started(decide([job("a", 2, gpu_memory_mb=12_001)], held)) == {}


def test_a_job_runs_on_one_machine_and_small_ones_leave_whole_machines_whole() -> None:
    other = Machine("n", tuple(Gpu(index, 24_000) for index in range(4)))
    assert decide([job("a", 3)], [], TWO, other).starts == [Start("a", "n", (0, 1, 2))]
    assert decide([job("a", 1)], [on("x", 0)], TWO, other).starts == [Start("a", "m", (1,))]
    assert causes(decide([job("a", 5)], [], TWO, other)) == {"a": "needs 5 GPUs, the largest machine has 4"}


def test_processors_and_memory_are_counted_for_those_that_name_them() -> None:
    held = [on("x", 0, cpus=6, memory_mb=60_000)]
    assert started(decide([job("a", 1, cpus=2, memory_mb=4_000)], held)) == {"a": (1,)}
    assert causes(decide([job("a", 1, cpus=3)], held)) == {"a": "needs 3 CPUs, 2 free"}
    assert causes(decide([job("a", 1, memory_mb=5_000)], held)) == {"a": "needs 5000 MB of memory, 4000 free"}
    assert started(decide([job("a", 1)], [on("x", 0, cpus=8, memory_mb=64_000)])) == {"a": (1,)}


def test_what_can_never_start_says_so_and_is_in_nobodys_way() -> None:
    queue = [
        job("gpus", 9, ago=9), job("memory", 1, gpu_memory_mb=30_000, ago=8), job("cpus", 0, cpus=9.5, ago=7),
        job("ram", 0, memory_mb=65_000, ago=6), job("fits", 2),
    ]  # fmt: skip
    found = decide(queue)
    assert started(found) == {"fits": (0, 1)}
    assert causes(found) == {
        "gpus": "needs 9 GPUs, this machine has 2",
        "memory": "needs 30000 MB on a GPU, the largest has 24000",
        "cpus": "needs 9.5 CPUs, this machine has 8",
        "ram": "needs 65000 MB of memory, this machine has 64000",
    }
    assert all(wait.never for wait in found.waits)


def test_a_gpu_that_can_not_be_used_is_left_alone_and_named() -> None:
    machine = TWO.without({0: "quarantined"})
    found = decide([job("a", 1, ago=9), job("b", 1, ago=8), job("c", 2)], [], machine)
    assert started(found) == {"a": (1,)}
    assert causes(found) == {
        "b": "needs 1 GPU, 0 free (GPU 0: quarantined)",
        "c": "needs 2 GPUs, and not all can be used (GPU 0: quarantined)",
    }
    assert not any(wait.never for wait in found.waits), "it may be put right"


def test_a_user_at_the_quota_waits_and_blocks_nobody() -> None:
    queue = [job("a", 1, user="greedy", ago=9), job("b", 1, user="modest")]
    found = decide(queue, [on("x", 0, user="greedy")], quotas=each_user(running=1))
    assert started(found) == {"b": (1,)}
    assert causes(found) == {"a": "greedy has 1 running job, and may have 1 (quota running)"}


def test_gpus_are_counted_for_the_quota_with_what_starts_in_the_same_moment() -> None:
    queue = [job("a", 1, ago=9), job("b", 1, ago=8), job("c", 0, ago=7), job("d", 2, ago=6)]
    found = decide(queue, quotas=each_user(gpus=1))
    assert started(found) == {"a": (0,), "c": ()}
    assert causes(found) == {
        "b": "needs 1 GPU; local has 1, and may have 1 (quota gpus)",
        "d": "needs 2 GPUs, and local may have 1 (quota gpus)",
    }
    assert {wait.job_id for wait in found.waits if wait.never} == {"d"}


def test_room_is_made_for_the_first_that_will_have_left_when_it_is_kept_for_another() -> None:
    """The large one has to wait for the end of what can't be paused; until then its memory is in nobody's way."""
    machine = Machine("m", (Gpu(0, 100), Gpu(1, 100)), memory_mb=100)
    staying = on("stays", 0, memory_mb=30, priority="urgent", ends=NOW + 50)
    low = on("low", 1, priority="low", ends=NOW - 5, resumable=True)
    queue = [
        *(job("large", 1, "urgent", ago=3, memory_mb=90), job("short", 1, "urgent", ago=2, memory_mb=30, duration=10)),
        job("last", 1, "urgent", ago=1),
    ]
    assert decide(queue, [staying, low], machine).preemptions == [Preemption("low", "short")]
    long = [queue[0], queue[1]._replace(duration=100.0), queue[2]]
    assert decide(long, [staying, low], machine).preemptions == [Preemption("low", "last")]


def test_a_tenant_at_its_quota_waits_however_many_its_users_are() -> None:
    book = Book({("small", "tenant", "running"): 1, ("small", "user big", "gpus"): 0})
    queue = [
        *(job("a", 1, user="u", tenant="small", ago=9), job("b", 1, user="v", tenant="small", ago=8)),
        job("c", 1, user="w", tenant="large", ago=7),
    ]
    found = decide(queue, quotas=Quotas(book))
    assert started(found) == {"a": (0,), "c": (1,)}
    assert causes(found) == {"b": "the tenant small has 1 running job, and may have 1 (quota running)"}
    found = decide([job("d", 1, user="big", tenant="small")], quotas=Quotas(book))
    assert causes(found) == {"d": "needs 1 GPU, and big may have 0 (quota gpus)"}


def test_who_has_used_up_the_gpu_hours_starts_nothing_on_gpus() -> None:
    quotas = Quotas(spent={("user", "u"): "u has had enough", ("tenant", "small"): "small has had enough"})
    queue = [
        *(job("a", 1, user="u", ago=9), job("b", 0, user="u", ago=8)),
        *(job("c", 1, user="v", tenant="small", ago=7), job("d", 1, user="w", ago=6)),
    ]
    found = decide(queue, quotas=quotas)
    assert started(found) == {"b": (), "d": (0,)}
    assert causes(found) == {"a": "u has had enough", "c": "small has had enough"}


def test_a_job_is_not_started_while_its_last_try_holds_anything() -> None:
    found = decide([job("a", 1)], [on("a", 0, stopping=True)])
    assert (started(found), causes(found)) == ({}, {"a": "waits until its last try has given back what it held"})


def test_small_jobs_do_not_starve_a_large_one() -> None:
    found = decide([job("large", 2, ago=9), job("small", 1)], [on("x", 0)])
    assert (started(found), found.preemptions) == ({}, [])
    assert causes(found) == {
        "large": "needs 2 GPUs, 1 free",
        "small": "needs 1 GPU; what is free is kept for one before it",
    }


def test_a_job_that_is_over_before_the_room_is_needed_may_pass() -> None:
    held = [on("x", 0, ends=NOW + 600)]
    queue = [job("large", 2, ago=9), job("short", 1, duration=600.0)]
    assert started(decide(queue, held)) == {"short": (1,)}
    assert started(decide([queue[0], job("long", 1, duration=601.0)], held)) == {}
    assert started(decide([queue[0], job("unknown", 1)], held)) == {}


def test_nobody_passes_when_nobody_knows_when_the_room_is_needed() -> None:
    assert started(decide([job("large", 2, ago=9), job("short", 1, duration=1.0)], [on("x", 0)])) == {}
    late = [on("x", 0, ends=NOW - 600)]
    assert started(decide([job("large", 2, ago=9), job("short", 1, duration=1.0)], late)) == {}


def test_what_the_reservation_leaves_may_be_used_for_ever() -> None:
    four = Machine("m", tuple(Gpu(index, 24_000) for index in range(4)), slots=2)
    held = [on("x", 0, 1, ends=NOW + 60), on("y", 2)]
    queue = [job("large", 2, ago=9), job("unknown", 1, ago=8), job("slot", 0)]
    found = decide([queue[0]._replace(gpus=3), *queue[1:]], held, four)
    assert started(found) == {"slot": ()}, "it takes the two that come free, and the one that is"
    found = decide([queue[0]._replace(gpus=2), *queue[1:]], [on("x", 0, 1, ends=NOW + 60), on("y", 2)], four)
    assert started(found) == {"unknown": (3,), "slot": ()}, "it takes the two that come free"


def test_a_reservation_is_on_one_machine_and_others_are_free_to_all() -> None:
    other = Machine("n", TWO.gpus)
    held = [on("x", 0), on("y", 0, machine="n"), on("z", 1, machine="n")]
    found = decide([job("large", 2, ago=9), job("small", 1, ago=8)], held, TWO, other)
    assert started(found) == {}
    held = [on("x", 0), on("y", 0, machine="n")]
    found = decide([job("large", 2, ago=9), job("small", 1, ago=8), job("next", 1)], held, TWO, other)
    assert found.starts == [Start("small", "n", (1,))]


def test_a_large_share_of_a_gpu_is_kept_from_small_ones() -> None:
    one = Machine("m", (Gpu(0, 24_000),))
    held = [on("x", 0, gpu_memory_mb=8_000)]
    queue = [job("large", 1, gpu_memory_mb=20_000, ago=9), job("small", 1, gpu_memory_mb=5_000)]
    assert started(decide(queue, held, one)) == {}
    assert started(decide([queue[1]], held, one)) == {"small": (0,)}
    tiny = job("tiny", 1, gpu_memory_mb=4_000)
    assert started(decide([queue[0], tiny], [held[0]._replace(ends=NOW + 60)], one)) == {"tiny": (0,)}


def test_memory_that_is_kept_for_one_with_a_gpu_is_kept_from_one_without() -> None:
    queue = [job("large", 2, memory_mb=60_000, ago=9), job("slot", 0, memory_mb=8_000)]
    assert started(decide(queue, [on("x", 0)])) == {}
    assert started(decide([queue[0], job("slot", 0)], [on("x", 0)])) == {"slot": ()}


def test_an_urgent_job_makes_the_lowest_and_youngest_yield_and_no_more_than_needed() -> None:
    four = Machine("m", tuple(Gpu(index, 24_000) for index in range(4)))
    held = [
        on("normal", 0, resumable=True, started=4.0),
        on("older", 1, priority="low", resumable=True, started=1.0),
        on("younger", 2, priority="low", resumable=True, started=2.0),
        on("rigid", 3, priority="low", started=3.0),
    ]

    def yielding(gpus: int) -> list[Preemption]:
        return decide([job("u", gpus, "urgent")], held, four).preemptions

    assert yielding(1) == [Preemption("younger", "u")]
    assert yielding(2) == [Preemption("younger", "u"), Preemption("older", "u")]
    assert {one.job_id for one in yielding(3)} == {"normal", "older", "younger"}
    assert yielding(4) == [], "even all would not make the room"


def test_one_large_job_yields_rather_than_two() -> None:
    held = [on("small", 0, priority="low", resumable=True), on("big", 1, 2, resumable=True)]
    three = Machine("m", tuple(Gpu(index, 24_000) for index in range(3)))
    assert decide([job("u", 2, "urgent")], held, three).preemptions == [Preemption("big", "u")]


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_nobody_but_the_urgent_preempts(priority: str) -> None:
    held = [on("x", 0, priority="low", resumable=True), on("y", 1, priority="low", resumable=True)]
    assert decide([job("a", 1, priority, ago=999 * HOUR)], held).preemptions == []


def test_what_comes_free_is_kept_for_the_urgent_one() -> None:
    held = [on("x", 0, priority="low", resumable=True), on("y", 1, resumable=False)]
    found = decide([job("u", 1, "urgent"), job("other", 1, "high")], held)
    assert found.preemptions == [Preemption("x", "u")]
    stopping = [held[0]._replace(stopping=True), held[1]]
    found = decide([job("u", 1, "urgent"), job("other", 1, "high")], stopping)
    assert (found.starts, found.preemptions) == ([], []), "the room is being made already"
    assert causes(found)["u"] == "waits for those that are stopping"
    two = [on("x", 0, priority="low", resumable=True, stopping=True)]
    found = decide([job("u", 2, "urgent"), job("other", 1, "high")], two)
    assert (found.starts, found.preemptions) == ([], []), "GPU 1 is kept as well"


def test_two_urgent_jobs_make_room_for_two() -> None:
    held = [on(id_, gpu, priority="low", resumable=True, started=gpu) for gpu, id_ in enumerate("xy")]
    queue = [job("u", 1, "urgent", ago=9), job("v", 1, "urgent")]
    assert decide(queue, held).preemptions == [Preemption("y", "u"), Preemption("x", "v")]
    assert decide(queue, [held[0], held[1]._replace(stopping=True)]).preemptions == [Preemption("x", "v")]


def test_an_urgent_job_at_its_quota_makes_nobody_yield() -> None:
    held = [on("x", 0, priority="low", resumable=True), on("y", 1, resumable=False)]
    assert decide([job("u", 1, "urgent")], held, quotas=each_user(running=2)).preemptions == []


def test_what_an_urgent_job_may_have_is_not_taken_by_others_of_its_user_while_room_is_made() -> None:
    held = [on("x", 0, 1, user="b", priority="low", resumable=True)]
    found = decide([job("u", 1, "urgent", user="a"), job("small", 0, user="a")], held, quotas=each_user(running=1))
    assert found.preemptions == [Preemption("x", "u")]
    assert found.starts == []
    assert causes(found)["small"] == "a has 1 running job, and may have 1 (quota running)"
    two = decide(
        [job(id_, 1, "urgent", user="a", ago=ago) for id_, ago in (("u", 9), ("v", 1))],
        [on(id_, gpu, user="b", priority="low", resumable=True) for gpu, id_ in enumerate("xy")],
        quotas=each_user(gpus=1),
    )
    assert [preemption.yields_to for preemption in two.preemptions] == ["u"], "one of them may start"


def test_expected_starts_follow_from_what_is_known() -> None:
    held = [on("x", 0, ends=NOW + 100), on("y", 1, ends=NOW + 300)]
    queue = [job("a", 1, ago=9, duration=50.0), job("b", 2, ago=8), job("c", 1, ago=7)]
    expected = {wait.job_id: wait.expected for wait in decide(queue, held).waits}
    assert expected == {"a": (NOW + 100, "m", (0,)), "b": (NOW + 300, "m", (0, 1)), "c": None}


def test_only_the_head_of_the_line_is_told_and_those_that_can_never_start() -> None:
    queue = [job(str(n), 1, ago=99 - n) for n in range(50)] + [job("never", 9)]
    found = plan(queue, [on("x", 0), on("y", 1)], [TWO], NOW, explain=3)
    assert [(wait.job_id, wait.position) for wait in found.waits] == [("0", 1), ("1", 2), ("2", 3), ("never", 51)]
