"""A job file and its form are two views of one text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import yamlfile
from runyard.domain.yamlfile import YamlError
from runyard.protocol.specs import SPEC_CLASSES
from runyard.server.web import forms
from runyard.trainers.language.choices import LEARNING_RATES

FILE = """\
# what we do on Mondays
kind: sft
model: a/b   # small
data: c/d
training:
  epochs: 2
  learning_rate: 2e-4  # usual
"""


def test_a_field_that_stands_in_the_file_is_changed_in_its_line_and_all_else_stays() -> None:
    assert forms.changed(FILE, "training.learning_rate", "3e-4") == FILE.replace("2e-4  #", "3e-4  #")
    assert forms.changed(FILE, "model.name", "x/y") == FILE.replace("a/b   #", "x/y   #")


def test_a_new_field_goes_to_its_section_and_short_forms_grow() -> None:
    found = yamlfile.parse(forms.changed(FILE, "adapter.rank", "8")).value
    assert found["adapter"] == {"rank": 8}
    found = yamlfile.parse(forms.changed(FILE, "model.quantization", "4bit")).value
    assert found["model"] == {"name": "a/b", "quantization": "4bit"}


def test_an_empty_field_is_taken_out() -> None:
    assert yamlfile.parse(forms.changed(FILE, "training.epochs", "")).value["training"] == {"learning_rate": 2e-4}


def test_what_a_file_says_is_told_by_dotted_names() -> None:
    assert forms.values(FILE) == {
        "kind": "sft", "model.name": "a/b", "data.train": "c/d", "training.epochs": "2",
        "training.learning_rate": "0.0002",
    }  # fmt: skip
    assert forms.values("tags: [a, b]\nresumable: true\n") == {"tags": "a, b", "resumable": "true"}


def test_a_file_that_is_no_yaml_is_left_alone() -> None:
    with pytest.raises(YamlError):
        forms.changed("kind: [", "name", "x")


@pytest.mark.parametrize("kind", SPEC_CLASSES)
def test_a_form_has_each_field_once_and_what_most_people_set_first(kind: str) -> None:
    paths = [field.path for field in forms.fields(kind)]
    assert len(paths) == len(set(paths))
    assert paths[0] == "name"
    assert {"priority", "limits.retries"} <= set(paths)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=40))
def test_any_text_comes_back_as_it_was_typed(text: str) -> None:
    """The name of a job may look like a number, a truth value, or YAML."""
    changed = forms.changed(FILE, "name", text)
    assert yamlfile.parse(changed).value["name"] == text
    again = forms.changed(changed, "name", f"{text}x")
    assert yamlfile.parse(again).value["name"] == f"{text}x"
    assert yamlfile.parse(again).value["training"] == {"epochs": 2, "learning_rate": 2e-4}


def test_the_usual_learning_rate_is_that_of_the_kind_as_the_trainer_chooses_it() -> None:
    for kind in ("sft", "dpo"):
        [rate] = [field for field in forms.fields(kind) if field.path == "training.learning_rate"]
        told = re.findall(r"[\d.]+e-\d", rate.hint)
        assert [float(one) for one in told] == [LEARNING_RATES[kind, True], LEARNING_RATES[kind, False]]
