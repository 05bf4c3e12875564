"""A commented job file, written from the spec classes so that it can't say anything else than they do."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runyard.cli import output
from runyard.protocol.specs import SPEC_CLASSES

EXAMPLE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
EXAMPLE_DATA = "train.jsonl"
EXAMPLE_FILE = "train.py"


def job_file(kind: str, *, model: str | None = None, data: str | None = None, file: str | None = None) -> str:
    """A job file of a kind: what is required is filled in, all else stands there with its default, commented out.

    `model`, `data` and `file` replace the examples, in the kinds that have them.
    """
    values: dict[tuple[str, ...], str] = {
        ("model", "name"): model or EXAMPLE_MODEL,
        ("data", "train"): data or EXAMPLE_DATA,
        ("file",): file or EXAMPLE_FILE,
    }
    spec = SPEC_CLASSES[kind]
    return "\n".join([*_heading(spec), f"kind: {kind}", *_section(spec, (), values), ""])


def _heading(spec: type[BaseModel]) -> Iterator[str]:
    yield f"# {(spec.__doc__ or '').strip()}"
    if "data" in spec.model_fields:
        yield "# Remove a # to change a default; null is chosen from machine and data, and the choice is printed."
        yield "# Then runyard validate and runyard preview check it; runyard train or runyard submit runs it."
    else:
        yield "# Remove a # to change a default. Then runyard validate checks it; runyard train or submit runs it."


def _section(spec: type[BaseModel], path: tuple[str, ...], values: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    indent = "  " * len(path)
    after_section = False
    for name, field in spec.model_fields.items():
        inner = field.annotation
        if name == "kind":
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield f"\n{indent}{name}:"
            yield from _section(inner, (*path, name), values)
            after_section = True
            continue
        if after_section:
            yield ""
            after_section = False
        if field.description:
            yield from (f"{indent}# {line}" for line in textwrap.wrap(field.description, output.WIDTH))
        value = values.get((*path, name))
        if value is not None:
            yield f"{indent}{name}: {json.dumps(value) if _needs_quotes(value) else value}"
        else:
            yield f"{indent}# {name}: {_default(field)}{_choices(inner)}"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return default if isinstance(default, str) else json.dumps(default)


def _needs_quotes(value: str) -> bool:
    return value.strip() != value or any(character in value for character in ":#'\"{}[],&*!|>%@`\\\n")


def _choices(annotation: Any) -> str:
    """The other words that are possible, as a comment."""
    if get_origin(annotation) is not Literal:
        arms = [arm for arm in get_args(annotation) if arm is not NoneType]
        if len(arms) != 1:
            return ""
        annotation = arms[0]
    words = get_args(annotation) if get_origin(annotation) is Literal else ()
    return f"    # {', '.join(words)}" if len(words) > 1 else ""
