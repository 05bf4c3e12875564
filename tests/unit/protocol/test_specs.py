import pytest
from pydantic import ValidationError

from runyard.protocol.problems import spec_problems
from runyard.protocol.specs import job_spec
from runyard.protocol.specs.language import DpoSpec, SftSpec

SMALL = {"kind": "sft", "model": "owner/name", "data": "rows.jsonl"}


def problems(**changes: object) -> list[str]:
    value = {**SMALL, **changes}
    with pytest.raises(ValidationError) as caught:
        job_spec.validate_python(value)
    return [str(problem) for problem in spec_problems(caught.value, str(value.get("kind")))]


def test_short_forms_stand_for_their_sections() -> None:
    short = job_spec.validate_python({**SMALL, "adapter": "none"})
    long = job_spec.validate_python(
        {"kind": "sft", "model": {"name": "owner/name"}, "data": {"train": "rows.jsonl"}, "adapter": {"type": "none"}}
    )
    assert short == long


def test_a_spec_survives_json() -> None:
    spec = job_spec.validate_python({**SMALL, "kind": "dpo", "training": {"learning_rate": 1e-5}})
    assert isinstance(spec, DpoSpec)
    assert job_spec.validate_json(spec.model_dump_json()) == spec


def test_the_kind_chooses_the_class() -> None:
    assert isinstance(job_spec.validate_python(SMALL), SftSpec)
    assert problems(kind="sftt") == ["kind: must be one of: sft, dpo, script"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modle": "x"}, "modle: unknown field; did you mean model?"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat: unknown field; did you mean learning_rate?"),
        (
            {"adapter": {"target_modules": "q_proj"}},
            "adapter.target_modules: must be all-linear, or a list of layer names such as [q_proj, v_proj]",
        ),
        ({"adapter": {"r": 8}}, "adapter.r: unknown field; known here: type, rank, alpha, dropout, target_modules"),
        ({"model": None}, "model: must be a section of fields, such as `field: value`"),
        ({"data": {}}, "data.train: is required"),
        ({"training": {"max_steps": 0}}, "training.max_steps: input should be greater than or equal to 1 (got 0)"),
        ({"training": {"seed": "one"}}, "training.seed: input should be a valid integer"),
        ({"training": {"batch_size": 6, "micro_batch_size": 4}}, "training: batch_size (6) must be a multiple of"),
        ({"data": {"train": "a", "eval": "b", "eval_split": 0.1}}, "data: set either eval or eval_split, not both"),
        ({"evaluation": {"early_stopping_patience": 2}}, "evaluation.early_stopping_patience needs data.eval"),
        ({"adapter": "none", "model": {"name": "m", "quantization": "4bit"}}, "a quantized model can't be fully"),
        ({"adapter": "none", "output": {"merge": True}}, "output.merge needs an adapter to merge"),
        ({"kind": "dpo", "training": {"packing": True}}, "training.packing is for sft"),
        ({"priority": "hihg"}, "priority: input should be 'urgent', 'high', 'normal' or 'low' (got 'hihg')"),
    ],
)
def test_an_error_names_the_field_and_what_would_be_right(changes: dict[str, object], expected: str) -> None:
    (problem,) = problems(**changes)
    assert problem.startswith(expected)


def test_every_error_is_reported_at_once() -> None:
    assert len(problems(modle="x", trainnig={}, adapter={"rank": 0})) == 3
