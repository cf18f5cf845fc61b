"""The Protobuf messages that an ONNX model is made of: which fields lead to its graphs and nodes, and how to step over
all others without reading them.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import mmap
from collections.abc import Iterator
from typing import Final

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, FUNCTION, TRAINING = range(8)
"""Kinds of messages."""

CHILDREN: Final = {
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

NODE_INPUT, NODE_OUTPUT, NODE_NAME, OP_TYPE, OP_DOMAIN = 1, 2, 3, 4, 7
"""In a node: the names of its inputs and outputs, its own, and the name and the domain of its operator."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each length-delimited field of the message between two places in a file.

    Raises ValueError and IndexError where the bytes are no message.
    """
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
