"""Reads canonical form 1 back, from its description alone: what can be read back is the form of one question only."""

import struct
from collections.abc import Sequence
from typing import Any


class Reader:
    """Reads item after item."""

    def __init__(self, form: bytes) -> None:
        self._form = form
        self._at = 0

    def take(self, count: int) -> bytes:
        assert self._at + count <= len(self._form), "the form ends inside an item"
        self._at += count
        return self._form[self._at - count : self._at]

    def item(self) -> Any:
        """Return the next value; of a large one, its tag, length and digest; of a list, its tag and how many follow."""
        tag = self.take(1)
        if tag == b"n":
            return None
        if tag in b"iud":
            return struct.unpack({b"i": "<q", b"u": "<Q", b"d": "<d"}[tag], self.take(8))[0]
        if tag == b"b":
            return struct.unpack("<?", self.take(1))[0]
        length = int.from_bytes(self.take(8), "little")
        if tag == b"a":
            return struct.unpack(f"<{length}q", self.take(8 * length))
        if tag == b"l":
            return "list", length
        if tag in b"SX":
            return tag, length, self.take(32)
        assert tag in b"sx", f"{tag!r} is no tag"
        content = self.take(length)
        return content.decode() if tag == b"s" else content

    def list(self, each: int) -> Sequence[Any]:
        """Return a list whose elements are of so many items."""
        name, count = self.item()
        assert name == "list"
        return [tuple(self.item() for _ in range(each)) for _ in range(count)]

    def end(self) -> None:
        assert self._at == len(self._form), "bytes follow the last item"


def read_form(form: bytes) -> tuple[Any, ...]:
    """Return everything that a form says, in its order."""
    reader = Reader(form)
    assert reader.take(1) == b"\1", "the number of the form"
    kind = reader.take(1)
    read: list[Any] = [kind, reader.item(), reader.item(), reader.item()]
    if kind == b"G":
        first = reader.item()
        if isinstance(first, tuple) and first[0] == "list":
            read.append([(reader.item(), reader.item()) for _ in range(first[1])])
        else:
            read.append(first)
        read += [reader.item() for _ in range(12)]
        read.append([text for (text,) in reader.list(1)])
        read.append(reader.item())
        read.append(reader.list(2))
        format_kind = reader.item()
        read.append(None if format_kind is None else (format_kind, reader.item()))
    elif kind == b"T":
        read += [reader.list(4), reader.list(2)]
    else:
        assert kind == b"E"
        read += [reader.item(), [text for (text,) in reader.list(1)]]
    reader.end()
    return tuple(read)
