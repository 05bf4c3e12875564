"""Places in texts, and values put into them.

A place is `${NAME}`, or `${NAME:-default}`; `$${` stands for `${` itself. Alone in its text it becomes a value of any
type; within a longer one it becomes text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from runyard.domain import yamlfile
from runyard.protocol.problems import Problem

NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
PLACE = re.compile(
    rf'\$\$\{{|\$\{{(?P<name>{NAME})(?P<has_default>:-(?P<default>(?:"(?:[^"\\]|\\.)*"|[^"{{}}])*))?\}}|\$\{{'
)
"""An escaped sign, a place, or one that is not closed or has no name. A default in quotes may hold braces."""
MOST_BYTES = 1_000_000
TEXTS = re.compile(r"name|command|(args|env|command)\..*", re.DOTALL)
"""Fields that are text, whatever a value looks like: words and variables of a program, and what people call a job."""
NOTHING = ("", "~", "null", "Null", "NULL")
"""All else that YAML reads as nothing is a comment to it."""


def value_of(text: str) -> Any:
    """A number, a truth value, null, a text in quotes or a list, as in YAML; anything else is the text itself."""
    plain = text.strip()
    try:
        value = yamlfile.parse_value(plain)
    except yamlfile.YamlError:
        return text
    if isinstance(value, str):
        return value if plain[0] in "'\"" else text
    if isinstance(value, dict | list):
        has_aliases = "&" in plain and "*" in plain  # a short text that means a long one
        return value if plain[0] in "{[" and not has_aliases else text
    return text if value is None and plain not in NOTHING else value


class Filling:
    """Puts values into a spec, as far as the result does not grow without bounds."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {name: value_of(value) if isinstance(value, str) else value for name, value in values.items()}
        self.sizes = {name: len(json.dumps(value)) for name, value in self.values.items()}
        self.texts = {name: _as_text(value, values[name]) for name, value in self.values.items()}
        self.left = MOST_BYTES
        self.problems: list[Problem] = []

    def take(self, value: Any, path: str) -> Any:
        match value:
            case str():
                return self._text(value, path)
            case Mapping():
                return {key: self.take(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
            case list():
                return [self.take(item, f"{path}.{number}") for number, item in enumerate(value)]
        return value

    def _text(self, text: str, path: str) -> Any:
        whole = PLACE.fullmatch(text)
        if whole and whole["name"] in self.values and not self._is_text(whole["name"], path):
            return self.values[whole["name"]] if self._fits(whole["name"], path) else None
        return PLACE.sub(lambda place: self._within(place, path), text)

    def _is_text(self, name: str, path: str) -> bool:
        value = self.values[name]
        return TEXTS.fullmatch(path) is not None and isinstance(value, str | bool | int | float)

    def _within(self, place: re.Match[str], path: str) -> str:
        name = place["name"]
        if name is None:
            return "${"
        if name not in self.values:
            return place[0]
        if (text := self.texts[name]) is None:
            message = f"is no single value, and {name} stands within the text of {path}"
            self.problems.append(Problem(field=f"values.{name}", message=message))
        return text or "" if self._fits(name, path) else ""

    def _fits(self, name: str, path: str) -> bool:
        before, self.left = self.left, self.left - self.sizes[name]
        if before >= 0 > self.left:
            message = f"makes the job larger than {MOST_BYTES} bytes, in {path}"
            self.problems.append(Problem(field=f"values.{name}", message=message))
        return self.left >= 0


def _as_text(value: Any, given: Any) -> str | None:
    """How a value looks within a text: a number as it was written. None for what is no single value."""
    match value:
        case dict() | list():
            return None
        case str():
            return value
        case None:
            return ""
    return given.strip() if isinstance(given, str) else json.dumps(value)


def as_default(value: Any) -> str:
    """Raises ValueError for what can't be written as one."""
    if isinstance(value, str) and value_of(value) == value and not re.search(r'[{}"]', value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    if value_of(text) != value or not PLACE.fullmatch(f"${{X:-{text}}}"):
        raise ValueError("its value is a section or too long: choose a field within it")
    return text
