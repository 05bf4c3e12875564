"""A job file and its form: two views of one text. The form is made from the spec's own classes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runyard.domain import dotted, yamlfile
from runyard.domain.yamlfile import YamlError
from runyard.protocol.specs import SPEC_CLASSES
from runyard.protocol.specs.language import SHORT_FORMS, long_form

FIRST = {
    "What": {
        "name": "Name", "model.name": "Model", "data.train": "Data", "file": "Python file", "command": "Command",
        "args": "Arguments", "tags": "Tags",
    },
    "How": {
        "adapter.type": "Method", "adapter.rank": "Rank", "adapter.alpha": "Alpha",
        "training.learning_rate": "Learning rate", "training.batch_size": "Batch", "training.epochs": "Epochs",
        "training.max_steps": "Steps at most", "preference.beta": "Beta", "resumable": "Can be resumed",
    },
    "Where and when": {"priority": "Priority", "resources.gpus": "GPUs"},
}  # fmt: skip
"""What most people set, in its groups, by the word for it; the rest is one click away."""
LABELS = {path: label for group in FIRST.values() for path, label in group.items()}
METHODS = {"lora": "LoRA", "dora": "DoRA", "none": "Full"}
HINTS = {
    "training.batch_size": "Rows in one optimizer step; how they are divided is chosen from the memory",
    "data.train": "An upload (dataset:ID), a file this server may read, or a hub name",
    "model.name": "Hub name, or a folder or GGUF file of this server",
    "adapter.type": "Full trains every weight",
    "name": "From the data or the command unless set",
    "priority": "",
}
RATES = {
    "sft": "Usual: 2e-4 for LoRA, 2e-5 for every weight",
    "dpo": "Usual: 1e-5 for LoRA, 1e-6 for every weight",
}
"""What is chosen for a learning rate that is not set, by kind."""
MOST_SWITCHED = 4
PLAIN_LINE = re.compile(r"^(\s*)([\w.-]+):(\s*)(.*?)(\s+#.*)?$")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")


@dataclass(frozen=True)
class Field:
    """`choices` are the words that are possible; `kind` is text, number, switch or words.

    `group` is where it stands among those that most people set, empty for the rest.
    """

    path: str
    label: str
    kind: Literal["text", "number", "switch", "words"]
    choices: Sequence[str] = ()
    hint: str = ""
    default: str = ""
    group: str = ""

    @property
    def is_switched(self) -> bool:
        """Whether all that may be chosen lies open side by side."""
        return bool(self.group) and 0 < len(self.choices) <= MOST_SWITCHED

    def word(self, choice: str) -> str:
        if self.kind == "switch":
            return "Yes" if choice == "true" else "No"
        if self.path == "adapter.type":
            return METHODS.get(choice, choice)
        return choice.capitalize() if self.group else choice


def fields(kind: str) -> list[Field]:
    """Those that most people set come first, in their order."""
    order = list(LABELS)
    found = [
        replace(field, hint=RATES[kind]) if field.path == "training.learning_rate" else field
        for field in _fields(SPEC_CLASSES[kind], "")
    ]
    first = sorted((field for field in found if field.group), key=lambda field: order.index(field.path))
    return first + [field for field in found if not field.group]


def values(text: str) -> dict[str, str]:
    """What a job file says, by dotted name, as words for fields. Raises YamlError."""
    found = yamlfile.parse(text).value
    if not isinstance(found, Mapping):
        return {}
    return {path: _words(value) for path, value in dotted.flat(long_form(found)) if value not in (None, {})}


def changed(text: str, path: str, value: str) -> str:
    """The text with a field set; an empty value takes it out. Raises YamlError for a text that can't be read.

    A value that stands in a line of its own is changed there, so that comments and order stay.
    """
    document = yamlfile.parse(text)
    held: dict[str, Any] = dict(document.value) if isinstance(document.value, Mapping) else {}
    place = _place(held, path)
    line = document.lines.get(place)
    lines = text.splitlines()
    if (
        value
        and line is not None
        and (match := PLAIN_LINE.match(lines[line - 1]))
        and match[2] == place[-1]
        and match[4]
    ):
        lines[line - 1] = f"{match[1]}{match[2]}: {_scalar(path, value)}{match[5] or ''}"
        return "\n".join(lines) + "\n"
    _set(held, place, _value(path, value) if value else None)
    return yamlfile.written(held)


def _place(held: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Where a field stands: sections have short forms."""
    section, _, field = path.partition(".")
    if SHORT_FORMS.get(section) == field and not isinstance(held.get(section), Mapping):
        return (section,)
    return tuple(path.split("."))


