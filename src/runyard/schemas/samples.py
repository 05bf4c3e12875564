"""Answers of a language model to the same prompts."""

from pydantic import BaseModel, ConfigDict


class SamplePrompt(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    index: int
    prompt: str
    wanted: str | None
    """What the data have as the answer."""


class SampleAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    step: int
    """0 is the base model."""
    index: int
    """Of the prompt."""
    answer: str
    truncated: bool
    """It did not end by itself."""


class Samples(BaseModel):
    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    prompts: list[SamplePrompt]
    steps: list[int]
    """Those that are in `answers`, the base model's 0 first."""
    answers: list[SampleAnswer]
    """By step and prompt."""
