"""What an ONNX model asks for, read from its Protobuf bytes before ONNX Runtime sees it: which other files it names,
whose operators it wants, how large and how deep its graphs are.

Only the fields that lead to a tensor are followed; weights are skipped, not read.
"""

import mmap
from dataclasses import dataclass, field
from pathlib import Path

from inference.onnx_messages import (
    CHILDREN,
    FUNCTION,
    MODEL,
    NODE,
    NODE_NAME,
    OP_DOMAIN,
    OP_TYPE,
    TENSOR,
    fields,
)
from scheduler.errors import ModelUnusable

MAX_DEPTH = 64
"""Graphs inside graphs, counted in messages; real models stay under 30."""
MAX_NODES = 250_000
"""Of all graphs of a model; those of the largest language models have 20,000."""
MAX_BYTES = (1 << 31) - 1
"""What a Protobuf message may have; weights beside it are not in it."""

DOMAINS = frozenset(
    (b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft", b"com.microsoft.nchwc", b"com.ms.internal.nhwc")
)
"""Those that ONNX Runtime's packages have operators for. Others are in libraries that are never loaded here."""

EXTERNAL_DATA = 13
"""In a tensor: repeated pairs of strings; the value of the key `location` is a path."""

FUNCTION_DOMAIN = 10
"""In a function: where its name is known."""


@dataclass(slots=True)
class _Found:
    """What was seen of a model so far."""

    locations: set[str] = field(default_factory=set)
    nodes: int = 0
    foreign: dict[bytes, str] = field(default_factory=dict)
    """Domains of operators that ONNX Runtime does not have, with the first node of each."""
    functions: set[bytes] = field(default_factory=set)
    """Domains of functions that the model brings along."""
    operators: set[bytes] = field(default_factory=set)
    """The operators of all nodes, wherever they are."""


def external_locations(model: Path) -> set[str]:
    """Return every location that a tensor of the model names, as it stands there.

    Raises ModelUnusable when the file is not an ONNX model, is damaged, too large or nested too deeply, holds
    precompiled code, or wants operators that ONNX Runtime does not have.
    """
    return _read(model).locations


def operators(model: Path) -> frozenset[str]:
    """Return the names of a model's operators, those of its functions and inner graphs too. Raises as
    `external_locations` does.
    """
    return frozenset(name.decode(errors="replace") for name in _read(model).operators)


def _read(model: Path) -> _Found:
    """Follow a whole model. Raises ModelUnusable."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > MAX_BYTES:
                raise ModelUnusable(
                    f"{model.name} has {len(data)} bytes: a model has less than 2 GiB beside its weights"
                )
            found = _Found()
            try:
                if not _walk(data, 0, len(data), MODEL, 0, found):
                    raise ModelUnusable(f"{model.name} is not an ONNX model: it has no graph")
            except (IndexError, ValueError) as error:
                raise ModelUnusable(f"{model.name} is not an ONNX model, or it is damaged: {error}")
    except ValueError:
        raise ModelUnusable(f"{model.name} is empty")
    except OSError as error:
        raise ModelUnusable(f"{model.name} cannot be read: {error.strerror}")
    for domain in found.foreign.keys() - found.functions:
        raise ModelUnusable(
            f"{model.name}: {found.foreign[domain]} is of the domain {domain.decode(errors='replace')!r}, "
            "whose operators ONNX Runtime does not have"
        )
    return found


def _walk(data: mmap.mmap, start: int, end: int, kind: int, depth: int, found: _Found) -> bool:
    """Follow one message; tell whether it has any of the fields that lead on."""
    if depth > MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    children = CHILDREN[kind]
    led_on = False
    for number, first, last in fields(data, start, end):
        child = children.get(number)
        if child is not None:
            led_on = True
            _walk(data, first, last, child, depth + 1, found)
        elif kind == NODE:
            if number == OP_TYPE:
                found.operators.add(operator := data[first:last])
                if operator == b"EPContext":
                    raise ModelUnusable("the model holds precompiled code (EPContext), which is not accepted")
            if number == OP_DOMAIN and (domain := data[first:last]) not in DOMAINS:
                found.foreign.setdefault(domain, _described(data, start, end))
        elif kind == TENSOR and number == EXTERNAL_DATA:
            key, value = _pair(data, first, last)
            if key == b"location":
                found.locations.add(value.decode("utf-8"))
        elif kind == FUNCTION and number == FUNCTION_DOMAIN:
            found.functions.add(data[first:last])
    if kind == NODE:
        found.nodes += 1
        if found.nodes > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES} nodes")
    return led_on


def _described(data: mmap.mmap, start: int, end: int) -> str:
    """Return a node for messages: its operator, and its name if it has one."""
    texts = {NODE_NAME: "", OP_TYPE: ""}
    for number, first, last in fields(data, start, end):
        if number in texts:
            texts[number] = data[first:last].decode(errors="replace")
    return f"node {texts[NODE_NAME]!r} ({texts[OP_TYPE]})" if texts[NODE_NAME] else f"a node {texts[OP_TYPE]}"


def _pair(data: mmap.mmap, start: int, end: int) -> tuple[bytes, bytes]:
    """Read a StringStringEntryProto; of a repeated field the last counts, as in Protobuf."""
    pair = {1: b"", 2: b""}
    for number, first, last in fields(data, start, end):
        pair[number] = data[first:last]
    return pair[1], pair[2]
