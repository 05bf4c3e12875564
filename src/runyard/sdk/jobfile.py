"""A job file to a job spec: every problem with its file, line and field."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runyard.domain import yamlfile
from runyard.protocol.problems import Problem, spec_problems
from runyard.protocol.specs import SPEC_CLASSES, Spec, job_spec
from runyard.protocol.specs.language import long_form
from runyard.sdk.errors import JobFileError

MOST_BYTES = 1 << 20
UPLOADED = "dataset:"
PATH_FIELDS = (
    *(("model", "name"), ("data", "train"), ("data", "eval")),
    *(("file",), ("workdir",), ("python",)),
)
FILE_SUFFIXES = frozenset({".jsonl", ".json", ".csv", ".parquet", ".gguf", ".safetensors"})


def load(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """The spec in a file, changed by overrides such as `training.max_steps=5`.

    Relative paths start at the file's folder. Raises JobFileError with every problem found.
    """
    return parse(read(path), path.absolute().parent, file=str(path), overrides=overrides)


def parse(text: str, folder: Path, *, file: str = "job", overrides: Sequence[str] = ()) -> Spec:
    """The spec in a text; `file` is its name in problems, `folder` where relative paths start."""
    try:
        document = yamlfile.parse(text)
    except yamlfile.YamlError as error:
        raise JobFileError([yamlfile.problem(error, file)]) from None
    if not isinstance(document.value, dict):
        found = "is empty" if document.value is None else "holds no fields"
        raise JobFileError([Problem(file=file, line=1, message=f"the job file {found}; see `runyard init sft`")])
    source = _Source(file, document)
    value = source.override(document.value, overrides)
    return source.absolute_paths(source.check(value), folder)


def from_dict(value: Mapping[str, Any], folder: Path) -> Spec:
    """A spec from plain values, checked like a file; relative paths start at `folder`."""
    source = _Source(None, yamlfile.Document(value))
    return source.absolute_paths(source.check(dict(value)), folder)


class _Source:
    """Where values came from, so that a problem can point there."""

    def __init__(self, file: str | None, document: yamlfile.Document) -> None:
        self.file = file
        self.document = document
        self.overridden: dict[yamlfile.Path, str] = {}

    def override(self, value: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
        long = long_form(value)
        for text in overrides:
            option = f"--set {text}"
            name, equals, given = text.partition("=")
            path = tuple(name.strip().split("."))
            if not equals or not all(path):
                raise JobFileError([Problem(file=option, message="must look like training.max_steps=5")])
            try:
                _put(long, path, yamlfile.parse_value(given))
            except yamlfile.YamlError as error:
                raise JobFileError([Problem(file=option, message=error.message)]) from None
            self.overridden[path] = option
            self.document.lines.pop(path, None)
        return long

    def check(self, value: dict[str, Any]) -> Spec:
        # A section whose fields are all commented out reads as null.
        value = {name: given for name, given in value.items() if given is not None}
        try:
            return job_spec.validate_python(value)
        except ValidationError as error:
            kind = value.get("kind")
            problems = spec_problems(error, kind if isinstance(kind, str) else None)
        if kind is None:
            problems = [Problem(field="kind", message=f"is required: one of {', '.join(SPEC_CLASSES)}")]
        placed = [self._placed(problem) for problem in problems]
        raise JobFileError(sorted(placed, key=lambda problem: problem.line or 0)) from None

    def absolute_paths(self, spec: Spec, folder: Path) -> Spec:
        problems: list[Problem] = []
        for field in PATH_FIELDS:
            name = _get(spec, field)
            if name is None:
                continue
            try:
                spec = _replace(spec, field, located(field, name, folder))
            except FileNotFoundError as error:
                problems.append(Problem(field=".".join(field), message=str(error)))
        if problems:
            raise JobFileError([self._placed(problem) for problem in problems])
        return spec

    def _placed(self, problem: Problem) -> Problem:
        path = tuple(int(part) if part.isdigit() else part for part in (problem.field or "").split(".") if part)
        for name, option in self.overridden.items():
            if path and name[: len(path)] == path[: len(name)] and path not in self.document.lines:
                return problem.model_copy(update={"file": option})
        return problem.model_copy(update={"file": self.file, "line": self.document.line(path)})


def located(field: tuple[str, ...], name: str, folder: Path) -> str:
    """What a field names, with its absolute path where that is here; raises FileNotFoundError where it has to be."""
    if name.startswith(UPLOADED) or (field == ("python",) and os.sep not in name):
        return name
    path = os.path.abspath(folder / os.path.expanduser(name))  # a venv's python is a link: it stays one
    if os.path.exists(path):
        return path
    if _is_here(field, name):
        raise FileNotFoundError(f"no such file: {path}")
    return name


def read(path: Path) -> str:
    """Raises JobFileError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise JobFileError([Problem(file=str(path), message="larger than 1 MiB: this is no job file")])
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        message = "no such file; `runyard init sft > job.yaml` writes one"
    except IsADirectoryError:
        message = "is a folder, not a job file"
    except UnicodeDecodeError as error:
        message = f"is not a text file (UTF-8): byte {error.start} can't be read"
    except OSError as error:
        message = f"can't be read: {error.strerror}"
    raise JobFileError([Problem(file=str(path), message=message)])


def _is_here(field: tuple[str, ...], name: str) -> bool:
    """Must this be a file beside the job file? A model without a folder may be one that the server keeps."""
    if name.startswith(("./", "../", "~")):
        return True
    if Path(name).is_absolute():
        return False  # the server may have what is not here
    if len(field) == 1:
        return True
    return Path(name).suffix.lower() in FILE_SUFFIXES and (field[0] == "data" or "/" in name)


def _get(part: Any, path: tuple[str, ...]) -> str | None:
    """None also for a field that this kind of job does not have."""
    for name in path:
        part = getattr(part, name, None)
    return part if isinstance(part, str) else None


def _replace(part: Any, path: tuple[str, ...], value: str) -> Any:
    name, *inner = path
    new = _replace(getattr(part, name), tuple(inner), value) if inner else value
    return part.model_copy(update={name: new})


def _put(value: dict[str, Any], path: tuple[str, ...], new: Any) -> None:
    for part in path[:-1]:
        inner = value.get(part)
        value[part] = dict(inner) if isinstance(inner, dict) else {}
        value = value[part]
    value[path[-1]] = new
