"""Inputs and outputs as a configuration declares them."""

import math
from collections.abc import Sequence

from forebay.compat.kserve import model_config_pb2 as pb
from inference.engine import Signature
from inference.repository.configuration import Configuration, Report
from inference.repository.data_files import Unreadable, read_labels
from inference.repository.definition import InputDefinition, OutputDefinition
from inference.repository.outline import FieldPath

_BY_TYPE = {
    number: "BYTES" if name == "TYPE_STRING" else name.removeprefix("TYPE_")
    for name, number in pb.DataType.items()
    if number != pb.TYPE_INVALID
}
TYPES = {name: number for number, name in _BY_TYPE.items()}
"""KServe's name of an element type -> the configuration's."""


def inputs_of(configuration: Configuration, report: Report) -> tuple[InputDefinition, ...]:
    """Return the declared inputs. Raises ModelUnusable with the place."""
    found: list[InputDefinition] = []
    for index, one in enumerate(configuration.message.input):
        at: FieldPath = ("input", index)
        if one.allow_ragged_batch and not configuration.message.max_batch_size:
            where = configuration.at((*at, "allow_ragged_batch"))
            report(f"{where}: allow_ragged_batch has no effect without max_batch_size")
        found.append(
            InputDefinition(
                signature=_signature(configuration, at, one, [each.signature.name for each in found]),
                optional=one.optional,
                ragged=one.allow_ragged_batch,
                reshape=_reshape(configuration, at, one),
                place=configuration.at(at),
            )
        )
    return tuple(found)


def outputs_of(configuration: Configuration) -> tuple[OutputDefinition, ...]:
    """Return the declared outputs with their labels. Raises ModelUnusable with the place."""
    found: list[OutputDefinition] = []
    for index, one in enumerate(configuration.message.output):
        at: FieldPath = ("output", index)
        labels: tuple[str, ...] = ()
        if one.label_filename:
            try:
                labels = read_labels(configuration.file.parent, one.label_filename)
            except Unreadable as error:
                raise configuration.fault((*at, "label_filename"), f"labels cannot be read from {error}")
        found.append(
            OutputDefinition(
                signature=_signature(configuration, at, one, [each.signature.name for each in found]),
                labels=labels,
                reshape=_reshape(configuration, at, one),
                place=configuration.at(at),
            )
        )
    return tuple(found)


def datatype_of(configuration: Configuration, at: FieldPath, number: "pb.DataType.ValueType") -> str:
    """Return KServe's name of an element type. Raises ModelUnusable with the place where there is none."""
    name = _BY_TYPE.get(number)
    if name is None:
        raise configuration.fault(
            (*at, "data_type"), "an element type is missing: data_type, for example TYPE_FP32"
        )
    return name


def dims_of(
    configuration: Configuration, at: FieldPath, dims: Sequence[int], *, free: bool = True
) -> tuple[int, ...]:
    """Return lengths; -1 for any only where they may be `free`. Raises ModelUnusable with the place."""
    for index, length in enumerate(dims):
        if length < 1 and not (free and length == -1):
            expected = "1 or more, or -1 for any" if free else "1 or more"
            raise configuration.fault((*at, index), f"a length is {expected}, not {length}")
    return tuple(dims)


def _signature(
    configuration: Configuration, at: FieldPath, one: pb.ModelInput | pb.ModelOutput, names: Sequence[str]
) -> Signature:
    if not one.name:
        raise configuration.fault(at, f"an {at[0]} has no name")
    if one.name in names:
        raise configuration.fault((*at, "name"), f"{at[0]} {one.name!r} is there twice")
    if not one.dims:
        raise configuration.fault(at, f"{at[0]} {one.name!r} has no dims; a single element is dims: [ 1 ]")
    datatype = datatype_of(configuration, at, one.data_type)
    return Signature(one.name, datatype, dims_of(configuration, (*at, "dims"), one.dims))


def _reshape(
    configuration: Configuration, at: FieldPath, one: pb.ModelInput | pb.ModelOutput
) -> tuple[int, ...] | None:
    """Return the other shape, which must have as many elements and as many free lengths."""
    if not one.HasField("reshape"):
        return None
    shape = dims_of(configuration, (*at, "reshape", "shape"), one.reshape.shape)
    if _elements(shape) != _elements(one.dims):
        raise configuration.fault(
            (*at, "reshape"), f"{list(shape)} has not as many elements as dims {list(one.dims)}"
        )
    return shape


def _elements(dims: Sequence[int]) -> tuple[int, int]:
    return math.prod(length for length in dims if length != -1), list(dims).count(-1)
