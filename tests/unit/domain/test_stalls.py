"""Who is stuck, to the second, and who is only slow."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.stalls import (
    PHASE_SECONDS,
    UNWATCHED_SECONDS,
    Count,
    Limits,
    Overdue,
    Signs,
    Watch,
    restored,
    words,
)

MINUTE, HOUR = 60.0, 3600.0


class Attempt:
    """Says things at a time of a clock that the test turns; looked at every so many seconds."""

    def __init__(self, limits: Limits | None = None, every: float = 0.5) -> None:
        self.signs, self.watch, self.every = Signs(), Watch(limits or Limits()), every
        self.now, self.written = 1e6, 0
        self.look()

    def restart(self, after: float = 0.0) -> None:
        """Another server takes over after some seconds, knowing no more than what was kept of signs and count."""
        count = json.loads(json.dumps(asdict(self.watch.count))) if self.watch.count else None
        self.signs = restored(Signs, json.loads(json.dumps(asdict(self.signs)))) or Signs()
        self.watch = Watch(self.watch.limits, restored(Count, count))
        self.now += after

    def look(self) -> Overdue | None:
        return self.watch.look(self.now, self.signs, self.written)

    def say(self, type_: str, **data: Any) -> None:
        self.signs.take(type_, data)

    def phase(self, name: str) -> None:
        self.say("phase", phase=name)

    def step(self, step: int, phase: str = "training") -> None:
        self.say("progress", phase=phase, step=step)

    def metric(self, step: int, split: str = "train") -> None:
        self.say("metric", step=step, split=split, values={"loss": 1.0})

    def passes(self, seconds: float) -> Overdue | None:
        """What was found within this time, if anything."""
        for _ in range(round(seconds / self.every)):
            self.now += self.every
            if found := self.look():
                return found
        return None

    def gives_up_after(self) -> float:
        began = self.now
        assert self.passes(100 * HOUR)
        return self.now - began


def training(limits: Limits | None = None, every: float = 0.5) -> Attempt:
    attempt = Attempt(limits, every)
    attempt.phase("training")
    attempt.step(12)
    attempt.look()
    return attempt


def test_one_that_stands_still_is_found_at_ten_minutes_sharp() -> None:
    attempt = training()
    assert attempt.passes(10 * MINUTE - 0.5) is None
    assert attempt.passes(0.5) == Overdue("stalled", "no progress for 10 min in phase training at step 12")


def test_a_heartbeat_is_not_life() -> None:
    """New values at the same step, messages, the same phase and the same progress said again."""
    attempt = training()
    attempt.metric(12)
    attempt.look()
    for second in range(10 * 60 - 1):
        attempt.metric(12)
        attempt.step(12)
        attempt.phase("training")
        attempt.say("message", text=f"alive at {second}")
        assert attempt.passes(1) is None
    assert attempt.passes(1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("progress", {"phase": "training", "step": 13}),
        ("progress", {"phase": "training", "step": 12, "batch": 1}),
        ("metric", {"step": 13, "split": "train"}),
        ("metric", {"step": 12, "split": "eval"}), ("phase", {"phase": "saving"}), ("resumed", {"step": 4}),
        ("checkpoint", {"step": 12}), ("artifact", {"path": "final/model"}), ("finished", {"outcome": "completed"}),
    ],
)  # fmt: skip
def test_a_sign_of_progress_begins_the_count_anew(name: str, data: dict[str, Any]) -> None:
    attempt = training()
    attempt.passes(9 * MINUTE)
    attempt.say(name, **data)
    assert attempt.passes(9 * MINUTE) is None


@pytest.mark.parametrize("phase", PHASE_SECONDS)
def test_each_phase_has_its_own_time(phase: str) -> None:
    attempt = training()
    attempt.phase(phase)
    attempt.look()
    assert attempt.gives_up_after() == PHASE_SECONDS[phase]


@pytest.mark.parametrize(
    ("phase", "asked", "expected"),
    [
        ("training", 30.0, 30.0), ("training", 2 * HOUR, 2 * HOUR),
        ("evaluating", 30.0, HOUR), ("evaluating", 2 * HOUR, 2 * HOUR),
        ("loading", 30.0, 30 * MINUTE),
    ],
)  # fmt: skip
def test_what_a_job_asks_for_holds_for_training_and_never_shortens_another_phase(
    phase: str, asked: float, expected: float
) -> None:
    attempt = Attempt(Limits(stall_timeout=asked))
    attempt.phase(phase)
    attempt.look()
    assert attempt.gives_up_after() == expected


def test_a_trainer_that_never_says_anything_has_the_time_to_load() -> None:
    assert Attempt().gives_up_after() == 30 * MINUTE
    found = Attempt(Limits(stall_timeout=5.0)).passes(HOUR)
    assert found == Overdue("stalled", "no progress for 30 min before its first phase")


def test_one_that_is_done_and_does_not_leave_is_stuck() -> None:
    attempt = training()
    attempt.phase("saving")
    attempt.say("finished", outcome="completed")
    attempt.look()
    assert attempt.passes(10 * MINUTE - 0.5) is None
    assert attempt.passes(0.5) == Overdue("stalled", "it was done, and did not leave in 10 min")


def test_a_slow_healthy_job_is_left_alone_for_a_day() -> None:
    """Steps of nine minutes, evaluations of 55, checkpoints that take 25 to write: no false alarm in 24 hours."""
    attempt = Attempt(every=5.0)
    began, step = attempt.now, 0
    for phase, seconds in (("preparing", 29 * MINUTE), ("loading", 29 * MINUTE)):
        attempt.phase(phase)
        assert attempt.passes(seconds) is None
    while attempt.now - began < 24 * HOUR:
        attempt.phase("training")
        for _ in range(3):
            step += 1
            assert attempt.passes(9 * MINUTE) is None
            attempt.step(step)
            attempt.metric(step)
        attempt.phase("evaluating")
        assert attempt.passes(55 * MINUTE) is None
        attempt.metric(step, "eval")
        attempt.phase("saving")
        assert attempt.passes(25 * MINUTE) is None
        attempt.say("checkpoint", step=step)


@given(
    st.lists(st.tuples(st.sampled_from(["training", *PHASE_SECONDS]), st.floats(0.5, 0.999)), min_size=1, max_size=30)
)
def test_whoever_keeps_to_the_times_is_never_stuck(turns: list[tuple[str, float]]) -> None:
    attempt = Attempt(every=10.0)
    for step, (phase, share) in enumerate(turns):
        attempt.step(step, phase)
        attempt.look()
        assert attempt.passes(share * PHASE_SECONDS.get(phase, 10 * MINUTE) - attempt.every) is None


@given(st.lists(st.sampled_from(["metric", "step", "phase", "message"]), max_size=50))
def test_nothing_said_at_the_same_step_puts_off_the_end(words_said: list[str]) -> None:
    attempt = training(every=30.0)
    attempt.metric(12)
    attempt.look()
    began = attempt.now
    for word in (*words_said, *["message"] * 30):
        match word:
            case "metric":
                attempt.metric(12)
            case "step":
                attempt.step(12)
            case "phase":
                attempt.phase("training")
            case _:
                attempt.say("message", text="here")
        if attempt.passes(30):
            break
    assert attempt.now - began == 10 * MINUTE


def test_a_script_that_reports_nothing_is_left_alone() -> None:
    assert Attempt(Limits(reports=False), every=30.0).passes(100 * HOUR) is None


def test_a_script_that_asks_for_it_is_watched_by_what_it_writes() -> None:
    attempt = Attempt(Limits(stall_timeout=5 * MINUTE, reports=False))
    for _ in range(20):
        assert attempt.passes(4 * MINUTE) is None
        attempt.written += 1
    attempt.look()
    assert attempt.gives_up_after() == 5 * MINUTE


def test_the_words_of_a_script_that_reports_steps_are_not_life() -> None:
    attempt = Attempt(Limits(stall_timeout=5 * MINUTE, reports=False))
    attempt.step(1)
    attempt.look()
    for _ in range(4):
        attempt.written += 1
        assert attempt.passes(MINUTE) is None
    attempt.written += 1
    assert attempt.passes(MINUTE)


def test_a_script_that_reports_is_judged_by_its_own_pace() -> None:
    attempt = Attempt(Limits(reports=False), every=5.0)
    for step in range(1, 6):
        attempt.passes(40 * MINUTE)
        attempt.step(step)
        attempt.look()
    assert attempt.gives_up_after() == 3 * 40 * MINUTE
    quick = Attempt(Limits(reports=False))
    for step in range(1, 6):
        quick.passes(1)
        quick.step(step)
        quick.look()
    assert quick.gives_up_after() == 10 * MINUTE


def test_a_script_that_said_one_thing_has_no_pace_yet() -> None:
    attempt = Attempt(Limits(reports=False), every=30.0)
    attempt.step(1)
    assert attempt.passes(100 * HOUR) is None


def test_the_time_of_an_attempt_has_an_end_whatever_it_does() -> None:
    attempt = Attempt(Limits(max_runtime=2 * HOUR), every=1.0)
    began = attempt.now
    for step in range(119):
        attempt.step(step)
        assert attempt.passes(MINUTE) is None
    found = attempt.passes(HOUR)
    assert found == Overdue("timeout", "it ran for 2 h, which is all that limits.max_runtime allows")
    assert attempt.now - began == 2 * HOUR


def test_time_in_which_nobody_could_look_does_not_count() -> None:
    """A machine that was suspended for a night wakes up with all its jobs alive."""
    attempt = training(Limits(max_runtime=HOUR))
    attempt.now += 8 * HOUR
    assert attempt.look() is None
    assert attempt.passes(10 * MINUTE - UNWATCHED_SECONDS - 0.5) is None
    assert attempt.passes(0.5)


def test_while_nothing_can_be_seen_nothing_is_concluded() -> None:
    attempt = training()
    attempt.passes(9 * MINUTE)
    attempt.watch.rest()
    assert attempt.gives_up_after() == 10 * MINUTE + attempt.every


def test_servers_that_come_and_go_find_it_at_the_same_time() -> None:
    """Each lives for three minutes and is followed after five seconds."""
    attempt = training()
    began = attempt.now
    for _ in range(3):
        assert attempt.passes(3 * MINUTE) is None
        attempt.restart(after=5)
    assert attempt.passes(10 * MINUTE)
    assert attempt.now - began == 10 * MINUTE


def test_the_heartbeat_is_no_life_for_the_next_server_either() -> None:
    attempt = training()
    attempt.metric(12)
    attempt.look()
    began = attempt.now
    while attempt.now - began < 10 * MINUTE - 30:
        assert attempt.passes(30) is None
        attempt.restart()
        attempt.metric(12)
        attempt.step(12)
        attempt.phase("training")
    assert attempt.passes(30) == Overdue("stalled", "no progress for 10 min in phase training at step 12")


def test_the_time_of_an_attempt_goes_on_while_no_server_runs() -> None:
    attempt = Attempt(Limits(max_runtime=2 * HOUR), every=1.0)
    for step in range(56):
        attempt.step(step)
        assert attempt.passes(MINUTE) is None
        attempt.restart(after=MINUTE)
    attempt.step(1000)
    found = attempt.passes(HOUR)
    assert found == Overdue("timeout", "it ran for 2 h, which is all that limits.max_runtime allows")
    assert attempt.watch.count
    assert attempt.watch.count.ran == 2 * HOUR


def test_a_sign_that_was_seen_and_not_counted_yet_is_not_forgotten() -> None:
    """Signs are kept with the lines they came in, the count only now and then."""
    attempt = training()
    attempt.passes(9.9 * MINUTE)
    attempt.step(13)
    attempt.restart(after=30)
    assert attempt.passes(9 * MINUTE) is None


def test_what_was_frozen_and_then_met_a_new_server_is_left_alone() -> None:
    attempt = training(Limits(max_runtime=HOUR))
    attempt.now += 8 * HOUR
    assert attempt.look() is None
    attempt.restart(after=5)
    assert attempt.passes(10 * MINUTE - UNWATCHED_SECONDS - 5.5) is None
    assert attempt.passes(0.5)


def test_a_clock_that_begins_anew_ends_nothing() -> None:
    attempt = training(Limits(max_runtime=HOUR))
    attempt.restart(after=-1e6)
    assert attempt.look() is None
    assert attempt.gives_up_after() == 10 * MINUTE


def test_a_script_keeps_its_pace_and_is_watched_by_the_next_server() -> None:
    attempt = Attempt(Limits(reports=False), every=5.0)
    for step in range(1, 6):
        attempt.passes(40 * MINUTE)
        attempt.step(step)
        attempt.look()
        attempt.restart()
    assert attempt.gives_up_after() == 3 * 40 * MINUTE


def test_what_another_version_kept_is_taken_as_far_as_it_is_known() -> None:
    assert restored(Signs, {"phase": "saving", "of_later": 1}) == Signs("saving")
    assert restored(Count, {"looked": 3.0, "of_later": 1}) == Count(3.0)
    assert restored(Signs, None) is None


def test_rows_are_not_steps() -> None:
    attempt = Attempt()
    attempt.step(5000, "preparing")
    attempt.phase("training")
    found = attempt.passes(HOUR)
    assert found == Overdue("stalled", "no progress for 10 min in phase training")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.5, "0.5 s"), (30, "30 s"), (90, "1.5 min"), (600, "10 min"), (5400, "1.5 h")]
)
def test_times_in_words(seconds: float, expected: str) -> None:
    assert words(seconds) == expected
