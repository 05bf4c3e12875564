"""What is sealed opens with the same key at the same place, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.services.sealing import SealError, seal, unseal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLACE = "secret", "main", "HF_TOKEN"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_can_be_opened(text: str) -> None:
    assert unseal(KEY, seal(KEY, text, *PLACE), *PLACE) == text


def test_the_text_is_not_in_it_and_the_same_text_never_looks_the_same() -> None:
    sealed = [seal(KEY, "hunter2-hunter2", *PLACE) for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert not any(b"hunter2" in one for one in sealed)


@pytest.mark.parametrize(
    "place", [("secret", "other", "HF_TOKEN"), ("secret", "main", "OTHER"), ("run", "main", "HF_TOKEN"),
              ("secret", "mainHF", "_TOKEN"), ("secret", "main\0HF_TOKEN",)],
)  # fmt: skip
def test_moved_to_another_place_it_stays_closed(place: tuple[str, ...]) -> None:
    with pytest.raises(SealError, match="another place"):
        unseal(KEY, seal(KEY, "hunter2", *PLACE), *place)


def test_another_key_is_told_from_a_changed_text() -> None:
    with pytest.raises(SealError, match=r"another key than that in secret\.key"):
        unseal(OTHER, seal(KEY, "hunter2", *PLACE), *PLACE)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_every_changed_byte_is_noticed(place: int, change: int) -> None:
    sealed = bytearray(seal(KEY, "hunter2", *PLACE))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(SealError):
        unseal(KEY, bytes(sealed), *PLACE)


@given(st.binary(max_size=60))
def test_anything_else_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(SealError):
        unseal(KEY, data, *PLACE)


def test_a_key_that_is_cut_off_is_no_key() -> None:
    with pytest.raises(SealError, match="too short"):
        seal(KEY[:16], "hunter2", *PLACE)
