"""Where each field of a Protobuf text stands, and which ones its message does not have.

The parser of Protobuf says neither: it drops the places, and stops at a field that it does not know. This one reads
the structure only (https://protobuf.dev/reference/protobuf/textformat-spec/), and leaves values and their types to it.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_DEPTH: Final = 32
"""Messages inside messages."""
MAX_TOKENS: Final = 50_000
"""Words, texts and marks; the largest ensemble has 20,000. The parser of Protobuf takes minutes for a million."""

FieldPath = tuple[str | int, ...]
"""Names of fields, each of a repeated one followed by its index: ("input", 0, "dims", 2)."""

_TOKEN: Final = re.compile(
    r"""(?:\s|\#[^\n]*)*(?:
    (?P<word>[A-Za-z_0-9.+-]+)
    |(?P<text>"(?:[^"\n\\]|\\.)*"|'(?:[^'\n\\]|\\.)*')
    |(?P<mark>.)
    |$)""",
    re.VERBOSE,
)
_CLOSING: Final = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; the first line and the first column are 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A field that its message does not have."""

    name: str
    """With the fields that it is in: sequence_batching.iterative_sequence."""
    place: Place


@dataclass(frozen=True, slots=True)
class Outline:
    """The fields of a text."""

    places: dict[FieldPath, Place] = field(default_factory=dict)
    unknown: list[Unknown] = field(default_factory=list)
    keys: dict[FieldPath, str] = field(default_factory=dict)
    """Of entries of maps, as they are written: ("parameters", 2) -> its key."""

    def place(self, path: FieldPath) -> Place:
        """Return where a field stands; of one that is not there, where that which it would be in stands."""
        while path:
            if found := self.places.get(path):
                return found
            path = path[:-1]
        return Place(1, 1)

    def entry(self, path: FieldPath, key: str) -> FieldPath:
        """Return which entry of a map has a key; the map itself when none is written so."""
        for entry, written in self.keys.items():
            if entry[:-1] == path and written == key:
                return entry
        return path


class Malformed(Exception):
    """The text has no structure that could be read."""

    def __init__(self, what: str, place: Place) -> None:
        super().__init__(what)
        self.place = place


def outline_of(text: str, message: Descriptor) -> Outline:
    """Find the fields of a text and of everything in it. Raises Malformed, also when it is nested too deeply."""
    return _Reader(text).read(message)


class _Reader:
    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while (match := _TOKEN.match(text, at)) is not None and match.lastgroup is not None:
            kind = match.lastgroup
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
            if len(self._tokens) > MAX_TOKENS:
                place = Place(bisect_right(self._starts, at), 1)
                raise Malformed(f"there are more than {MAX_TOKENS} words and marks", place)
        self._tokens.append(("end", "", len(text)))
        self._at = 0
        self._outline = Outline()

    def read(self, message: Descriptor) -> Outline:
        self._message(message, (), "", 0)
        return self._outline

    def _message(self, message: Descriptor | None, path: FieldPath, closing: str, depth: int) -> None:
        """Read fields up to a closing mark; `message` is None in a field that is not known."""
        if depth > MAX_DEPTH:
            raise Malformed(f"messages are nested more than {MAX_DEPTH} deep", self._place())
        seen: Counter[str] = Counter()
        while not (self._value in _CLOSING.values() and self._value == closing):
            if self._kind == "end":
                if closing:
                    raise Malformed(f"'{closing}' is missing", self._place())
                return
            place, name = self._place(), self._name()
            known = None if message is None else message.fields_by_name.get(name)
            if message is not None and known is None:
                self._outline.unknown.append(Unknown(_dotted((*path, name)), place))
            if known is not None:
                self._outline.places.setdefault((*path, name), place)
            self._skip(":")
            if self._value == "[" and self._kind == "mark":
                self._list(known, (*path, name), seen, depth)
            else:
                self._one(known, (*path, name), seen, depth)
            if not self._skip(","):
                self._skip(";")
        self._at += 1 if closing else 0

    def _list(self, known: FieldDescriptor | None, path: FieldPath, seen: Counter[str], depth: int) -> None:
        self._at += 1
        while not self._skip("]"):
            self._one(known, path, seen, depth)
            if not self._skip(",") and self._value != "]":
                raise Malformed("expected ',' or ']'", self._place())

    def _one(self, known: FieldDescriptor | None, path: FieldPath, seen: Counter[str], depth: int) -> None:
        """Read one value of a field."""
        place = self._place()
        if known is not None and known.is_repeated:
            name = str(path[-1])
            path = (*path, seen[name])
            seen[name] += 1
            self._outline.places[path] = place
        if self._kind == "mark" and self._value in _CLOSING:
            closing = _CLOSING[self._value]
            self._at += 1
            self._message(known.message_type if known is not None else None, path, closing, depth + 1)
        elif self._kind == "text":
            written = ""
            while self._kind == "text":
                written += self._value[1:-1]
                self._at += 1
            if path[-1] == "key":
                self._outline.keys[path[:-1]] = written
        elif self._kind == "word":
            self._at += 1
        else:
            raise Malformed("expected a value", place)

    def _name(self) -> str:
        if self._kind != "word":
            raise Malformed(f"expected the name of a field, found {self._value!r}", self._place())
        self._at += 1
        return self._tokens[self._at - 1][1]

    @property
    def _kind(self) -> str:
        return self._tokens[self._at][0]

    @property
    def _value(self) -> str:
        return self._tokens[self._at][1]

    def _skip(self, mark: str) -> bool:
        kind, value, _ = self._tokens[self._at]
        if kind != "mark" or value != mark:
            return False
        self._at += 1
        return True

    def _place(self) -> Place:
        at = self._tokens[self._at][2]
        line = bisect_right(self._starts, at)
        return Place(line, at - self._starts[line - 1] + 1)


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(part for part in path if isinstance(part, str))
