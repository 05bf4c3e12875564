"""What must not be shown is covered wherever it stands, and nothing else changes."""

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.masks import Mask

PLAIN = "hf_hunter2hunter2"
ODD = 'pa"ss\\wörd/+ %'
LINES = "-----BEGIN KEY-----\nMIIEpAIBAAKC\nabc\nq8Zr/+xY==\n-----END KEY-----\n"

WAYS: tuple[Callable[[str], str], ...] = (
    str,
    repr,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(json.dumps(text)),
    lambda text: quote(text, safe=""),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text * 3,
    lambda text: "".join(f"stderr: {line}\n" for line in text.splitlines()),
)


@pytest.mark.parametrize("value", [PLAIN, ODD, LINES])
@pytest.mark.parametrize("written", WAYS)
def test_it_is_covered_in_whatever_form_it_is_written(value: str, written: Callable[[str], str]) -> None:
    text = written(value)
    hidden = Mask.of([value]).hide(f"<{text}>".encode())
    assert len(hidden) == len(f"<{text}>".encode())
    assert hidden.startswith(b"<")
    assert hidden.endswith(b">")
    assert not any(line.strip().encode() in hidden for line in value.splitlines() if len(line) >= 6)
    assert hidden.count(b"\n") == text.encode().count(b"\n"), "lines stay lines"


def test_what_is_beside_it_stays() -> None:
    assert Mask.of([PLAIN]).hide_text(f"token={PLAIN}, step=3") == f"token={'*' * len(PLAIN)}, step=3"


def test_two_that_overlap_are_both_covered() -> None:
    assert (
        Mask.of(["abcdef123", "123456xyz", "aaaaaa"]).hide(b"-abcdef123456xyz-aaaaaaaa-")
        == b"-***************-********-"
    )


def test_without_anything_to_hide_nothing_is_hidden() -> None:
    assert not Mask()
    assert not Mask.of(["short"])
    assert Mask().hide(b"anything") == b"anything"


def test_where_nobody_knows_what_to_hide_it_is_everything() -> None:
    mask = Mask(everything=True)
    assert mask
    assert mask.hide(b"one\r\ntwo\n") == b"***\r\n***\n"


def test_texts_and_names_within_json_are_covered_and_numbers_stay() -> None:
    found = Mask.of([PLAIN]).hide_all({PLAIN: [1, None, {"a": f"x{PLAIN}"}], "half": "\ud800"})
    assert found == {"*" * len(PLAIN): [1, None, {"a": "x" + "*" * len(PLAIN)}], "half": "\ud800"}


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(min_value=1, max_value=40))
def test_a_part_is_covered_as_the_whole_when_its_surroundings_are_known(before: bytes, after: bytes, size: int) -> None:
    mask = Mask.of([PLAIN, ODD])
    text = before + PLAIN.encode() + ODD.encode() + after
    whole = mask.hide(text)
    for start in range(0, len(text), size):
        known = max(0, start - mask.reach)
        part = mask.hide(text[known : start + size + mask.reach])[start - known :][:size]
        assert part == whole[start : start + size]
