"""Places in a spec: found, filled, and refused where they can't be."""

import json
import time
from typing import Any

import pytest

from runyard.domain import filling, templates
from runyard.domain.errors import InvalidError


def spec(**fields: Any) -> dict[str, Any]:
    return {"kind": "sft", "model": "a/b", "data": "c/d", **fields}


def filled(body: dict[str, Any], **values: Any) -> dict[str, Any]:
    return templates.fill(body, {found.name: found for found in templates.variables(body)}, values)


def refusals(call: Any) -> list[str]:
    with pytest.raises(InvalidError) as refused:
        call()
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("2e-4", 2e-4), ("true", True), ("no", "no"), ("null", None), ("", None), ("0x10", 16),
        ('"5"', "5"), ("'true'", "true"), ("[1, a]", [1, "a"]), ("Note: this", "Note: this"), ("- a", "- a"),
        ("run #3", "run #3"), (" spaced ", " spaced "), ("a\nb", "a\nb"), ("[1", "[1"), ("!!int x", "!!int x"),
        ("&a b", "&a b"), ("[&a x, *a]", "[&a x, *a]"), ("9" * 5000, "9" * 5000), ("#fff", "#fff"),
        ("secret:HF_TOKEN", "secret:HF_TOKEN"),
    ],
)  # fmt: skip
def test_a_text_is_read_as_in_a_job_file_unless_that_would_lose_something(text: str, value: Any) -> None:
    assert filling.value_of(text) == value


def test_variables_are_found_with_their_fields_and_defaults() -> None:
    body = spec(name="run ${LR} of ${WHO:-us}", training={"learning_rate": "${LR:-2e-4}", "epochs": "${EPOCHS}"})
    found = {one.name: (one.default, one.fields) for one in templates.variables(body)}
    assert found == {
        "LR": ("2e-4", ["name", "training.learning_rate"]),
        "WHO": ("us", ["name"]),
        "EPOCHS": (None, ["training.epochs"]),
    }


def test_alone_a_value_keeps_its_type_and_within_a_text_its_writing() -> None:
    body = spec(
        name="lr ${LR} ${ON} ${NOTHING}", training={"learning_rate": "${LR:-2e-4}", "x": "${ON}"}, y="${NOTHING:-}"
    )
    got = filled(body, ON=True)
    assert got["training"] == {"learning_rate": 2e-4, "x": True}
    assert got["name"] == "lr 2e-4 true "
    assert got["y"] is None
    assert filled(body, ON="false", LR="1e-5", NOTHING="'5'")["name"] == "lr 1e-5 false 5"


def test_lists_are_filled_too_and_a_list_can_be_a_value() -> None:
    body = {"kind": "script", "file": "/a.py", "args": ["--lr", "${LR}", "--${FLAG:-fast}"]}
    assert filled(body, LR='"1e-3"')["args"] == ["--lr", "1e-3", "--fast"]
    body = {"kind": "script", "file": "/a.py", "args": "${ARGS}"}
    assert filled(body, ARGS=["a", "b"])["args"] == ["a", "b"]
    assert filled(body, ARGS='["a", "b"]')["args"] == ["a", "b"]


def test_words_of_a_program_stay_text_whatever_they_look_like() -> None:
    body = {"kind": "script", "file": "/a.py", "name": "${N}", "args": ["${LR:-1e-3}"], "env": {"ON": "${ON}"}}
    got = filled(body, N=2024, ON="true")
    assert (got["name"], got["args"], got["env"]) == ("2024", ["1e-3"], {"ON": "true"})


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert filled(spec(name="${A} ${B}"), A="${B}", B="${A}")["name"] == "${B} ${A}"


def test_an_escaped_sign_is_only_a_sign() -> None:
    body = {"kind": "script", "command": ["sh", "-c", "echo $${HOME} $HOME ${WHO:-you}"]}
    assert [one.name for one in templates.variables(body)] == ["WHO"]
    assert filled(body)["command"][2] == "echo ${HOME} $HOME you"


@pytest.mark.parametrize("text", ["${", "${}", "${a b}", "${A", "${A:-{}}", '${A:-"}', "${1A}", "x ${A} ${", "${A:b}"])
def test_a_place_that_is_none_is_told_with_its_field(text: str) -> None:
    [problem] = refusals(lambda: templates.variables(spec(training={"epochs": text})))
    assert problem.startswith("training.epochs: has ${ without")


