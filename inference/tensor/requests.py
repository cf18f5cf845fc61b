"""From a request to what waits for a run: checked, laid out, and in the shapes that the model takes.

Whatever follows from shapes alone is worked out once for each combination that occurs, and remembered.
"""

from collections.abc import Mapping
from typing import Any

from inference.engine import Array, TensorRequest, WantedOutput
from inference.tensor.batching import ALONE, Item, Layout, Wanted
from inference.tensor.classification import CLASSIFIED
from inference.tensor.interface import Interface
from inference.tensor.shapes import reshaped
from inference.tensor.state import States
from inference.tensor.validation import FIELD, faults_of
from scheduler.errors import FieldFault, InvalidInput

MAX_LAYOUTS = 4096
"""Combinations of shapes, and of wanted outputs, that are remembered; when there are more, all are forgotten."""

Shapes = tuple[tuple[str, Any, tuple[int, ...]], ...]
Group = tuple[tuple[str, str, tuple[int, ...]], ...]
"""What must be equal to share a run, of each input that is there: name, dtype, and shape without the rows."""


class Requests:
    """Reads the requests of one model."""

    def __init__(self, interface: Interface, states: States | None) -> None:
        self._interface = interface
        self._states = states
        self._share = False
        self._layouts: dict[Shapes, Layout] = {}
        self._wanted: dict[tuple[WantedOutput, ...], Wanted] = {}
        self._buckets: dict[Group, int] = {}
        self._next_bucket = ALONE + 1
        self._signatures = tuple(port.signature for port in interface.inputs)
        self._optional = frozenset(port.signature.name for port in interface.inputs if port.optional)
        self._texts = any(signature.datatype == "BYTES" for signature in self._signatures)
        self._outputs = {port.signature.name: port.signature.datatype for port in interface.outputs}

    @property
    def share(self) -> bool:
        """Whether requests share runs."""
        return self._share

    @share.setter
    def share(self, share: bool) -> None:
        self._share = share
        self._forget_layouts()

    def read(self, key: str, request: TensorRequest, now_s: float) -> Item:
        """Return what waits for a run. Raises InvalidInput with every fault, fields as paths inside TaskSpec."""
        inputs = request.inputs
        shapes = tuple([(name, array.dtype, array.shape) for name, array in inputs.items()])
        layout = self._layouts.get(shapes)
        place = request.sequence
        if layout is None or self._texts or place is not None or self._states is not None:
            layout = self._checked(request, layout, shapes)
        if layout.own:
            inputs = dict(inputs)
            for name, shape in layout.own:
                inputs[name] = inputs[name].reshape(shape)
        wanted = self._wanted_of(request.outputs) if request.outputs else None
        return Item(key, inputs, layout, layout.bucket, request.level, now_s, wanted, 0, place)

    def _checked(self, request: TensorRequest, layout: Layout | None, shapes: Shapes) -> Layout:
        faults: list[FieldFault] = []
        if layout is None or self._texts:
            faults = faults_of(request.inputs, self._signatures, self._optional)
        if not faults and layout is None:
            faults = self._row_faults(request.inputs)
        if request.outputs:
            faults += self._output_faults(request.outputs)
        if fault := self._sequence_fault(request):
            faults.append(FieldFault("sequence", fault))
        if faults:
            raise InvalidInput(faults)
        if layout is None:
            if len(self._layouts) >= MAX_LAYOUTS:
                self._forget_layouts()
            layout = self._layouts[shapes] = self._layout(request.inputs)
        return layout

    def _wanted_of(self, outputs: tuple[WantedOutput, ...]) -> Wanted:
        wanted = self._wanted.get(outputs)
        if wanted is None:
            if faults := self._output_faults(outputs):
                raise InvalidInput(faults)
            if len(self._wanted) >= MAX_LAYOUTS:
                self._wanted.clear()
            classes = {output.name: output.classes for output in outputs if output.classes > 0}
            wanted = self._wanted[outputs] = Wanted(tuple(output.name for output in outputs), classes)
        return wanted

    def _row_faults(self, inputs: Mapping[str, Array]) -> list[FieldFault]:
        most = self._interface.max_rows
        if not most or not inputs:
            return []
        if self._states is not None:
            most = 1
        first = next(iter(inputs))
        rows = len(inputs[first])
        faults = []
        for index, (name, array) in enumerate(inputs.items()):
            field = f"{FIELD}[{index}].shape"
            if not 1 <= len(array) <= most:
                expected = f"1 to {most} rows" if most > 1 else "1 row"
                faults.append(FieldFault(field, f"input {name!r} expects {expected}, got {len(array)}"))
            elif len(array) != rows:
                fault = f"input {name!r} has {len(array)} rows, but input {first!r} has {rows}"
                faults.append(FieldFault(field, fault))
        return faults

    def _output_faults(self, outputs: tuple[WantedOutput, ...]) -> list[FieldFault]:
        faults = []
        seen: set[str] = set()
        for index, output in enumerate(outputs):
            datatype = self._outputs.get(output.name)
            if datatype is None:
                known = ", ".join(self._outputs)
                fault = f"the model has no output {output.name!r}; expected some of {known}"
                faults.append(FieldFault(f"outputs[{index}].name", fault))
            elif output.name in seen:
                faults.append(FieldFault(f"outputs[{index}].name", f"output {output.name!r} is wanted twice"))
            elif output.classes < 0:
                faults.append(FieldFault(f"outputs[{index}].classes", "expected 0 or more"))
            elif output.classes and datatype not in CLASSIFIED:
                fault = f"output {output.name!r} is {datatype}, which has no highest values"
                faults.append(FieldFault(f"outputs[{index}].classes", fault))
            seen.add(output.name)
        return faults

    def _sequence_fault(self, request: TensorRequest) -> str:
        if self._states is None:
            return "the model keeps no state between requests" if request.sequence is not None else ""
        if request.sequence is None or not request.sequence.id:
            return "the model keeps state between requests: each needs the id of its sequence"
        return self._states.id_fault(request.sequence.id)

    def _layout(self, inputs: Mapping[str, Array]) -> Layout:
        """Describe a valid request."""
        interface = self._interface
        ports = [port for port in interface.inputs if port.signature.name in inputs]
        names = tuple(port.signature.name for port in ports)
        own = tuple(
            (port.signature.name, reshaped(inputs[port.signature.name].shape, port.signature.shape, port.own))
            for port in ports
            if port.own is not None
        )
        if not (self._share or interface.max_rows) or not names:
            return Layout(ALONE, 1, names, own)
        rows = {array.shape[0] for array in inputs.values()}
        if len(rows) != 1:
            return Layout(ALONE, 1, names, own)
        [count] = rows
        if not self._share:
            return Layout(ALONE, count, names, own)
        lengths: dict[str, int] = {}
        group = []
        for port in ports:
            array = inputs[port.signature.name]
            shape = list(array.shape[1:])
            for axis, name in port.ragged:
                # What the model calls by one name must be as long everywhere: alone, the model says so itself.
                if lengths.setdefault(name, array.shape[axis]) != array.shape[axis]:
                    return Layout(ALONE, count, names, own)
                shape[axis - 1] = -1
            group.append((port.signature.name, array.dtype.str, tuple(shape)))
        return Layout(self._bucket(tuple(group)), count, names, own, lengths)

    def _bucket(self, group: Group) -> int:
        bucket = self._buckets.get(group)
        if bucket is None:
            bucket = self._buckets[group] = self._next_bucket
            self._next_bucket += 1
        return bucket

    def _forget_layouts(self) -> None:
        # Numbers are not used again: what waits in a bucket would meet requests of other shapes.
        self._layouts.clear()
        self._buckets.clear()
