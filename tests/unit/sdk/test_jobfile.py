"""Every problem of a job file: its line, its field, and what to do."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runyard.sdk import jobfile
from runyard.sdk.errors import JobFileError

NOWHERE = Path("/nowhere")
GOOD = "kind: sft\nmodel: owner/name\ndata: owner/rows\n"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        jobfile.parse(text, NOWHERE, file="job.yaml", overrides=overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "job.yaml:1: the job file is empty; see `runyard init sft`"),
        ("# nothing\n", "job.yaml:1: the job file is empty; see `runyard init sft`"),
        ("- sft\n", "job.yaml:1: the job file holds no fields; see `runyard init sft`"),
        ("sft\n", "job.yaml:1: the job file holds no fields; see `runyard init sft`"),
        ("model: a/b\ndata: c/d\n", "job.yaml:1: kind: is required: one of sft, dpo, script"),
        ("kind:\nmodel: a/b\ndata: c/d\n", "job.yaml:1: kind: is required: one of sft, dpo, script"),
        ("model: a/b\nkind: stf\ndata: c/d\n", "job.yaml:2: kind: must be one of: sft, dpo, script"),
        ("kind: sft\ndata: c/d\n", "job.yaml:1: model: is required"),
        (GOOD + "trainig:\n  epochs: 2\n", "job.yaml:4: trainig: unknown field; did you mean training?"),
        (
            GOOD + "training:\n  epochs: 2\n  max_step: 3\n",
            "job.yaml:6: training.max_step: unknown field; did you mean max_steps?",
        ),
        (
            GOOD + "training:\n  epochs: 0\n",
            "job.yaml:5: training.epochs: input should be greater than 0 (got 0)",
        ),
        (
            GOOD + "training:\n  batch_size: 3\n  micro_batch_size: 2\n",
            "job.yaml:4: training: batch_size (3) must be a multiple of micro_batch_size (2)",
        ),
        (
            "kind: sft\nmodel: a/b\ndata:\n  eval: c/d\n",
            "job.yaml:3: data.train: is required",
        ),
        ("kind: sft\nmodel: a/b\ndata: ./rows.jsonl\n", "job.yaml:3: data.train: no such file: /nowhere/rows.jsonl"),
        ("kind: sft\nmodel: a/b\ndata: rows.jsonl\n", "job.yaml:3: data.train: no such file: /nowhere/rows.jsonl"),
        ("kind: sft\nmodel: ./mine\ndata: c/d\n", "job.yaml:2: model.name: no such file: /nowhere/mine"),
        ("kind: script\nfile: train.py\n", "job.yaml:2: file: no such file: /nowhere/train.py"),
        ("kind: script\ncommand: make\nworkdir: here\n", "job.yaml:3: workdir: no such file: /nowhere/here"),
        (
            "kind: script\nfile: /a.py\npython: .venv/bin/python\n",
            "job.yaml:3: python: no such file: /nowhere/.venv/bin/python",
        ),
        (
            "kind: script\nfile: /a.py\nargs: [--lr, 1e-4]\n",
            "job.yaml:3: args.1: is a number or a truth value, and must be text: put it in quotes",
        ),
        ("kind: sft\nkind: dpo\n", "job.yaml:2: the field kind is given twice (first in line 1)"),
        (
            "kind: sft\nmodel:\n  name: a\n  name: b\n",
            "job.yaml:4: the field name is given twice (first in line 3)",
        ),
        ("kind: sft\nmodel: a: b\n", "job.yaml:2: not valid YAML (column 9): mapping values are not allowed here"),
        (
            "kind: sft\nmodel:\n\tname: a\n",
            "job.yaml:3: not valid YAML (column 1): a tab can't indent a line; use spaces",
        ),
        ("kind: 'sft\n", "job.yaml:2: not valid YAML (column 1): found unexpected end of stream"
                         " while scanning a quoted scalar"),
        ("kind: sft\nname: \x07\n", "job.yaml:2: not text: character #x0007 is not allowed in YAML"),
        (
            "kind: sft\n---\nkind: dpo\n",
            "job.yaml:2: not valid YAML (column 1): expected a single document in the stream,"
            " but found another document",
        ),
        ("kind: *nothing\n", "job.yaml:1: not valid YAML (column 7): found undefined alias 'nothing'"),
        (
            "kind: sft\nname: !!python/object/apply:os.system ['true']\n",
            "job.yaml:2: the tag !!python/object/apply:os.system is not allowed here",
        ),
        ("kind: sft\nname: !!int one\n", "job.yaml:2: 'one' is not what its tag !!int says"),
        ("? [a, b]\n: c\n", "job.yaml:1: a field name must be a word"),
        ("kind: &again [*again]\n", "job.yaml:1: nested too deeply"),
        ("[" * 20_000, "job.yaml:1: nested too deeply"),
    ],
)  # fmt: skip
def test_a_problem_says_where_and_what(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = "kind: sft\nmodel: {nam: x}\ndata: c/d\ntraining: {epochs: -1}\nadapter: {rank: 0}\n"
    assert [problem.partition(": ")[0] for problem in problems(text)] == [
        "job.yaml:2", "job.yaml:2", "job.yaml:4", "job.yaml:5",
    ]  # fmt: skip


def test_aliases_in_aliases_do_not_fill_the_memory() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert "more than 10000 values" in problems("\n".join(lines))[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e-4", 1e-4), ("2E-5", 2e-5), ("1.5e-4", 1.5e-4), (".001", 1e-3), ("1", 1.0), ("0.5", 0.5)],
)
def test_numbers_as_people_write_them(written: str, meant: float) -> None:
    spec = jobfile.parse(f"{GOOD}training: {{learning_rate: {written}}}\n", NOWHERE)
    assert spec.training.learning_rate == meant


@pytest.mark.parametrize("written", [".inf", ".nan", "inf", "nan", "'nan'", "1e999"])
def test_numbers_that_train_nothing_are_refused(written: str) -> None:
    assert "job.yaml:4: training.learning_rate" in problems(f"{GOOD}training: {{learning_rate: {written}}}\n")[0]


@pytest.mark.parametrize("word", ["no", "off", "y", "2024-01-01", "12:30", "'1'", "none", "=", "<<"])
def test_a_word_stays_a_word(word: str) -> None:
    assert jobfile.parse(f"{GOOD}name: {word}\n", NOWHERE).name == word.strip("'")


@pytest.mark.parametrize(
    ("word", "meant"), [("yes", True), ("on", True), ("true", True), ("no", False), ("off", False)]
)
def test_a_yes_is_a_yes_where_one_is_asked_for(word: str, meant: bool) -> None:
    assert jobfile.parse(f"{GOOD}output: {{merge: {word}}}\n", NOWHERE).output.merge is meant


def test_none_is_an_adapter_and_a_leading_zero_is_no_octal() -> None:
    spec = jobfile.parse(f"{GOOD}adapter: none\ntraining: {{seed: 010}}\n", NOWHERE)
    assert (spec.adapter.type, spec.training.seed) == ("none", 10)


def test_a_section_without_a_line_is_left_out() -> None:
    spec = jobfile.parse(f"{GOOD}training:\n  # epochs: 2\nadapter:\n", NOWHERE)
    assert spec.training.epochs == 1
    assert "training" not in spec.model_fields_set


def test_overrides_win_and_reach_into_short_forms() -> None:
    spec = jobfile.parse(
        f"{GOOD}training: {{epochs: 2}}\n",
        NOWHERE,
        overrides=["training.max_steps=5", "data.max_rows=3", "training.learning_rate=1e-4", "adapter=none", "name=no"],
    )
    assert (spec.training.epochs, spec.training.max_steps, spec.training.learning_rate) == (2, 5, 1e-4)
    assert (spec.data.train, spec.data.max_rows) == ("owner/rows", 3)
    assert (spec.adapter.type, spec.name) == ("none", "no")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("max_steps", "--set max_steps: must look like training.max_steps=5"),
        ("=5", "--set =5: must look like training.max_steps=5"),
        ("training.=5", "--set training.=5: must look like training.max_steps=5"),
        (
            "training.max_step=5",
            "--set training.max_step=5: training.max_step: unknown field; did you mean max_steps?",
        ),
        (
            "training.epochs=0",
            "--set training.epochs=0: training.epochs: input should be greater than 0 (got 0)",
        ),
    ],
)
def test_a_wrong_override_is_named(override: str, expected: str) -> None:
    assert problems(f"{GOOD}training: {{epochs: 1}}\n", override) == [expected]


@pytest.mark.parametrize(
    "model", ["owner/name", "name", "name.v1", "mine.gguf", "/models/mine.gguf", "/models/mine", "owner/name.v2"]
)
def test_what_may_be_elsewhere_is_left_as_it_is(model: str) -> None:
    """On the hub, or on the server."""
    assert jobfile.parse(f"kind: sft\nmodel: {model}\ndata: dataset:abc\n", NOWHERE).model.name == model


@pytest.mark.parametrize("data", ["dataset:abc", "dataset:rows.jsonl", "owner/rows", "rows", "/data/rows.jsonl"])
def test_data_may_be_elsewhere_too(data: str) -> None:
    assert jobfile.parse(f"kind: sft\nmodel: a/b\ndata: {data}\n", NOWHERE).data.train == data


@pytest.mark.parametrize("name", ['"a\\0b"', "x" * 5000, "~nobody-of-that-name/rows"])
def test_a_name_that_can_be_no_path_is_no_accident(name: str) -> None:
    with suppress(JobFileError):
        jobfile.parse(f"kind: sft\nmodel: {name}\ndata: {name}\n", NOWHERE)


def test_a_dict_is_checked_like_a_file() -> None:
    fields: dict[str, Any] = {"kind": "sft", "model": "a/b", "data": "c/d", "training": {"epoch": 1}}
    with pytest.raises(JobFileError, match=r"^training.epoch: unknown field; did you mean epochs\?$"):
        jobfile.from_dict(fields, NOWHERE)
