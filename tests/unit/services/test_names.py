"""Names that come from outside, and cursors that come back."""

import string
from dataclasses import dataclass
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import InvalidError
from runyard.services import pages
from runyard.services.uploads import safe_name


@given(st.text(max_size=300), st.sampled_from([".jsonl", ".CSV", ".Parquet"]))
def test_any_name_becomes_a_plain_file_name_or_is_refused(stem: str, ending: str) -> None:
    try:
        name = safe_name(stem + ending)
    except InvalidError:
        return
    assert PurePath(name).name == name
    assert not set(name) & set("/\\\0\n\r\"'`$;|<>*?")
    assert not name.startswith(".")
    assert name.endswith(ending.lower())
    assert len(name) <= 110
    assert safe_name(name) == name


@dataclass
class Item:
    created_at: float
    id: str


@given(st.floats(0, 1e12), st.text(string.ascii_lowercase + string.digits, min_size=1))
def test_a_cursor_comes_back_exactly(at: float, id_: str) -> None:
    items, cursor = pages.cut([Item(at, id_), Item(0, "next")], 1)
    assert list(items) == [Item(at, id_)]
    assert pages.parse_cursor(cursor) == (at, id_)


@given(st.text())
def test_any_other_text_is_refused_or_harmless(text: str) -> None:
    try:
        found = pages.parse_cursor(text)
    except InvalidError:
        return
    assert found is not None
    assert found[1].isalnum()


def test_the_last_page_has_no_cursor() -> None:
    assert pages.cut([Item(1, "a")], 1) == ([Item(1, "a")], None)
    with pytest.raises(InvalidError):
        pages.parse_cursor("")
