"""YAML that is written is read as what it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import yamlfile

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=20)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    TEXT | st.from_regex(r"[-+0-9.eEox_:]{1,8}", fullmatch=True) | NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(bool), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert yamlfile.parse(yamlfile.written({"field": value})).value == {"field": value}


@pytest.mark.parametrize(
    "text", ["1e4", "0E0", "0o17", "010", "no", "True", "~", "null", "2024-01-01", "1:20", ".5", "="]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert yamlfile.parse(yamlfile.written({"revision": text})).value == {"revision": text}
