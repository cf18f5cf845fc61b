"""What a model with state is given beside what clients send: the state of each call's sequence, and controls.

A control says to the model that a call is the first or the last of its sequence, that there is a call at all, or which
sequence it is of.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from inference.engine import Array
from inference.repository.definition import ControlInput, ControlKind, Sequences, StateDefinition
from inference.tensor.batching import Item, Names
from inference.tensor.datatypes import DATATYPES, to_bfloat16
from inference.tensor.model import Model
from inference.tensor.shapes import Shape, dynamic, fits
from scheduler.errors import ModelUnusable

_IDS: Final = ("UINT64", "INT64", "UINT32", "INT32", "BYTES")


class States:
    """State and controls of one model, as arrays. Knows no sequences."""

    def __init__(self, model: Model, definition: Sequences, *, batched: bool) -> None:
        """Raises ModelUnusable with everything in which model and configuration do not fit."""
        self._states = definition.states
        self._batched = batched
        own = {signature.name: signature for signature in (*model.inputs, *model.outputs)}
        faults: list[str] = []
        front = (-1,) if batched else ()
        for state in self._states:
            for name in (state.input, state.output):
                if own[name].datatype != state.datatype or not fits((*front, *state.shape), own[name].shape):
                    told = f"{state.datatype}{list(state.shape)}"
                    faults.append(f"{_at(state)}state {name!r} is told to be {told}, and is not in the model")
        for control in definition.controls:
            if own[control.name].datatype != control.datatype:
                faults.append(
                    f"{_at(control)}control {control.name!r} is not {control.datatype} in the model"
                )
            elif control.kind is ControlKind.ID and control.datatype not in _IDS:
                faults.append(f"{_at(control)}an id is one of {', '.join(_IDS)}, not {control.datatype}")
        if faults:
            raise ModelUnusable(f"the configuration does not fit the model: {'; '.join(faults)}")
        self._controls = [(control, own[control.name].shape) for control in definition.controls]
        self.outputs: Names = tuple(state.output for state in self._states)
        """What a run must give."""
        self.vary: Names = tuple(state.input for state in self._states if dynamic(state.shape))
        """States whose shapes may differ between sequences: those with the same can share a run."""
        self.initial: Mapping[str, Array] = {state.input: _initial(state, batched) for state in self._states}
        """What every sequence begins with."""

    def id_fault(self, sequence: str) -> str:
        """Say what is wrong with an id that the model cannot be told; empty when nothing is."""
        for control, _ in self._controls:
            if control.kind is not ControlKind.ID or control.datatype == "BYTES":
                continue
            limits = np.iinfo(control.datatype.lower())
            digits = sequence.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 21):
                return "the model takes numbers as ids of sequences"
            if not limits.min <= int(sequence) <= limits.max:
                return f"the model takes ids of sequences from {limits.min} to {limits.max}"
        return ""

    def feeds(self, states: Sequence[Mapping[str, Array]], batch: Sequence[Item]) -> dict[str, Array]:
        """Return the model's inputs for calls with these states before them, one row each where it has rows."""
        feeds: dict[str, Array] = {}
        for state in self._states:
            column = [each[state.input] for each in states]
            feeds[state.input] = column[0] if len(column) == 1 else np.concatenate(column)
        for control, shape in self._controls:
            feeds[control.name] = self._control(control, shape, batch)
        return feeds

    def parts(self, outputs: Mapping[str, Array], calls: int) -> list[dict[str, Array]]:
        """Return the state after each call of a run. Copies: a sequence must not keep the others' memory."""
        if not self._batched or calls == 1:
            return [{state.input: outputs[state.output] for state in self._states}]
        return [
            {state.input: outputs[state.output][at : at + 1].copy() for state in self._states}
            for at in range(calls)
        ]

    def _control(self, control: ControlInput, own: Shape, batch: Sequence[Item]) -> Array:
        values = [_value(control, item) for item in batch]
        inner = own[1:] if self._batched else own
        shape = (len(batch) if self._batched else 1, *(1 if length == -1 else length for length in inner))
        column = _array(control.datatype, values).reshape(-1, *[1] * len(inner))
        whole = np.broadcast_to(column, shape).copy()
        return whole if self._batched else whole[0]


def _at(one: StateDefinition | ControlInput) -> str:
    return f"{one.place}: " if one.place else ""


def _initial(state: StateDefinition, batched: bool) -> Array:
    shape = tuple(1 if length == -1 else length for length in state.shape)
    initial = state.initial
    if initial is None:
        initial = np.zeros(shape, DATATYPES[state.datatype].dtype)
        if initial.dtype.hasobject:
            initial.fill(b"")
    return initial[None] if batched else initial


def _value(control: ControlInput, item: Item) -> float | int | bytes:
    place = item.place
    assert place is not None, "the call of a sequence"
    if control.kind is ControlKind.ID:
        return place.id.encode() if control.datatype == "BYTES" else int(place.id)
    holds = {ControlKind.START: place.start, ControlKind.END: place.end, ControlKind.READY: True}
    return control.on if holds[control.kind] else control.off


def _array(datatype: str, values: Sequence[float | int | bytes]) -> Array:
    if datatype == "BF16":
        return to_bfloat16(np.array(values, np.float32))
    array: Array = np.empty(len(values), DATATYPES[datatype].dtype)
    array[:] = values
    return array
