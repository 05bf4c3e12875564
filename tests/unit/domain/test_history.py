"""Lines of a run's history, good and bad, and what they amount to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import history
from runyard.protocol.events import Snapshot


def lines(*events: dict[str, Any], attempt: int = 1, first: int = 1) -> list[bytes]:
    return [
        json.dumps({"n": number, "at": 100.0 + number, "attempt": attempt, **event}).encode()
        for number, event in enumerate(events, first)
    ]


def metric(step: int, split: str = "train", **values: float) -> dict[str, Any]:
    return {"type": "metric", "step": step, "split": split, "values": values}


@given(
    st.integers(0, 2**31 - 1),
    st.dictionaries(st.text(), st.one_of(st.none(), st.integers(-(2**70), 2**70), st.floats())),
    st.sampled_from(["train", "eval"]),
)
def test_the_short_way_of_a_metric_comes_to_what_the_long_one_does(
    step: int, values: dict[str, Any], split: str
) -> None:
    line = lines(metric(step, split, **{f"v{name}": value for name, value in values.items()}))[0]
    event, fields = history.parse(line)
    assert fields == json.loads(event.model_dump_json())


def test_the_snapshot_is_the_newest_of_everything() -> None:
    news = history.read(
        lines(
            {"type": "phase", "phase": "loading"},
            {"type": "progress", "phase": "training", "step": 3, "total_steps": 9, "epoch": 0.5, "eta_seconds": 6.0},
            metric(3, loss=2.5, gpu_memory=7.0),
            {"type": "finished", "outcome": "stopped"},
        ),
        Snapshot(),
    )
    snapshot = news.snapshot
    assert (snapshot.n, snapshot.at, snapshot.phase, snapshot.step, snapshot.loss) == (4, 104.0, "training", 3, 2.5)
    assert (snapshot.values, snapshot.outcome) == ({"loss": 2.5, "gpu_memory": 7.0}, "stopped")
    assert [entry["type"] for entry in news.feed] == ["phase", "progress", "metric", "finished"]
    assert news.feed[0] == {"at": 101.0, "type": "phase", "data": {"n": 1, "attempt": 1, "phase": "loading"}}


def test_a_new_attempt_has_not_ended_yet() -> None:
    before = Snapshot(n=1, attempt=1, outcome="stopped", step=7)
    news = history.read(lines({"type": "phase", "phase": "loading"}, attempt=2, first=2), before)
    assert (news.snapshot.outcome, news.snapshot.attempt, news.snapshot.step) == (None, 2, 7)
    assert before.outcome == "stopped"


def test_values_of_one_step_are_joined() -> None:
    points = history.read(lines(metric(1, loss=2), metric(1, speed=9), metric(1, "eval", loss=3)), Snapshot()).points
    assert points["train", 1]["values"] == {"loss": 2, "speed": 9}
    assert points["eval", 1]["values"] == {"loss": 3}


def test_a_resumed_run_voids_what_comes_after_its_checkpoint() -> None:
    resumed = {"type": "resumed", "step": 2, "checkpoint": "checkpoints/step-000002"}
    news = history.read(
        lines(metric(1, loss=1), metric(2, loss=1), metric(3, loss=1), resumed, metric(3, loss=9)), Snapshot()
    )
    assert news.forget_after == 2
    assert {key: point["values"]["loss"] for key, point in news.points.items()} == {
        ("train", 1): 1,
        ("train", 2): 1,
        ("train", 3): 9,
    }


def test_two_resumes_void_what_either_does() -> None:
    steps = [{"type": "resumed", "step": step, "checkpoint": None} for step in (5, 2, 8)]
    assert history.read(lines(*steps), Snapshot()).forget_after == 2


def test_lines_read_before_are_not_counted_again() -> None:
    some = lines(metric(1, loss=1), metric(2, loss=1))
    once = history.read(some, Snapshot())
    assert history.read(some, once.snapshot).feed == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"half of a li",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"n": 1}',
        b'{"n":1,"at":1,"attempt":1,"type":"dance"}',
        b'{"n":1,"at":NaN,"attempt":1,"type":"phase","phase":"loading"}',
        b'{"n":1,"at":1,"attempt":1,"type":"metric","step":-1,"values":{}}',
        b'{"n":1,"at":1,"attempt":1,"type":"metric","step":99999999999,"values":{}}',
        b'{"n":1,"at":1,"attempt":1,"type":"message","text":"\\ud800"}',
        b'{"n":1,"at":1,"attempt":1,"type":"message","text":"' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda line: line[:30],
)
def test_a_bad_line_is_skipped_with_a_reason_and_the_next_is_read(line: bytes) -> None:
    news = history.read([line, *lines(metric(1, loss=1))], Snapshot())
    assert len(news.skipped) == 1
    assert news.skipped[0]
    assert len(news.skipped[0]) <= 200
    assert len(news.feed) == 1


def test_what_a_database_can_not_hold_is_replaced() -> None:
    odd = b'{"n":1,"at":1,"attempt":1,"type":"metric","step":1,"values":{"loss":NaN,"big":1e999,"nul\\u0000":1}}'
    news = history.read([odd], Snapshot())
    assert news.points["train", 1]["values"] == {"loss": None, "big": None, "nul\ufffd": 1}
    assert "NaN" not in json.dumps(news.feed)
    assert "Infinity" not in json.dumps(news.feed)
    assert news.snapshot.loss is None


def test_a_metric_can_not_pretend_to_be_the_runs_progress() -> None:
    event = {"type": "metric", "step": 1, "values": {"n": 77, "step": 88, "outcome": 1}}
    news = history.read(lines(event), Snapshot())
    assert (news.snapshot.n, news.snapshot.step, news.snapshot.outcome) == (1, 0, None)


def test_an_attempt_after_a_power_cut_may_use_numbers_again() -> None:
    """The file can have lost lines that were read from it: what the next attempt says is news all the same."""
    before = Snapshot(n=100, attempt=1)
    news = history.read(lines({"type": "resumed", "step": 5, "checkpoint": None}, attempt=2, first=81), before)
    assert (news.forget_after, news.snapshot.n, news.snapshot.attempt) == (5, 81, 2)


def sample(step: int, answer: str, **fields: Any) -> dict[str, Any]:
    return {"type": "sample", "step": step, "index": 0, "prompt": "two?", "answer": answer, **fields}


def test_answers_that_a_resumed_attempt_gives_again_take_the_place_of_the_earlier_ones() -> None:
    told = [sample(0, "base"), sample(5, "five"), sample(9, "void"), sample(10, "void")]
    again = [{"type": "resumed", "step": 5, "checkpoint": None}, sample(10, "ten", wanted="10", truncated=True)]
    news = history.read([*lines(*told), *lines(*again, attempt=2, first=5)], Snapshot())
    assert {step: one["answer"] for (step, _), one in news.samples.items()} == {0: "base", 5: "five", 10: "ten"}
    assert news.samples[10, 0] == {
        "at": 106.0, "attempt": 2, "prompt": "two?", "answer": "ten", "wanted": "10", "truncated": True,
    }  # fmt: skip
    assert news.forget_after == 5


def test_of_a_long_answer_the_beginning_is_kept() -> None:
    news = history.read(lines(sample(1, "x" * 100_000)), Snapshot())
    assert len(news.samples[1, 0]["answer"]) == len(news.feed[0]["data"]["answer"]) == 8000


def test_an_answer_to_no_prompt_is_skipped() -> None:
    news = history.read(lines(sample(1, "x", index=10**9)), Snapshot())
    assert (len(news.skipped), news.samples) == (1, {})
