"""One run of several requests: how their arrays become one, and each gets back its part. Pure functions.

Ragged inputs are padded with zeros, or empty strings, at the end, to the longest of the run. In dimensions of outputs
to which the model gives the name of a ragged one of its inputs (`interface.OutputPort.cut`) each request gets its own
length back; with outputs that may be as long without saying so, lengths are not mixed (`fitting.py`).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from inference.engine import Array, SequencePlace, Signature
from inference.tensor.interface import InputPort, OutputPort
from inference.tensor.shapes import Shape
from scheduler.states import Level

if TYPE_CHECKING:
    from inference.tensor.sequences import StateSequence

Names = tuple[str, ...]

ALONE: Final = 0
"""The bucket of what cannot share a run."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What matters of a request's shapes. Computed once for each combination of shapes that occurs."""

    bucket: int
    """Requests of one bucket can share a run, except in ALONE."""
    rows: int
    """Length of the first dimension; 1 where that is no batch dimension."""
    names: Names
    """The inputs that it has, in the model's order."""
    own: tuple[tuple[str, Shape], ...] = ()
    """Inputs whose shape the model wants to be another, with that shape."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Of ragged dimensions, by their names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outputs a request wants, and how."""

    names: Names
    classes: Mapping[str, int]
    """Of outputs that are to be classified: how many of the highest values of a row."""


@dataclass(slots=True, eq=False)
class Item:
    """One admitted request."""

    key: str
    inputs: Mapping[str, Array]
    """In the shapes that the model takes."""
    layout: Layout
    bucket: Hashable
    """The layout's, and where state decides too, that."""
    level: Level = Level.NORMAL
    came_s: float = 0.0
    wanted: Wanted | None = None
    """None for all outputs as they are."""
    number: int = 0
    """Among all that wait: what came earlier has the lower one. 0 while it does not wait."""
    place: SequencePlace | None = None
    sequence: "StateSequence | None" = None


def can_share(inputs: Sequence[Signature], outputs: Sequence[Signature]) -> bool:
    """Tell whether a model's inputs and outputs all have a first dimension of any length."""
    return bool(inputs and outputs) and all(
        signature.shape and signature.shape[0] == -1 for signature in (*inputs, *outputs)
    )


def join(batch: Sequence[Item], ragged: Sequence[InputPort] = ()) -> dict[str, Array]:
    """Return the arrays to run: those of a single request as they are, of several one after the other."""
    names = batch[0].layout.names
    if len(batch) == 1:
        inputs = batch[0].inputs
        return {name: inputs[name] for name in names}
    columns = {name: [item.inputs[name] for item in batch] for name in names}
    for port in ragged:
        name = port.signature.name
        if name in columns:
            columns[name] = _padded(columns[name], port)
    return {name: np.concatenate(column) for name, column in columns.items()}


def _padded(column: list[Array], port: InputPort) -> list[Array]:
    longest = {axis: max(array.shape[axis] for array in column) for axis, _ in port.ragged}
    padded = []
    for array in column:
        shape = tuple(longest.get(axis, length) for axis, length in enumerate(array.shape))
        if shape == array.shape:
            padded.append(array)
            continue
        whole: Array = np.zeros(shape, array.dtype)
        if array.dtype.hasobject:
            whole.fill(b"")
        whole[tuple(map(slice, array.shape))] = array
        padded.append(whole)
    return padded


def split(batch: Sequence[Item], outputs: Sequence[Array], names: Names) -> list[dict[str, Array]] | None:
    """Give each request its rows of the outputs, as views.

    Returns None when an output has not one row for each row of input: then the model's rows are not requests.
    """
    if len(batch) == 1:
        return [dict(zip(names, outputs, strict=True))]
    rows = [item.layout.rows for item in batch]
    total = sum(rows)
    for output in outputs:
        if output.ndim == 0 or output.shape[0] != total:
            return None
    if len(names) == 1 and total == len(batch) == rows.count(1):
        name, output = names[0], outputs[0]
        return [{name: output[at : at + 1]} for at in range(total)]
    parts: list[dict[str, Array]] = []
    start = 0
    for count in rows:
        end = start + count
        parts.append({name: output[start:end] for name, output in zip(names, outputs, strict=True)})
        start = end
    return parts


def cut(array: Array, port: OutputPort, lengths: Mapping[str, int]) -> Array:
    """Take the padding's part off a request's output."""
    slices = [slice(None)] * array.ndim
    for axis, name in port.cut:
        if axis < array.ndim:
            slices[axis] = slice(lengths.get(name))
    return array[tuple(slices)]