def _set(held: dict[str, Any], place: Sequence[str], value: Any) -> None:
    for name in place[:-1]:
        inner = held.get(name)
        if isinstance(inner, str) and name in SHORT_FORMS:
            inner = {SHORT_FORMS[name]: inner}
        held[name] = inner = dict(inner) if isinstance(inner, Mapping) else {}
        held = inner
    if value is None:
        held.pop(place[-1], None)
    else:
        held[place[-1]] = value


def _value(path: str, value: str) -> Any:
    if "words" in _kinds().get(path, set()):
        return [word.strip() for word in value.split(",") if word.strip()]
    return yamlfile.parse(_scalar(path, value)).value


def _scalar(path: str, value: str) -> str:
    """As it is written in a line: text that would be read as something else in quotes."""
    kinds = _kinds().get(path, set())
    if "words" in kinds:
        return json.dumps([word.strip() for word in value.split(",") if word.strip()], ensure_ascii=False)
    if kinds & {"number", "switch"} and (NUMBER.match(value) or value in ("true", "false")):
        return value
    try:
        read = yamlfile.parse(value).value
    except YamlError:
        read = None
    return value if read == value and ": " not in value and " #" not in value else json.dumps(value, ensure_ascii=False)


def _words(value: Any) -> str:
    """As it stands in a field."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _kinds() -> dict[str, set[str]]:
    """Of fields, over all kinds of jobs."""
    found: dict[str, set[str]] = {}
    for spec in SPEC_CLASSES.values():
        for field in _fields(spec, ""):
            found.setdefault(field.path, set()).add(field.kind)
    return found


def _fields(spec: type[BaseModel], prefix: str) -> Iterator[Field]:
    for name, field in spec.model_fields.items():
        path, inner = f"{prefix}{name}", field.annotation
        if path == "kind":
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{path}.")
            continue
        if (made := _field(path, field)) is not None:
            yield made


def _field(path: str, field: FieldInfo) -> Field | None:
    arms = _arms(field.annotation)
    kind, choices = _kind(arms)
    if kind is None:
        return None
    default = field.get_default(call_default_factory=True)
    shown = "" if default is None or not isinstance(default, str | int | float | bool) else str(default)
    label = LABELS.get(path, path.replace("_", " ").replace(".", " · "))
    hint = HINTS.get(path, field.description or "")
    group = next((name for name, paths in FIRST.items() if path in paths), "")
    return Field(path, label, kind, choices, hint, shown.lower() if isinstance(default, bool) else shown, group)


def _arms(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal or annotation in (str, int, float, bool):
        return [annotation]
    return [arm for arm in get_args(annotation) if arm is not NoneType] or [annotation]


def _kind(arms: Sequence[Any]) -> tuple[Literal["text", "number", "switch", "words"] | None, Sequence[str]]:
    words = next((get_args(arm) for arm in arms if get_origin(arm) is Literal), ())
    if any(arm is bool for arm in arms):
        return "switch", ("true", "false")
    if words and len(arms) == 1:
        return "text", tuple(map(str, words))
    if any(arm in (int, float) for arm in arms):
        return "number", ()
    if any(get_origin(arm) is list for arm in arms) and str not in arms:
        return "words", ()
    if any(get_origin(arm) is dict for arm in arms):
        return None, ()
    return "text", ()
