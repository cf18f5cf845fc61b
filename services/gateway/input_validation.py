"""Rules for what a model is given: generations and tensors. Called by `validation.py` for every submitted task.

The gateway checks what holds for any model; whether an input fits its model is the runner's to say. Functions add
(relative field path, fault) pairs to a list, so that a valid input costs no formatting at all.
"""

from math import isfinite, prod
from typing import Final

from forebay.tasks.v1 import inputs_pb2

Faults = list[tuple[str, str]]

MAX_MESSAGES: Final = 1024
MAX_PARTS: Final = 256
MAX_STOPS: Final = 16
MAX_STOP_BYTES: Final = 1024
MAX_TOKENS: Final = 1 << 20
MAX_TENSORS: Final = 1024
MAX_NAME: Final = 256
MAX_RANK: Final = 32
_CHECKED_ELEMENTS: Final = 4096

ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
ELEMENT_BYTES: Final = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes of one element of the datatypes of fixed size; BYTES is the one that has none."""


def check_generate(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    """Check every field of a generation."""
    kind = generate.WhichOneof("input")
    if kind is None:
        faults.append(("generate.input", "one of prompt and messages is required"))
    elif kind == "prompt":
        if not generate.prompt:
            faults.append(("generate.prompt", "must not be empty"))
    else:
        _check_messages(generate.messages, faults)
    if generate.HasField("max_tokens") and not 1 <= generate.max_tokens <= MAX_TOKENS:
        faults.append(("generate.max_tokens", f"must be 1 to {MAX_TOKENS}, is {generate.max_tokens}"))
    # Comparisons with NaN are false: "not inside" refuses it.
    if generate.HasField("temperature") and not 0 <= generate.temperature <= 2:
        faults.append(("generate.temperature", f"must be 0 to 2, is {_shown(generate.temperature)}"))
    if generate.HasField("top_p") and not 0 < generate.top_p <= 1:
        faults.append(("generate.top_p", f"must be over 0 and at most 1, is {_shown(generate.top_p)}"))
    if generate.HasField("top_k") and generate.top_k < 0:
        faults.append(("generate.top_k", f"must be 0 or more, is {generate.top_k}"))
    if generate.HasField("min_p") and not 0 <= generate.min_p <= 1:
        faults.append(("generate.min_p", f"must be 0 to 1, is {_shown(generate.min_p)}"))
    if generate.stop:
        _check_stops(generate, faults)


def _check_messages(messages: inputs_pb2.ChatMessages, faults: Faults) -> None:
    if not 1 <= len(messages.messages) <= MAX_MESSAGES:
        count = len(messages.messages)
        faults.append(("generate.messages.messages", f"must have 1 to {MAX_MESSAGES} messages, has {count}"))
        return
    for index, message in enumerate(messages.messages):
        path = f"generate.messages.messages[{index}]"
        if message.role not in ROLES:
            faults.append((f"{path}.role", f"must be one of {', '.join(sorted(ROLES))}"))
        if not 1 <= len(message.parts) <= MAX_PARTS:
            faults.append((f"{path}.parts", f"must have 1 to {MAX_PARTS} parts, has {len(message.parts)}"))
            continue
        for number, part in enumerate(message.parts):
            if part.WhichOneof("part") is None:
                faults.append((f"{path}.parts[{number}]", "must have content, for example text"))


def _check_stops(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    if len(generate.stop) > MAX_STOPS:
        faults.append(("generate.stop", f"must have at most {MAX_STOPS} strings, has {len(generate.stop)}"))
        return
    for index, stop in enumerate(generate.stop):
        if not 1 <= len(stop.encode()) <= MAX_STOP_BYTES:
            faults.append((f"generate.stop[{index}]", f"must be 1 to {MAX_STOP_BYTES} bytes long"))


def check_tensors(tensors: inputs_pb2.TensorInput, faults: Faults) -> None:
    """Check names, datatypes, shapes, and that each tensor has the bytes that its shape asks for."""
    count = len(tensors.tensors)
    if not 1 <= count <= MAX_TENSORS:
        faults.append(("tensors.tensors", f"must have 1 to {MAX_TENSORS} tensors, has {count}"))
        return
    names = set()
    for index, tensor in enumerate(tensors.tensors):
        name, shape = tensor.name, tensor.shape
        if not 1 <= len(name) <= MAX_NAME:
            faults.append((f"tensors.tensors[{index}].name", f"must be 1 to {MAX_NAME} characters long"))
        elif name in names:
            faults.append(
                (f"tensors.tensors[{index}].name", "must be different from the other tensors' names")
            )
        names.add(name)
        if len(shape) > MAX_RANK:
            fault = f"must have at most {MAX_RANK} dimensions, has {len(shape)}"
            faults.append((f"tensors.tensors[{index}].shape", fault))
            continue
        elements = prod(shape)
        if shape and min(shape) < 0:
            faults.append((f"tensors.tensors[{index}].shape", "must have no negative dimension"))
            continue
        size = ELEMENT_BYTES.get(tensor.datatype)
        if size is not None:
            if elements * size != len(tensor.raw):
                fault = f"must be {elements * size} bytes long for its shape, is {len(tensor.raw)}"
                faults.append((f"tensors.tensors[{index}].raw", fault))
        elif tensor.datatype == "BYTES":
            if fault := _bytes_fault(tensor.raw, elements):
                faults.append((f"tensors.tensors[{index}].raw", fault))
        else:
            known = ", ".join([*ELEMENT_BYTES, "BYTES"])
            faults.append((f"tensors.tensors[{index}].datatype", f"must be one of {known}"))


def _bytes_fault(raw: bytes, elements: int) -> str:
    """Say what is wrong with the bytes of a BYTES tensor; of a long one, only whether it can be right."""
    if elements * 4 > len(raw):
        return f"must be at least {elements * 4} bytes long for its shape, is {len(raw)}"
    if elements > _CHECKED_ELEMENTS:
        return ""
    at = 0
    for _ in range(elements):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
    return "" if at == len(raw) else "must be elements, each after its length as 4 little-endian bytes"


def _shown(number: float) -> str:
    return f"{number:g}" if isfinite(number) else "not a finite number"
