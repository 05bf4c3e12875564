"""What has been kept long enough: nothing that is needed ever goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.retention import DAY, Cached, Ended, Policy, plan, prune

NOW = 1_800_000_000.0
IDS = [f"job{n:09}" for n in range(6)]


def ended(days: float, state: str = "completed", **values: object) -> Ended:
    return Ended(IDS[0], "orders", state, NOW - days * DAY, **values)  # type: ignore[arg-type]


def what(job: Ended, policy: Policy | None = None) -> list[str]:
    items, _ = plan([job], {}, policy or Policy(), NOW)
    return [item.what if item.step is None else f"{item.what} {item.step}" for item in items]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (ended(0.5, checkpoints=(1, 2, 3)), []),
        (ended(2, checkpoints=(10, 20, 30, 40), best=20), ["checkpoint 10", "checkpoint 30"]),
        (ended(2, checkpoints=(10, 20, 30)), ["checkpoint 10", "checkpoint 20"]),
        (ended(2, checkpoints=(10, 20), best=10), []),
        (ended(6.9), []),
        (ended(7.1), ["logs"]),
        (ended(7.1, has_logs=False), []),
        (ended(29, "failed", has_logs=False), []),
        (ended(31, "failed"), ["job"]),
        (ended(31, "cancelled", checkpoints=(1, 2)), ["job"]),
        (ended(89, has_logs=False), []),
        (ended(91), ["job"]),
        (ended(-5), []),  # the clock was set back
    ],
)
def test_each_thing_goes_after_its_days(job: Ended, expected: list[str]) -> None:
    assert what(job) == expected


def test_no_days_keep_for_ever() -> None:
    for_ever = Policy(0, 0, 0, 0)
    assert what(ended(10_000, checkpoints=(1, 2, 3)), for_ever) == []
    assert what(ended(10_000, "failed", checkpoints=(1, 2, 3)), for_ever) == []


def test_what_is_spared_is_told_with_its_reason() -> None:
    job = ended(91)
    assert plan([job], {IDS[0]: "the running job x needs it"}, Policy(), NOW)[1][0].why == "the running job x needs it"
    assert plan([job._replace(kept=True)], {}, Policy(), NOW)[1][0].why == "it is to be kept"
    assert plan([ended(2)._replace(kept=True)], {}, Policy(), NOW) == ([], [])


steps = st.lists(st.integers(0, 1000), max_size=6, unique=True)
jobs = st.builds(
    Ended,
    job_id=st.sampled_from(IDS),
    name=st.just("orders"),
    state=st.sampled_from(["completed", "failed", "cancelled"]),
    ended_at=st.floats(-10, 400).map(lambda days: NOW - days * DAY),
    kept=st.booleans(),
    has_logs=st.booleans(),
    checkpoints=steps.map(tuple),
)
policies = st.builds(Policy, *[st.sampled_from([0.0, 0.5, 1.0, 7.0, 30.0, 90.0])] * 4)


@given(
    st.lists(jobs, max_size=6, unique_by=lambda job: job.job_id),
    st.sets(st.sampled_from(IDS)),
    policies,
    st.randoms(use_true_random=False),
)
def test_nothing_that_is_needed_or_kept_ever_goes(found, needed, policy, random) -> None:
    found = [job._replace(best=random.choice([None, *job.checkpoints])) for job in found]
    items, spared = plan(found, dict.fromkeys(needed, "needed"), policy, NOW)
    by_id = {job.job_id: job for job in found}
    for item in items:
        job = by_id[item.job_id]
        assert job.job_id not in needed
        assert not job.kept
        if item.step is not None:
            assert item.step in job.checkpoints
            assert item.step not in (job.best, max(job.checkpoints))
    gone = [item.job_id for item in items if item.what == "job"]
    assert len(gone) == len(set(gone))
    assert not {item.job_id for item in items if item.what != "job"} & set(gone)
    assert not {item.job_id for item in spared} & {item.job_id for item in items}
    later, _ = plan(found, dict.fromkeys(needed, "needed"), policy, NOW + DAY)
    assert set(gone) <= {item.job_id for item in later if item.what == "job"}


cached = st.builds(Cached, st.uuids().map(str), st.integers(0, 100), st.floats(0, 100))


@given(st.lists(cached, max_size=10), st.none() | st.floats(0, 100), st.integers(0, 500))
def test_the_cache_is_pruned_to_its_size_and_never_below_what_may_be_in_use(found, since, limit) -> None:
    gone = {item.name for item in prune(found, since, limit)}
    left = [item for item in found if item.name not in gone]
    assert all(since is None or item.used_at < since for item in found if item.name in gone)
    size = sum(item.size_bytes for item in left)
    free_to_go = [item for item in left if since is None or item.used_at < since]
    assert not limit or size <= limit or not free_to_go
    assert limit or not gone
    if gone and left:
        newest_gone = max(item.used_at for item in found if item.name in gone)
        assert newest_gone <= min(item.used_at for item in left)