def test_a_default_in_quotes_may_hold_anything() -> None:
    body = spec(name='${A:-"a } and { and \\" and ${B}"}')
    assert filled(body)["name"] == 'a } and { and " and ${B}'


def test_two_defaults_for_one_variable_are_refused() -> None:
    [problem] = refusals(lambda: templates.variables(spec(name="${A:-1}", priority="${A:-2}")))
    assert problem == "priority: gives A another default than name does"


def test_missing_unknown_and_unfitting_values_are_all_told() -> None:
    body = spec(name="of ${WHO}", training={"epochs": "${EPOCHS}"})
    problems = refusals(lambda: filled(body, WHOM=1))
    assert problems == [
        "values.WHOM: the template has no such variable; it has: WHO, EPOCHS",
        "values.WHO: is required: it stands in name",
        "values.EPOCHS: is required: it stands in training.epochs",
    ]
    [problem] = refusals(lambda: filled(body, WHO=["a"], EPOCHS=1))
    assert problem == "values.WHO: is no single value, and WHO stands within the text of name"


def test_it_can_not_be_made_to_grow_without_bounds() -> None:
    body = spec(name="${A}" * 9000)
    [problem] = refusals(lambda: filled(body, A="x" * 10_000))
    assert problem.startswith("values.A: makes the job larger than")
    assert refusals(lambda: templates.variables(spec(name="x" * templates.MOST_BYTES)))
    assert refusals(lambda: templates.variables(spec(x=list(range(templates.MOST_VALUES)))))
    assert refusals(lambda: templates.variables(spec(x=json.loads("[" * 500 + "]" * 500))))
    assert refusals(lambda: templates.variables(spec(name="".join(f"${{A{n}}}" for n in range(51)))))
    started = time.process_time()
    assert refusals(lambda: templates.variables(spec(name='${A:-"' * 15_000)))
    assert refusals(lambda: templates.variables(spec(name='${A:-"\\' * 13_000)))
    assert time.process_time() - started < 2


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_characters_that_no_database_keeps_are_refused(bad: str) -> None:
    assert refusals(lambda: templates.variables(spec(name=bad))) == ["name: holds characters that are no text"]
    assert refusals(lambda: templates.variables(spec(training={bad: 1})))


@pytest.mark.parametrize("kind", [None, 5, "nothing", "${KIND}"])
def test_the_kind_is_not_left_open(kind: Any) -> None:
    assert refusals(lambda: templates.variables({"kind": kind}))[0].startswith("kind: must be one of")


def test_a_jobs_fields_become_variables_with_their_values_as_defaults() -> None:
    asked = spec(name="${x} of { us", training={"learning_rate": 2e-4})
    resolved = asked | {"priority": "normal", "resources": {"gpus": None, "cpus": 1.5}}
    wanted = {"LR": "training.learning_rate", "GPUS": "resources.gpus", "NAME": "name", "P": "priority"}
    body = templates.with_variables(asked, resolved, wanted)
    assert body["training"]["learning_rate"] == "${LR:-0.0002}"
    assert body["priority"] == "${P:-normal}"
    assert filled(body) == asked | {"resources": {"gpus": None}, "priority": "normal"}
    assert templates.with_variables(asked, resolved, {})["name"] == "$${x} of { us"
    assert asked["training"] == {"learning_rate": 2e-4}, "the job's own spec is as it was"


@pytest.mark.parametrize(
    ("path", "told"), [("nothing", "no field"), ("training", "section"), ("name.x", "no field"), ("", "no field")]
)
def test_only_single_fields_can_become_variables(path: str, told: str) -> None:
    asked = spec(name="n", training={"learning_rate": 2e-4})
    [problem] = refusals(lambda: templates.with_variables(asked, asked, {"V": path}))
    assert problem.startswith("variables.V: ")
    assert told in problem


def test_who_stands_in_a_field() -> None:
    known = {one.name: one for one in templates.variables(spec(data="${DATA}", training={"epochs": "${E}"}))}
    assert templates.concerned(known, "data.train") == ["DATA"]
    assert templates.concerned(known, "training") == ["E"]
    assert templates.concerned(known, "model.name") == []


def test_differences_are_told_field_by_field() -> None:
    before = spec(training={"epochs": 1, "learning_rate": 1e-4})
    after = spec(data={"train": "c/d", "eval": "e"}, training={"epochs": 2, "learning_rate": 1e-4}, priority="high")
    found = {change.field: (change.before, change.after) for change in templates.differences(before, after)}
    assert found == {"training.epochs": (1, 2), "data.eval": (None, "e"), "priority": (None, "high")}
