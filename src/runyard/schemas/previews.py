"""What a job would learn from."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class Piece(NamedTuple):
    """A stretch of text whose tokens are all trained, or all not."""

    text: str
    trained: bool


class PreviewExample(BaseModel):
    """A row as the model will see it; of a preference pair, one answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    title: str
    """Such as `row 3, chosen`."""
    pieces: list[Piece]
    tokens: int
    trained_tokens: int
    truncated: bool
    """It was cut at `training.max_length`."""


class Preview(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    rows: int
    """All that can be used."""
    dropped: int
    """Those that can't."""
    shape: str
    examples: list[PreviewExample]
    sample_rows: int
    """So many of the first rows are what the share and the warnings are of."""
    trained_share: float
    """Trained tokens to all tokens, 0 to 1."""
    warnings: list[str]
