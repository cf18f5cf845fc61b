"""Do the inputs of a request fit their model: every fault found at once, each naming the input and what was expected.

Whatever follows from names, datatypes and shapes is worked out once for each combination that occurs, and remembered.
"""

from collections.abc import Sequence
from math import prod
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from scheduler.errors import FieldFault, InvalidInput
from services.gateway.input_validation import ELEMENT_BYTES, MAX_NAME, MAX_RANK, MAX_TENSORS, bytes_fault
from services.gateway.kserve import contents
from services.gateway.kserve.parameters import refuse_shared_memory
from services.gateway.kserve.port import Port
from services.gateway.kserve.served import MOST_LAYOUTS, Served, TensorLayout
from services.gateway.validation import MAX_FAULTS

Layout = tuple[TensorLayout, ...]
LAYS_ELEMENTS: Final = -1
"""In place of a number of bytes: the elements of BYTES say themselves how long they are."""


def layout_of(request: ModelInferRequest) -> Layout:
    """Return what identifies the form of a request. Raises InvalidInput for more inputs than any model has."""
    inputs = request.inputs
    if len(inputs) > MAX_TENSORS:
        raise InvalidInput.of("inputs", f"must be at most {MAX_TENSORS}, are {len(inputs)}")
    return tuple([TensorLayout(each.name, each.datatype, tuple(each.shape[:])) for each in inputs])


def elements_of(served: Served, request: ModelInferRequest, layout: Layout) -> list[bytes]:
    """Return the elements of each input, little-endian, after all about them was checked. Raises InvalidInput."""
    sizes = served.layouts.get(layout)
    if sizes is None:
        sizes = _checked(served, layout)
    raws = request.raw_input_contents[:]
    inputs = request.inputs
    if not raws:
        return [_typed(tensor, index) for index, tensor in enumerate(inputs)]
    if len(raws) != len(sizes):
        fault = f"there must be one for each of {len(sizes)} inputs, there are {len(raws)}"
        raise InvalidInput.of("raw_input_contents", fault)
    for tensor, raw, size in zip(inputs, raws, sizes, strict=True):
        if len(raw) != size or tensor.parameters or tensor.HasField("contents"):
            _look_closer(request, layout, raws, sizes)
            break
    return raws


def _typed(tensor: ModelInferRequest.InferInputTensor, index: int) -> bytes:
    at = f"inputs[{index}]"
    if tensor.parameters:
        refuse_shared_memory(tensor.parameters, at, f"input '{tensor.name}'")
    return contents.raw_of(tensor, at)


def _look_closer(
    request: ModelInferRequest, layout: Layout, raws: Sequence[bytes], sizes: Sequence[int]
) -> None:
    """Check the elements of every input, and where they are."""
    faults = []
    for index, (tensor, raw, size) in enumerate(zip(request.inputs, raws, sizes, strict=True)):
        name = tensor.name
        refuse_shared_memory(tensor.parameters, f"inputs[{index}]", f"input '{name}'")
        if tensor.HasField("contents"):
            fault = f"input '{name}' has contents, but the elements of inputs are in raw_input_contents"
            faults.append(FieldFault(f"inputs[{index}].contents", fault))
        fault = ""
        if size == LAYS_ELEMENTS:
            fault = bytes_fault(raw, prod(layout[index].shape))
        elif len(raw) != size:
            fault = f"must be {size} bytes long for its shape, is {len(raw)}"
        if fault:
            faults.append(FieldFault(f"raw_input_contents[{index}]", f"input '{name}' {fault}"))
    if faults:
        raise InvalidInput(faults[:MAX_FAULTS])


def _checked(served: Served, layout: Layout) -> tuple[int, ...]:
    """Return the bytes that each input must have, and remember them. Raises InvalidInput with every fault found."""
    faults = _form_faults(layout) or _model_faults(served, layout)
    if faults:
        raise InvalidInput(faults[:MAX_FAULTS])
    sizes = tuple(
        prod(each.shape) * ELEMENT_BYTES[each.datatype] if each.datatype != "BYTES" else LAYS_ELEMENTS
        for each in layout
    )
    if len(served.layouts) >= MOST_LAYOUTS:
        served.layouts.clear()
    served.layouts[layout] = sizes
    return sizes


def _form_faults(layout: Layout) -> list[FieldFault]:
    """Say what would be wrong with any model."""
    faults = []
    seen = set()
    for index, (name, datatype, shape) in enumerate(layout):
        at = f"inputs[{index}]"
        if not 1 <= len(name) <= MAX_NAME:
            faults.append(FieldFault(f"{at}.name", f"must be 1 to {MAX_NAME} characters long"))
            continue
        if name in seen:
            faults.append(FieldFault(f"{at}.name", f"input '{name}' is there twice"))
        seen.add(name)
        if datatype != "BYTES" and datatype not in ELEMENT_BYTES:
            known = ", ".join([*ELEMENT_BYTES, "BYTES"])
            faults.append(FieldFault(f"{at}.datatype", f"of input '{name}' must be one of {known}"))
        if len(shape) > MAX_RANK:
            fault = f"of input '{name}' must have at most {MAX_RANK} dimensions, has {len(shape)}"
            faults.append(FieldFault(f"{at}.shape", fault))
        elif shape and min(shape) < 0:
            fault = f"of input '{name}' must have no negative dimension, is {brackets(shape)}"
            faults.append(FieldFault(f"{at}.shape", fault))
    return faults


def _model_faults(served: Served, layout: Layout) -> list[FieldFault]:
    """Say what is wrong with this model. A model whose runner has told nothing of it yet takes anything: what does not
    fit is refused by the runner.
    """
    model = served.name
    ports = {port.name: port for port in served.inputs}
    if not ports:
        return []
    faults = []
    for index, (name, datatype, shape) in enumerate(layout):
        at = f"inputs[{index}]"
        port = ports.get(name)
        if port is None:
            fault = f"unexpected input '{name}' for model '{model}'. Expected {', '.join(ports)}"
            faults.append(FieldFault(f"{at}.name", fault))
            continue
        if datatype != port.datatype:
            fault = (
                f"unexpected datatype for input '{name}' for model '{model}'. "
                f"Expected {port.datatype}, got {datatype}"
            )
            faults.append(FieldFault(f"{at}.datatype", fault))
        if not _fits(shape, port):
            fault = (
                f"unexpected shape for input '{name}' for model '{model}'. "
                f"Expected {brackets(port.shape)}, got {brackets(shape)}"
            )
            faults.append(FieldFault(f"{at}.shape", fault))
        elif served.max_rows and not 1 <= shape[0] <= served.max_rows:
            fault = (
                f"unexpected batch of input '{name}' for model '{model}'. "
                f"Expected 1 to {served.max_rows}, got {shape[0]}"
            )
            faults.append(FieldFault(f"{at}.shape", fault))
    given = {each.name for each in layout}
    for port in served.inputs:
        if port.name not in given and not port.optional:
            expected = f"{port.datatype}{brackets(port.shape)}"
            fault = f"input '{port.name}' is missing for model '{model}'. Expected {expected}"
            faults.append(FieldFault("inputs", fault))
    return faults


def _fits(shape: Sequence[int], port: Port) -> bool:
    return len(shape) == len(port.shape) and all(
        want in (-1, have) for want, have in zip(port.shape, shape, strict=True)
    )


def brackets(shape: Sequence[int]) -> str:
    """Return a shape as people write it."""
    return f"[{','.join(map(str, shape))}]"
