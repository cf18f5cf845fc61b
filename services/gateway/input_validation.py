"""Rules for the tensors that a model is given. Called by `validation.py` for every submitted task; those for
generations, which runners check again, are in `inference/rules`.

The gateway checks what holds for any model; whether an input fits its model is the runner's to say. Functions add
(relative field path, fault) pairs to a list, so that a valid input costs no formatting at all.
"""

from math import prod
from typing import Final

from forebay.tasks.v1 import inputs_pb2

Faults = list[tuple[str, str]]

MAX_TENSORS: Final = 1024
MAX_NAME: Final = 256
MAX_RANK: Final = 32
_CHECKED_ELEMENTS: Final = 4096

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
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Bytes of one element of the datatypes of fixed size; BYTES is the one that has none."""


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
            if fault := bytes_fault(tensor.raw, elements):
                faults.append((f"tensors.tensors[{index}].raw", fault))
        else:
            known = ", ".join([*ELEMENT_BYTES, "BYTES"])
            faults.append((f"tensors.tensors[{index}].datatype", f"must be one of {known}"))


def bytes_fault(raw: bytes, elements: int, most: int = _CHECKED_ELEMENTS) -> str:
    """Say what is wrong with the bytes of a BYTES tensor; of more than `most` elements only whether it can be right."""
    if elements * 4 > len(raw):
        return f"must be at least {elements * 4} bytes long for its shape, is {len(raw)}"
    if elements > most:
        return ""
    at = 0
    for _ in range(elements):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
    return "" if at == len(raw) else "must be elements, each after its length as 4 little-endian bytes"
