"""YAML to plain values, with the line of every field.

YAML 1.2 rules for plain words: `1e-4` is a number, `no` and `off` are text, `2024-01-01` is text, `010` is ten.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runyard.protocol.problems import Problem

Path = tuple[str | int, ...]
MOST_NODES = 10_000
DEEPEST = 20
TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """Reads nodes only; no value is ever built from a tag that a file names."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


WORDS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
}


class Dumper(yaml.SafeDumper):
    """Puts text in quotes that any version of YAML reads as something else: `no` and `1e4`."""


for word, pattern in WORDS.items():
    for way in (Loader, Dumper):
        way.add_implicit_resolver(TAG + word, re.compile(f"(?:{pattern})$"), None)


class YamlError(ValueError):
    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass
class Document:
    """`lines` holds the line, counted from 1, of every field's name and every list entry."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of a field, or of the innermost section around it that is in the file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def parse(text: str) -> Document:
    """Raises YamlError with the line when the text is not YAML, names a field twice, or grows without bounds."""
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"not text: character #x{error.character:04x} is not allowed in YAML", line) from None
    except RecursionError:
        raise YamlError("nested too deeply", 1) from None
    return _Builder().document(node)


def written(value: Any, width: int = 100) -> str:
    """What `parse` reads as this value."""
    text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def parse_value(text: str) -> Any:
    """One value as it would be read behind `field: `."""
    return parse(text).value


def _syntax_error(error: yaml.MarkedYAMLError) -> YamlError:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "can't be read"
    if "'\\t'" in what:
        what = "a tab can't indent a line; use spaces"
    elif error.context and what.startswith("but "):
        what = f"{error.context}, {what}"
    elif error.context and error.problem:
        what = f"{what} {error.context}"
    where = f" (column {mark.column + 1})" if mark else ""
    return YamlError(f"not valid YAML{where}: {what}", mark.line + 1 if mark else None)


class _Builder:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.count = 0

    def document(self, node: Node | None) -> Document:
        if node is None:
            return Document(None)
        self.lines[()] = node.start_mark.line + 1
        return Document(self._value(node, ()), self.lines)

    def _value(self, node: Node, path: Path) -> Any:
        # Counted as expanded, so that aliases inside aliases can't fill the memory.
        self.count += 1
        if self.count > MOST_NODES:
            raise YamlError(f"more than {MOST_NODES} values once aliases (*name) are filled in", _line(node))
        if len(path) > DEEPEST:
            raise YamlError("nested too deeply", _line(node))
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode(tag=tag) if tag == TAG + "seq":
                return [self._entry(child, (*path, i)) for i, child in enumerate(node.value)]
            case ScalarNode():
                return _scalar(node)
        raise YamlError(f"the tag {_tag(node)} is not allowed here", _line(node))

    def _mapping(self, node: MappingNode, path: Path) -> Mapping[str, Any]:
        if node.tag != TAG + "map":
            raise YamlError(f"the tag {_tag(node)} is not allowed here", _line(node))
        mapping: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, ScalarNode):
                raise YamlError("a field name must be a word", _line(key))
            name = key.value
            if name in mapping:
                first = self.lines[*path, name]
                raise YamlError(f"the field {name} is given twice (first in line {first})", _line(key))
            self.lines[*path, name] = _line(key)
            mapping[name] = self._value(child, (*path, name))
        return mapping

    def _entry(self, node: Node, path: Path) -> Any:
        self.lines[path] = _line(node)
        return self._value(node, path)


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    try:
        match node.tag.removeprefix(TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            case "float":
                return float(text)
    except ValueError:
        raise YamlError(f"{text!r} is not what its tag {_tag(node)} says", _line(node)) from None
    raise YamlError(f"the tag {_tag(node)} is not allowed here", _line(node))


def _tag(node: Node) -> str:
    return str(node.tag).replace(TAG, "!!")


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def problem(error: YamlError, file: str) -> Problem:
    return Problem(message=error.message, file=file, line=error.line)
