"""Jobs with places to fill in: where `${NAME}` stands in a spec, and what it becomes.

What a place looks like, and how it is filled, is told in `filling`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runyard.domain import dotted, filling
from runyard.domain.cures import Change
from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem
from runyard.protocol.specs import SPEC_CLASSES
from runyard.protocol.specs.language import long_form

DEEPEST = 20
MOST_BYTES = 100_000
MOST_VARIABLES = 50
MOST_VALUES = 10_000

Path = tuple[str | int, ...]


@dataclass
class Variable:
    """What is to be filled in, and in which fields of the spec it stands. Without a default it has to be given."""

    name: str
    default: str | None = None
    """As written, to be read as any other value."""
    description: str | None = None
    fields: list[str] = field(default_factory=list)


def variables(spec: Mapping[str, Any]) -> list[Variable]:
    """Those that stand in a spec, in their order. Raises InvalidError for places and specs that can't be used."""
    problems = list(_unusable(spec))
    _refuse(problems)
    found: dict[str, Variable] = {}
    for path, text in _texts(spec):
        problems += _note(found, ".".join(map(str, path)), text)
    if len(found) > MOST_VARIABLES:
        problems.append(Problem(message=f"has {len(found)} variables: {MOST_VARIABLES} at most"))
    _refuse(problems)
    return list(found.values())


def fill(spec: Mapping[str, Any], known: Mapping[str, Variable], values: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with every place filled in. Texts among the values are read as in YAML, so that `5` is a number.

    Raises InvalidError, with a problem for each value that is missing, unknown, or does not fit where it stands.
    """
    _refuse([*_unknown(known, values), *_missing(known, values)])
    return _filled(spec, {name: variable.default for name, variable in known.items()} | dict(values))


def sample(spec: Mapping[str, Any], known: Mapping[str, Variable]) -> dict[str, Any]:
    """The spec with defaults; a value that has none stands there as its place."""
    values = {name: variable.default for name, variable in known.items() if variable.default is not None}
    return _filled(spec, values)


def with_variables(spec: Mapping[str, Any], resolved: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    """The spec of a job, its texts as they are, with a variable in each of the wanted fields and its value as default.

    `resolved` has the values of fields that were left out. Raises InvalidError.
    """
    changed: dict[str, Any] = _escaped(spec)
    problems = []
    for name, path in wanted.items():
        try:
            *sections, last = path.split(".")
            value = _at(spec, path, _at(resolved, path, KeyError))
            section = changed
            for part in sections:
                section = section.setdefault(part, {})
            section[last] = f"${{{name}:-{filling.as_default(value)}}}"
        except (KeyError, AttributeError, TypeError):
            problems.append(Problem(field=f"variables.{name}", message=f"the job has no field {path[:100]!r}"))
        except ValueError as error:
            problems.append(Problem(field=f"variables.{name}", message=str(error)))
    _refuse(problems)
    return changed


def concerned(known: Mapping[str, Variable], path: str) -> list[str]:
    """The variables that stand in a field, in a part of it, or around it."""
    return [
        name
        for name, variable in known.items()
        if any(_within(path, place) or _within(place, path) for place in variable.fields)
    ]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Field by field, in the order of the fields."""
    old, new = dict(dotted.flat(long_form(before))), dict(dotted.flat(long_form(after)))
    return [Change(path, old.get(path), new.get(path)) for path in {**old, **new} if old.get(path) != new.get(path)]


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise InvalidError("the template can't be used", problems=problems)


def _filled(spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    at_work = filling.Filling(values)
    filled: dict[str, Any] = at_work.take(spec, "")
    _refuse(at_work.problems)
    return filled


def _unusable(spec: Mapping[str, Any]) -> Iterator[Problem]:
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in SPEC_CLASSES:
        yield Problem(field="kind", message=f"must be one of: {', '.join(SPEC_CLASSES)}")
    for count, (path, value) in enumerate(_nodes(spec, ())):
        if count > MOST_VALUES or len(path) > DEEPEST:
            yield Problem(message=f"holds more than {MOST_VALUES} values, or is nested deeper than {DEEPEST} levels")
            return
        is_name = bool(path) and not _storable(path[-1])
        if is_name or not _storable(value):
            shown = path[:-1] if is_name else path
            yield Problem(field=".".join(map(str, shown)), message="holds characters that are no text")
            return
    if len(json.dumps(spec)) > MOST_BYTES:
        yield Problem(message=f"is larger than {MOST_BYTES} bytes")


def _storable(value: Any) -> bool:
    text = value if isinstance(value, str) else ""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _nodes(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if len(path) <= DEEPEST:
        for key, item in _items(value):
            yield from _nodes(item, (*path, key))


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    match value:
        case Mapping():
            yield from value.items()
        case list():
            yield from enumerate(value)


def _texts(spec: Any) -> Iterator[tuple[Path, str]]:
    return ((path, value) for path, value in _nodes(spec, ()) if isinstance(value, str))


def _note(found: dict[str, Variable], path: str, text: str) -> Iterator[Problem]:
    for place in filling.PLACE.finditer(text):
        if place[0] == "${":
            yield Problem(
                field=path, message="has ${ without a name and } behind it: ${NAME}, ${NAME:-default}, or $${"
            )
            return
        if place["name"] is None:
            continue
        variable = found.setdefault(place["name"], Variable(place["name"]))
        if path not in variable.fields:
            variable.fields.append(path)
        if place["has_default"] and variable.default not in (None, place["default"]):
            yield Problem(field=path, message=f"gives {variable.name} another default than {variable.fields[0]} does")
        if place["has_default"]:
            variable.default = place["default"]


def _unknown(known: Mapping[str, Variable], values: Mapping[str, Any]) -> Iterator[Problem]:
    for name in values:
        if name not in known:
            there = f"it has: {', '.join(known)}" if known else "it has none"
            yield Problem(field=f"values.{name[:64]}", message=f"the template has no such variable; {there}")


def _missing(known: Mapping[str, Variable], values: Mapping[str, Any]) -> Iterator[Problem]:
    for name, variable in known.items():
        if variable.default is None and name not in values:
            yield Problem(field=f"values.{name}", message=f"is required: it stands in {', '.join(variable.fields)}")


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return value.replace("${", "$${")
        case Mapping():
            return {key: _escaped(item) for key, item in value.items()}
        case list():
            return [_escaped(item) for item in value]
    return value


def _at(spec: Any, path: str, otherwise: Any) -> Any:
    """The value of a field; raises KeyError where there is neither that nor another."""
    for part in path.split("."):
        if not isinstance(spec, Mapping) or part not in spec:
            if otherwise is KeyError:
                raise KeyError(path)
            return otherwise
        spec = spec[part]
    return spec


def _within(path: str, around: str) -> bool:
    return not around or path == around or path.startswith(f"{around}.")
