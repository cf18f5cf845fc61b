"""Does a request fit a model's inputs: every fault found at once, each naming the input, what was expected and got."""

from collections.abc import Collection, Mapping, Sequence

from inference.engine import Array, Signature
from inference.tensor.datatypes import name_of
from scheduler.errors import FieldFault

FIELD = "tensors.tensors"
"""Where a task's tensors are, as a path inside TaskSpec."""


def faults_of(
    inputs: Mapping[str, Array], expected: Sequence[Signature], optional: Collection[str] = ()
) -> list[FieldFault]:
    """Compare a request's arrays, in the order in which the client sent them, with the model's inputs, of which those
    named in `optional` need not be there.

    Returns no fault when the model can be given these arrays.
    """
    known = {signature.name: signature for signature in expected}
    faults: list[FieldFault] = []
    for index, (name, array) in enumerate(inputs.items()):
        signature = known.get(name)
        field = f"{FIELD}[{index}]"
        if signature is None:
            names = ", ".join(known)
            faults.append(FieldFault(f"{field}.name", f"the model has no input {name!r}; expected {names}"))
            continue
        if (datatype := name_of(array)) != signature.datatype:
            got = datatype or str(array.dtype)
            fault = f"input {name!r} expects {signature.datatype}, got {got}"
            faults.append(FieldFault(f"{field}.datatype", fault))
        elif fault := _text_fault(name, array):
            faults.append(FieldFault(f"{field}.raw", fault))
        if fault := _shape_fault(name, array.shape, signature.shape):
            faults.append(FieldFault(f"{field}.shape", fault))
    missing = [
        signature for signature in expected if signature.name not in inputs and signature.name not in optional
    ]
    faults.extend(
        FieldFault(FIELD, f"input {signature.name!r} is missing; expected {describe(signature)}")
        for signature in missing
    )
    return faults


def describe(signature: Signature) -> str:
    """Return datatype and shape as people write them, for example FP32[-1,4]."""
    return f"{signature.datatype}{_brackets(signature.shape)}"


def _shape_fault(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(got) != len(expected):
        wanted = f"rank {len(expected)} {_brackets(expected)}"
        return f"input {name!r} expects {wanted}, got rank {len(got)} {_brackets(got)}"
    if any(want not in (-1, have) for want, have in zip(expected, got, strict=True)):
        return f"input {name!r} expects shape {_brackets(expected)}, got {_brackets(got)}"
    return ""


def _text_fault(name: str, array: Array) -> str:
    """ONNX strings are UTF-8; elements of BYTES that are not cannot be given to a model."""
    if not array.dtype.hasobject:
        return ""
    elements: list[object] = array.ravel().tolist()
    for index, element in enumerate(elements):
        if not isinstance(element, bytes):
            return f"input {name!r} expects bytes, and element {index} is {type(element).__name__}"
        try:
            element.decode("utf-8")
        except UnicodeDecodeError:
            return f"input {name!r} expects UTF-8, and element {index} is not"
    return ""


def _brackets(shape: Sequence[int]) -> str:
    return f"[{','.join(str(dimension) for dimension in shape)}]"
