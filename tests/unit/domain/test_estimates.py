"""How long a job will take."""

from typing import Any

import pytest

from runyard.domain.estimates import Past, Workload, seconds, workload
from runyard.protocol.specs import job_spec


def work(data_bytes: int | None = None, **sections: Any) -> Workload | None:
    fields = {"kind": "sft", "model": "owner/model", "data": "rows.jsonl", **sections}
    return workload(job_spec.validate_python(fields), data_bytes)


def amount(data_bytes: int | None = None, **sections: Any) -> float:
    found = work(data_bytes, **sections)
    assert found is not None
    return found.amount


def test_the_amount_is_steps_where_they_are_set_else_epochs_over_the_data() -> None:
    assert amount(training={"max_steps": 200}) == 200
    assert amount(1000, training={"epochs": 3}) == 3000
    assert amount(data={"train": "owner/rows", "max_rows": 50}, training={"epochs": 2}) == 100
    assert work(None, training={"epochs": 3}) is None


@pytest.mark.parametrize(
    "other",
    [
        {"model": "owner/larger"}, {"adapter": "none"}, {"training": {"max_steps": 9, "max_length": 64}},
        {"training": {"max_steps": 9, "batch_size": 2}}, {"training": {"epochs": 9}},
        {"model": {"name": "owner/model", "quantization": "4bit"}}, {"kind": "dpo"},
    ],
)  # fmt: skip
def test_what_makes_a_step_slower_is_no_comparison(other: dict[str, Any]) -> None:
    one, another = work(training={"max_steps": 9}), work(1000, **{"training": {"max_steps": 9}} | other)
    assert one is not None
    assert another is not None
    assert one.kind != another.kind


def test_what_does_not_is_one() -> None:
    one, another = work(training={"max_steps": 9}), work(name="b", training={"max_steps": 20, "seed": 1, "warmup": 0.5})
    assert one is not None
    assert another is not None
    assert one.kind == another.kind


def test_a_script_compares_with_the_same_program() -> None:
    def script(command: str, **fields: Any) -> Workload | None:
        return workload(job_spec.validate_python({"kind": "script", "command": command, **fields}))

    assert script("a") == script("a", name="other", priority="high", limits={"retries": 3})
    assert script("a") != script("b")


def test_the_median_pace_counts() -> None:
    finished = [Past(10, 10), Past(100, 200), Past(10, 5000)]
    assert seconds(50, finished) == 100
    assert seconds(50, []) is None
    assert seconds(50, [Past(0, 10), Past(10, 0)]) is None
