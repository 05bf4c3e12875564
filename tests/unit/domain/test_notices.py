"""What is told, to whom, when again, and in which words."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from runyard.domain import notices
from runyard.domain.lifecycle import State
from runyard.domain.notices import Happening, Subscription
from runyard.protocol.notices import SEEN_TO, Occasion, Occasions
from runyard.protocol.specs.language import SftSpec

JOB = {"id": "abc", "name": "orders", "kind": "sft", "user": "max"}


def test_every_state_is_an_occasion() -> None:
    assert {state.value for state in State} == {one.value for one in Occasion} - {"stalled", "never_starts"}


@pytest.mark.parametrize(
    ("type_", "data", "found"),
    [
        ("state", {"after": "failed"}, Occasion.FAILED),
        ("queue", {"position": 1, "wait_cause": "needs 9 GPUs", "never": True}, Occasion.NEVER_STARTS),
        ("queue", {"position": 1, "wait_cause": "needs 1 GPU", "never": False}, None),
        ("queue", {"position": 1, "wait_cause": "as an earlier version wrote it"}, None),
        ("message", {"text": "stuck", "data": {}, "notice": "stalled"}, Occasion.STALLED),
        ("message", {"text": "said by a trainer that pretends", "data": {"notice": "stalled"}}, None),
        ("message", {"text": "odd", "data": {}, "notice": ["stalled"]}, None),
        ("state", {"after": "of a later version"}, None),
        ("message", {"text": "said by a trainer", "data": {}}, None),
        ("metric", {"step": 1}, None),
    ],
)
def test_what_an_event_is_to_people(type_: str, data: dict[str, Any], found: Occasion | None) -> None:
    assert notices.occasion(type_, data) is found


@pytest.mark.parametrize(
    ("of", "states", "user", "event", "named", "told"),
    [
        ("user", ["failed"], "max", 11, (), True),
        ("user", ["failed"], "mia", 11, (), False),
        ("tenant", ["failed"], "mia", 11, (), True),
        ("tenant", ["completed"], "mia", 11, (), False),
        ("tenant", [], "mia", 11, ("team",), True),
        ("tenant", [], "mia", 11, ("other",), False),
        ("user", [], "mia", 11, ("team",), False),
        ("tenant", ["failed"], "mia", 10, (), False),
    ],
)
def test_who_is_told(of: Any, states: list[str], user: str, event: int, named: tuple[str, ...], told: bool) -> None:
    channel = Subscription("team", "max", of, states, after_event=10)
    assert notices.tells(channel, Happening(event, Occasion.FAILED, user, named, ("failed",))) is told


def test_a_job_says_of_what_it_wants_to_be_told() -> None:
    channel = Subscription("team", "max", "tenant", [], after_event=0)
    assert not notices.tells(channel, Happening(1, Occasion.RUNNING, "max", ("team",), ("failed",)))


def test_pauses_grow_and_come_to_an_end() -> None:
    pauses = [notices.pause(tries, 0.5, None) for tries in range(1, len(notices.PAUSES) + 2)]
    assert pauses[:-1] == list(notices.PAUSES)
    assert pauses[-1] is None
    assert notices.pause(1, 0.0, None) == 4.0
    assert notices.pause(1, 1.0, None) == 6.0
    assert notices.pause(1, 0.5, 60.0) == 60.0, "as the receiver asks"
    assert notices.pause(1, 0.5, 1e12) == notices.LONGEST_PAUSE
    assert notices.pause(5, 0.5, 1.0) == notices.PAUSES[4]
    assert sum(notices.PAUSES) > 12 * 3600


def test_a_message_is_told_in_words_of_one_line() -> None:
    about = notices.about(JOB | {"name": "orders\r\nBcc: all\u2028x"}, {
        "before": "running", "after": "failed", "cause": "failed", "reason": "crashed", "message": "it\nbroke",
        "attempt": 2,
    })  # fmt: skip
    body = notices.message("job.failed", 0.0, about)
    assert body["timestamp"] == "1970-01-01T00:00:00.000Z"
    assert notices.title(body) == "orders Bcc: all x failed"
    assert notices.text(body) == "it broke\nReason: crashed\nJob abc (sft) of max, attempt 2"
    assert notices.mood(body) == "failure"


def test_a_clock_that_says_anything_keeps_nobody_from_being_told() -> None:
    for at in (1e300, -5.0, float("nan"), float("inf")):
        assert notices.message("job.failed", at, {})["timestamp"] == "1970-01-01T00:00:00.000Z"


def test_each_occasion_has_words() -> None:
    for occasion in Occasion:
        body = notices.message(f"job.{occasion}", 1.0, notices.about(JOB, {"after": "x", "attempt": None}))
        assert notices.title(body).startswith("orders ")
        assert notices.text(body) == "Job abc (sft) of max"


def test_needs_you_is_short_for_what_somebody_has_to_see_to() -> None:
    read = TypeAdapter(Occasions).validate_python
    assert read(["completed", "needs_you", "failed"]) == [Occasion.COMPLETED, *SEEN_TO]
    with pytest.raises(ValidationError):
        read(["exploded"])


def test_a_job_file_names_channels() -> None:
    fields = {"model": "a/b", "data": "a/c", "notify": {"channels": ["team"], "states": ["needs_you"]}}
    spec = SftSpec.model_validate(fields)
    assert spec.notify is not None
    assert spec.notify.states == list(SEEN_TO)
    assert SftSpec.model_validate(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValidationError):
        SftSpec.model_validate(fields | {"notify": {"channels": []}})
