"""Which other files an ONNX model names: read from its Protobuf bytes, before ONNX Runtime follows any of them.

Only the fields that lead to a tensor are followed; weights are skipped, not read. Field numbers are those of
onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from scheduler.errors import ModelUnusable

MAX_DEPTH = 64
"""Graphs inside graphs, counted in messages; real models stay under 30."""

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, TRAINING = range(8)

CHILDREN = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    TENSOR: {},
    SPARSE: {1: TENSOR, 2: TENSOR},
    FUNCTION: {7: NODE},
    TRAINING: {1: GRAPH, 2: GRAPH},
}
"""By kind of message: the fields that lead on, and to what."""

EXTERNAL_DATA = 13
"""In a tensor: repeated pairs of strings; the value of the key `location` is a path."""

OP_TYPE = 4
"""In a node: the operator's name."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def external_locations(model: Path) -> set[str]:
    """Return every location that a tensor of the model names, as it stands there.

    Raises ModelUnusable when the file is not an ONNX model, is damaged, or holds precompiled code.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found: set[str] = set()
            try:
                if not _walk(data, 0, len(data), MODEL, 0, found):
                    raise ModelUnusable(f"{model.name} is not an ONNX model: it has no graph")
            except (IndexError, ValueError) as error:
                raise ModelUnusable(f"{model.name} is not an ONNX model, or it is damaged: {error}")
            return found
    except ValueError:
        raise ModelUnusable(f"{model.name} is empty")
    except OSError as error:
        raise ModelUnusable(f"{model.name} cannot be read: {error.strerror}")


def _walk(data: mmap.mmap, start: int, end: int, kind: int, depth: int, found: set[str]) -> bool:
    """Follow one message; tell whether it has any of the fields that lead on."""
    if depth > MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    children = CHILDREN[kind]
    led_on = False
    for field, first, last in _fields(data, start, end):
        child = children.get(field)
        if child is not None:
            led_on = True
            _walk(data, first, last, child, depth + 1, found)
        elif kind == TENSOR and field == EXTERNAL_DATA:
            key, value = _pair(data, first, last)
            if key == b"location":
                found.add(value.decode("utf-8"))
        elif kind == NODE and field == OP_TYPE and data[first:last] == b"EPContext":
            raise ModelUnusable("the model holds precompiled code (EPContext), which is not accepted")
    return led_on


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each length-delimited field."""
    at = start
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("a field is longer than the message around it")
            yield tag >> 3, at, at + length
            at += length
        elif wire == VARINT:
            _, at = _varint(data, at)
        elif wire == FIXED64:
            at += 8
        elif wire == FIXED32:
            at += 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
    if at != end:
        raise ValueError("a field is longer than the message around it")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Read a number of at most ten bytes; return it and where the next field begins."""
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than ten bytes at byte {at}")


def _pair(data: mmap.mmap, start: int, end: int) -> tuple[bytes, bytes]:
    """Read a StringStringEntryProto; of a repeated field the last counts, as in Protobuf."""
    pair = {1: b"", 2: b""}
    for field, first, last in _fields(data, start, end):
        pair[field] = data[first:last]
    return pair[1], pair[2]
