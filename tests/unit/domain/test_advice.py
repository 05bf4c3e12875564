"""What to do about each failure, and that doing it makes sense."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.advice import EXPLANATIONS, SAME_STEPS, Advice, advise, apply
from runyard.domain.cures import Facts
from runyard.domain.reasons import Reason
from runyard.protocol.specs import job_spec
from runyard.protocol.specs.language import LanguageSpec

CHOSEN = {"training.batch_size": 16, "training.micro_batch_size": 8, "training.learning_rate": 2e-4}
GPU = Facts(chosen=CHOSEN, on_gpu=True, phase="training")
CPU = Facts(chosen=CHOSEN, phase="training")
SCRIPT = {"kind": "script", "command": "python train.py"}


def language(**sections: Any) -> dict[str, Any]:
    return {"kind": "sft", "model": {"name": "owner/model"}, "data": {"train": "rows.jsonl"}, **sections}


def advice(reason: str, facts: Facts = GPU, message: str = "", fields: dict[str, Any] | None = None) -> Advice:
    found = advise(reason, message, job_spec.validate_python(fields or language()), facts)
    assert found is not None
    return found


def changed(reason: str, facts: Facts = GPU, message: str = "", **sections: Any) -> dict[str, Any]:
    return {
        change.field: change.after
        for choice in advice(reason, facts, message, language(**sections)).choices[:1]
        for change in choice.changes
    }


TABLE: list[tuple[str, Facts, str, dict[str, Any], dict[str, Any]]] = [
    ("gpu_out_of_memory", GPU, "", {}, {"training.batch_size": 16, "training.micro_batch_size": 4}),
    ("gpu_out_of_memory", GPU, "", {"training": {"batch_size": 12, "micro_batch_size": 6}},
     {"training.micro_batch_size": 3}),
    ("gpu_out_of_memory", GPU, "", {"training": {"batch_size": 7, "micro_batch_size": 7}},
     {"training.micro_batch_size": 1}),
    ("gpu_out_of_memory", GPU, "", {"training": {"micro_batch_size": 1}}, {"training.activation_checkpointing": True}),
    ("gpu_out_of_memory", GPU, "", {"training": {"micro_batch_size": 1, "activation_checkpointing": True}},
     {"model.quantization": "4bit"}),
    ("gpu_out_of_memory", GPU, "",
     {"training": {"micro_batch_size": 1, "activation_checkpointing": True}, "adapter": {"type": "none"}},
     {"training.max_length": 512}),
    ("gpu_out_of_memory", Facts(chosen=CHOSEN, on_gpu=True, phase="loading"), "", {}, {"model.quantization": "4bit"}),
    ("gpu_out_of_memory", Facts(on_gpu=True, phase="merging"), "", {"output": {"merge": True}},
     {"output.merge": False}),
    ("gpu_out_of_memory", Facts(on_gpu=True, phase="evaluating"), "", {"evaluation": {"batch_size": 8}},
     {"evaluation.batch_size": 4}),
    ("out_of_memory", CPU, "", {}, {"training.batch_size": 16, "training.micro_batch_size": 4}),
    ("out_of_memory", CPU, "", {"training": {"micro_batch_size": 1, "activation_checkpointing": True}},
     {"training.max_length": 512}),
    ("out_of_memory", Facts(chosen=CHOSEN, phase="training", longest_row=300), "",
     {"training": {"micro_batch_size": 1, "activation_checkpointing": True}}, {"training.max_length": 144}),
    ("out_of_memory", CPU, "",
     {"training": {"micro_batch_size": 1, "activation_checkpointing": True, "max_length": 100}}, {}),
    ("out_of_memory", GPU, "", {"training": {"loader_workers": 4}}, {"training.loader_workers": 0}),
    ("out_of_memory", GPU, "", {}, {}),
    ("killed", Facts(chosen=CHOSEN, signal=9), "", {}, {"training.batch_size": 16, "training.micro_batch_size": 4}),
    ("killed", Facts(chosen=CHOSEN, signal=11), "", {}, {}),
    ("loss_not_finite", GPU, "", {}, {"training.learning_rate": 2e-5, "training.warmup": 0.1}),
    ("loss_not_finite", GPU, "", {"model": {"name": "m", "dtype": "fp16"}}, {"model.dtype": "fp32"}),
    ("loss_exploded", CPU, "", {"training": {"learning_rate": 3.0, "warmup": 20}}, {"training.learning_rate": 1.0}),
    ("bad_data", CPU, "rows.jsonl:7: messages: is missing", {}, {"data.drop_bad_rows": True}),
    ("bad_data", CPU, "rows.jsonl: is empty", {}, {}),
    ("disk_full", CPU, "", {"checkpoints": {"keep": 5}}, {"checkpoints.keep": 2}),
    ("disk_full", CPU, "", {}, {}),
    ("merge_differs", CPU, "", {"output": {"merge": True}}, {"output.merge": False}),
    ("stalled", CPU, "", {"training": {"loader_workers": 2}}, {"training.loader_workers": 0}),
    ("stalled", CPU, "", {}, {}),
    ("timeout", CPU, "", {"limits": {"max_runtime": "2h"}}, {"limits.max_runtime": 14400}),
    ("missing_package", CPU, "", {}, {}),
    ("lost", CPU, "", {}, {}),
    ("machine_restarted", CPU, "", {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "facts", "message", "sections", "expected"), TABLE)
def test_changes(reason: str, facts: Facts, message: str, sections: dict[str, Any], expected: dict[str, Any]) -> None:
    assert changed(reason, facts, message, **sections) == expected


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("fields", [language(), SCRIPT], ids=["language", "script"])
def test_every_reason_is_explained(reason: Reason, fields: dict[str, Any]) -> None:
    assert advice(reason, fields=fields).explanation.startswith(EXPLANATIONS[reason])
    assert advise(reason, None, None, Facts()) == Advice(EXPLANATIONS[reason])


def test_the_least_change_is_the_first_of_a_few_choices() -> None:
    """Each is a way of its own."""
    found = [[change.field for change in choice.changes] for choice in advice("gpu_out_of_memory").choices]
    assert found == [
        ["training.batch_size", "training.micro_batch_size"],
        ["training.activation_checkpointing"],
        ["model.quantization"],
        ["training.max_length"],
    ]
    assert [choice.goes_on for choice in advice("gpu_out_of_memory").choices] == [True, True, False, False]
    rates = [choice.changes[0].after for choice in advice("loss_exploded").choices]
    assert rates == [pytest.approx(2e-4 / 3, rel=0.01), pytest.approx(2e-5)]


def test_a_reason_that_nobody_knows_gets_no_advice() -> None:
    assert advise("flood", None, job_spec.validate_python(language()), GPU) is None
    assert advise(None, None, None, GPU) is None


def test_a_script_is_given_more_time_and_the_line_to_install_what_is_missing() -> None:
    timeout = advice("timeout", fields={**SCRIPT, "limits": {"max_runtime": 60}})
    assert [str(change) for change in timeout.choices[0].changes] == ["limits.max_runtime: 60.0 -> 120.0"]
    missing = advice("missing_package", message="ModuleNotFoundError: No module named 'sklearn.base'", fields=SCRIPT)
    assert missing.explanation.endswith("pip install sklearn")


def test_only_what_leaves_the_steps_alone_goes_on_from_the_checkpoint() -> None:
    assert advice("gpu_out_of_memory").choices[0].goes_on
    assert advice("timeout", fields=language(limits={"max_runtime": 5})).choices[0].goes_on
    assert not advice("loss_exploded").choices[0].goes_on
    assert not advice("gpu_out_of_memory", Facts(on_gpu=True, phase="loading")).choices[0].goes_on


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    micro = draw(st.none() | st.integers(1, 64))
    batch = draw(st.none() | st.integers(1, 16).map(lambda n: n * (micro or 1)))
    training = {
        "batch_size": batch,
        "micro_batch_size": micro,
        "activation_checkpointing": draw(st.none() | st.booleans()),
        "max_length": draw(st.integers(8, 9000)),
        "loader_workers": draw(st.none() | st.integers(0, 8)),
        "learning_rate": draw(st.none() | st.floats(1e-9, 10)),
        "warmup": draw(st.sampled_from([0, 0.03, 0.5, 100])),
    }
    adapter = draw(st.sampled_from(["lora", "none"]))
    quantization = draw(st.sampled_from([None, "8bit", "4bit"])) if adapter == "lora" else None
    model = {"name": draw(st.sampled_from(["owner/model", "model.gguf"])), "quantization": quantization}
    return language(training=training, adapter={"type": adapter}, model=model)


@st.composite
def runs(draw: st.DrawFn) -> tuple[LanguageSpec, Facts]:
    """A spec, and what its trainer made of what was left open."""
    spec = job_spec.validate_python(draw(specs()))
    assert isinstance(spec, LanguageSpec)
    training = spec.training
    micro = training.micro_batch_size or draw(st.sampled_from([1, 2, 4]))
    batch = training.batch_size or micro * draw(st.integers(1, 8))
    if batch % micro:
        micro = math.gcd(batch, micro)
    chosen = {
        "training.batch_size": batch, "training.micro_batch_size": micro, "training.learning_rate": 1e-4,
        "training.loader_workers": 0, "training.activation_checkpointing": False,
    }  # fmt: skip
    return spec, Facts(chosen, on_gpu=draw(st.booleans()), phase="training", signal=9)


def effective(spec: LanguageSpec, facts: Facts, name: str) -> Any:
    given = getattr(spec.training, name)
    return facts.chosen[f"training.{name}"] if given is None else given


def memory(spec: LanguageSpec, facts: Facts) -> float:
    """Something that grows with what a pass really needs."""
    weights = {None: 4, "8bit": 2, "4bit": 1}[spec.model.quantization] * 1e9
    tokens = effective(spec, facts, "micro_batch_size") * spec.training.max_length
    activations = tokens * (1 if effective(spec, facts, "activation_checkpointing") else 10)
    return weights + activations + effective(spec, facts, "loader_workers")


@given(runs(), st.sampled_from(["gpu_out_of_memory", "out_of_memory", "killed"]))
def test_every_step_is_a_job_with_the_same_batch_that_needs_less_memory_until_there_is_none(
    run: tuple[LanguageSpec, Facts], reason: str
) -> None:
    spec, facts = run
    batch = effective(spec, facts, "batch_size")
    for _ in range(40):
        found = advise(reason, "", spec, facts)
        assert found is not None
        if not found.choices:
            return
        smaller = job_spec.validate_python(apply(spec.model_dump(mode="json"), found.choices[0].changes))
        assert isinstance(smaller, LanguageSpec)
        assert effective(smaller, facts, "batch_size") == batch
        assert batch % effective(smaller, facts, "micro_batch_size") == 0
        assert memory(smaller, facts) < memory(spec, facts)
        spec = smaller
    raise AssertionError("it never comes to an end")


@given(runs(), st.sampled_from(list(Reason)))
def test_whatever_failed_the_changed_job_is_valid_and_another(run: tuple[LanguageSpec, Facts], reason: Reason) -> None:
    spec, facts = run
    found = advise(reason, "rows.jsonl:3: bad", spec, facts)
    assert found is not None
    fields = spec.model_dump(mode="json", exclude_unset=True)
    for choice in found.choices:
        after = job_spec.validate_python(apply(fields, choice.changes))
        assert after != spec


def test_what_goes_on_changes_nothing_that_a_resumed_run_compares() -> None:
    from runyard.trainers.language import frozen

    free = {f"training.{name}" for name in frozen.FREE}
    locked = {name for name in SAME_STEPS if name.startswith(("training.", "model.", "adapter."))}
    assert locked - free == {"training.batch_size"}
