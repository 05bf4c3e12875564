"""What is wrong with a job, in words: field, reason, nearest known name."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from runyard.protocol.specs import SPEC_CLASSES

SHOWN_CHARACTERS = 80
NEVER_SHOWN = {"password", "old", "new", "value"}
"""Fields that hold what nobody is to read, in an answer or a log."""
SHORT_FORM_ERRORS = {"model_type", "model_attributes_type", "dict_type"}


class Problem(BaseModel):
    """One thing that is wrong. `line` counts from 1 in the file that holds it, where there is one."""

    message: str
    field: str | None = None
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.field, self.message) if part)


def spec_problems(error: ValidationError, kind: str | None) -> list[Problem]:
    """Each error of a job spec as a sentence; for an unknown field the nearest known one is named."""
    return problems(error.errors(include_url=False), SPEC_CLASSES.get(kind or ""))


def problems(errors: Iterable[Any], spec_class: type[BaseModel] | None = None) -> list[Problem]:
    """Pydantic's error details as sentences."""
    return [_problem(details, spec_class) for details in errors]


def _problem(details: Any, spec_class: type[BaseModel] | None) -> Problem:
    location = [part for part in details["loc"] if part not in SPEC_CLASSES]
    field = ".".join(str(part) for part in location) or None
    match details["type"]:
        case "extra_forbidden":
            return Problem(field=field, message=_unknown_field(location, spec_class))
        case "missing":
            return Problem(field=field, message="is required")
        case "union_tag_invalid" | "union_tag_not_found":
            return Problem(field="kind", message=f"must be one of: {', '.join(SPEC_CLASSES)}")
        case kind if kind in SHORT_FORM_ERRORS:
            return Problem(field=field, message="must be a section of fields, such as `field: value`")
        case "value_error":
            return Problem(field=field, message=str(details["ctx"]["error"]))
    given = details["input"]
    may_be_shown = isinstance(given, str | int | float | bool) and not NEVER_SHOWN & set(map(str, location))
    shown = f" (got {_short(given)})" if may_be_shown else ""
    return Problem(field=field, message=f"{details['msg'][:1].lower()}{details['msg'][1:]}{shown}")


def _short(value: str | float) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        return "a very long number"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _unknown_field(location: Sequence[str | int], spec_class: type[BaseModel] | None) -> str:
    section = _section(location[:-1], spec_class)
    if section is None:
        return "unknown field"
    known = list(section.model_fields)
    if near := get_close_matches(str(location[-1]), known, n=1, cutoff=0.5):
        return f"unknown field; did you mean {near[0]}?"
    return f"unknown field; known here: {', '.join(known)}"


def _section(path: Sequence[str | int], spec_class: type[BaseModel] | None) -> type[BaseModel] | None:
    for part in path:
        if spec_class is None or part not in spec_class.model_fields:
            return None
        spec_class = _model_in(spec_class.model_fields[str(part)].annotation)
    return spec_class


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        return next((m for m in map(_model_in, get_args(annotation)) if m), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
