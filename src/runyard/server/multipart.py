"""A form with one file, written to its place while it arrives: the framework's own parser would write it twice."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem
from runyard.services.uploads import Incoming

BATCH_BYTES = 1 << 20
MOST_FIELD_BYTES = 4096
MOST_PARTS = 20
"""Parts of a form; ours has two."""


class Form:
    """What the parser's callbacks have seen: the bytes of the file not yet written, and the short fields."""

    def __init__(self, open_file: Callable[[str], Incoming]) -> None:
        self._open_file = open_file
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._field = ""
        self._parts = 0
        self._in_file = False
        self.incoming: Incoming | None = None
        self.pending = bytearray()
        self.fields: dict[str, bytes] = {}
        self.complete = False

    def on_part_begin(self) -> None:
        self._parts += 1
        self._header = self._value = self._disposition = b""
        if self._parts > MOST_PARTS:
            raise _invalid("the form has too many parts")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode(errors="replace")
        self._in_file = self._field == "file" and b"filename" in options
        if not self._in_file:
            self.fields.setdefault(self._field, b"")
        elif self.incoming is None:
            self.incoming = self._open_file(options[b"filename"].decode(errors="replace"))
        else:
            raise _invalid("the form has more than one file: send one at a time")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.pending += data[start:end]
            return
        self.fields[self._field] += data[start:end]
        if len(self.fields[self._field]) > MOST_FIELD_BYTES:
            raise _invalid(f"the field is longer than {MOST_FIELD_BYTES} bytes", self._field[:100])

    def on_end(self) -> None:
        self.complete = True

    async def write_pending(self) -> None:
        if self.incoming is not None and self.pending:
            pieces, self.pending = bytes(self.pending), bytearray()
            await asyncio.to_thread(self.incoming.write, pieces)


async def receive_file(request: Request, open_file: Callable[[str], Incoming], stack: ExitStack) -> Incoming:
    """The finished file of a form's field `file`, named by its field `name` where there is one.

    Raises InvalidError, TooLargeError and NoRoomError. The file is in the caller's care from its first byte on.
    """
    form = Form(lambda name: stack.enter_context(open_file(name)))
    parser = _parser(request.headers.get("content-type", ""), form)
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            if len(form.pending) >= BATCH_BYTES:
                await form.write_pending()
        parser.finalize()
    except FormParserError as error:
        raise _invalid(f"the form can't be read: {error}") from None
    except ClientDisconnect:
        raise _invalid("the upload broke off") from None
    if form.incoming is None or not form.complete:
        raise _invalid("is required: send the file as multipart/form-data", "file")
    await form.write_pending()
    name = form.fields.get("name", b"").decode(errors="replace").strip()
    await asyncio.to_thread(form.incoming.finish, name or None)
    return form.incoming


def _parser(content_type: str, form: Form) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise _invalid("is required: send the file as multipart/form-data", "file")
    return MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": form.on_part_begin,
            "on_header_field": form.on_header_field,
            "on_header_value": form.on_header_value,
            "on_header_end": form.on_header_end,
            "on_headers_finished": form.on_headers_finished,
            "on_part_data": form.on_part_data,
            "on_end": form.on_end,
        },
    )


def _invalid(message: str, field: str | None = None) -> InvalidError:
    return InvalidError("the upload can't be used", problems=[Problem(field=field, message=message)])
