"""Values that nobody is to read, found in what is shown and covered with stars: lengths and line ends stay."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

SHORTEST = 6
"""Characters: shorter ones would be found everywhere."""
COVERED = re.compile(rb"[^\r\n]")


@dataclass(frozen=True)
class Mask:
    """`forms` are what is covered; with `everything` it is all there is, where nobody can tell what must not be shown.

    The forms of a value are the value itself, each of its lines, and both as JSON, Python and addresses write them.
    """

    forms: tuple[bytes, ...] = ()
    everything: bool = False

    @classmethod
    def of(cls, values: Iterable[str]) -> Self:
        found = {form.encode(errors="replace") for value in values for text in _texts(value) for form in _forms(text)}
        return cls(tuple(sorted(found)))

    def __bool__(self) -> bool:
        return self.everything or bool(self.forms)

    @property
    def reach(self) -> int:
        """So many bytes before and after a place decide what is covered there."""
        return max((len(form) - 1 for form in self.forms), default=0)

    def hide(self, data: bytes) -> bytes:
        if self.everything:
            return COVERED.sub(b"*", data)
        hidden = bytearray(data)
        for form in self.forms:
            done, start = 0, data.find(form)
            while start >= 0:
                end = start + len(form)
                begin = max(done, start)
                hidden[begin:end] = COVERED.sub(b"*", data[begin:end])
                done, start = end, data.find(form, start + 1)
        return bytes(hidden)

    def hide_text(self, text: str) -> str:
        return self.hide(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def hide_all(self, value: Any) -> Any:
        """Every text in a JSON value, names too."""
        match value:
            case str():
                return self.hide_text(value)
            case list():
                return [self.hide_all(item) for item in value]
            case dict():
                return {self.hide_text(name): self.hide_all(item) for name, item in value.items()}
        return value


def _texts(value: str) -> Iterator[str]:
    """A value of several lines is seldom shown as it is: each line may be indented, or have something before it."""
    yield value
    yield value.replace("\n", "\r\n")
    yield from (line.strip() for line in value.splitlines())


def _forms(text: str) -> Iterator[str]:
    if len(text) < SHORTEST:
        return
    in_json = json.dumps(text)[1:-1]
    yield from (text, in_json, json.dumps(in_json)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield from (repr(text)[1:-1], quote(text, safe=""), quote(text))
