"""Brings a model and its configuration together, or says everything in which they do not fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from inference.engine import Signature
from inference.repository.definition import InputDefinition, ModelDefinition, OutputDefinition
from inference.tensor.interface import Axes, InputPort, Interface, OutputPort
from inference.tensor.model import Model
from inference.tensor.shapes import Shape, dynamic, fits, same_size
from inference.tensor.validation import describe
from scheduler.errors import ModelUnusable

Report = Callable[[str], None]


def interface_of(model: Model, definition: ModelDefinition, report: Report) -> Interface:
    """Return how clients see a model; `report` hears of what has no effect.

    Raises ModelUnusable with everything in which the two do not fit.
    """
    if not definition.declared:
        return Interface(tuple(map(InputPort, model.inputs)), tuple(map(OutputPort, model.outputs)))
    return _Fitting(model, definition).fit(report)


class _Fitting:
    """Compares one configuration with its model."""

    def __init__(self, model: Model, definition: ModelDefinition) -> None:
        self._model = model
        self._definition = definition
        self._batched = definition.max_batch_size > 0
        self._front = (-1,) if self._batched else ()
        self._faults: list[str] = []
        states = definition.sequences.states if definition.sequences else ()
        controls = definition.sequences.controls if definition.sequences else ()
        self._ours = {each.input for each in states} | {each.name for each in controls}
        self._kept = {each.output for each in states}

    def fit(self, report: Report) -> Interface:
        """Return the interface. Raises ModelUnusable."""
        model = self._model
        if self._batched:
            self._look_for_the_batch_dimension()
        required = {signature.name: signature for signature in model.inputs}
        optional = {signature.name: signature for signature in model.optional}
        outputs = {signature.name: signature for signature in model.outputs}
        wanted = self._definition.inputs or tuple(
            InputDefinition(self._without_batch(each)) for each in model.inputs if each.name not in self._ours
        )
        ports = [port for each in wanted if (port := self._input(each, required, optional)) is not None]
        for name in sorted(required.keys() - {each.signature.name for each in wanted} - self._ours):
            self._faults.append(f"the configuration leaves out the input {describe(required[name])} {name!r}")
        self._faults += [
            f"the model has no input {name!r} for state or control"
            for name in sorted(self._ours - required.keys())
        ]
        self._faults += [
            f"the model has no output {name!r} for state" for name in sorted(self._kept - outputs.keys())
        ]
        given = self._definition.outputs or tuple(
            OutputDefinition(self._without_batch(each))
            for each in model.outputs
            if each.name not in self._kept
        )
        ragged = {name for port in ports for _, name in port.ragged}
        results = [found for each in given if (found := self._output(each, outputs, ragged)) is not None]
        if self._faults:
            raise ModelUnusable(f"the configuration does not fit the model: {'; '.join(self._faults)}")
        ports = self._unmixed(wanted, ports, results, report)
        return Interface(tuple(ports), tuple(results), self._definition.max_batch_size)

    def _look_for_the_batch_dimension(self) -> None:
        fixed = 1 if self._definition.max_batch_size == 1 else -1
        for signature in (*self._model.inputs, *self._model.outputs):
            if not signature.shape or signature.shape[0] not in (-1, fixed):
                most = self._definition.max_batch_size
                self._faults.append(
                    f"max_batch_size is {most}, but the first dimension of {signature.name!r} "
                    f"{describe(signature)} is not a batch of any size"
                )

    def _without_batch(self, signature: Signature) -> Signature:
        shape = signature.shape[1:] if self._batched else signature.shape
        return Signature(signature.name, signature.datatype, shape)

    def _fault(self, place: str, fault: str) -> None:
        self._faults.append(f"{place}: {fault}" if place else fault)

    def _input(
        self, each: InputDefinition, required: Mapping[str, Signature], optional: Mapping[str, Signature]
    ) -> InputPort | None:
        name = each.signature.name
        own = required.get(name) or optional.get(name)
        if name in self._ours:
            self._fault(each.place, f"{name!r} is state or control, and no input of clients")
            return None
        if own is None:
            self._fault(each.place, f"the model has no input {name!r}; it has {', '.join(required)}")
            return None
        if each.optional and name in required:
            self._fault(
                each.place, f"input {name!r} is optional, but the model has no value of its own for it"
            )
        shape = each.signature.shape if each.reshape is None else each.reshape
        self._compare(each, shape, own)
        if each.reshape is not None and not same_size(each.signature.shape, each.reshape):
            self._fault(
                each.place, f"input {name!r} cannot be reshaped from {describe(each.signature)} as it says"
            )
        if each.ragged and each.reshape is not None:
            self._fault(each.place, f"input {name!r} is ragged and reshaped: only one of them is possible")
        signature = Signature(name, each.signature.datatype, (*self._front, *each.signature.shape))
        return InputPort(
            signature,
            own=None if each.reshape is None else (*self._front, *each.reshape),
            optional=each.optional and name in optional,
            ragged=self._ragged(name, signature.shape) if each.ragged and self._batched else (),
        )

    def _output(
        self, each: OutputDefinition, outputs: Mapping[str, Signature], ragged: set[str]
    ) -> OutputPort | None:
        name = each.signature.name
        own = outputs.get(name)
        if own is None:
            self._fault(each.place, f"the model has no output {name!r}; it has {', '.join(outputs)}")
            return None
        shape = each.signature.shape if each.reshape is None else each.reshape
        self._compare(each, shape, own)
        if each.reshape is not None and not same_size(each.reshape, each.signature.shape):
            self._fault(each.place, f"output {name!r} cannot be reshaped to {describe(each.signature)}")
        signature = Signature(name, each.signature.datatype, (*self._front, *each.signature.shape))
        names = self._model.dimensions[name]
        cut = tuple((axis, names[axis]) for axis in range(1, len(names)) if names[axis] in ragged)
        given = None if each.reshape is None else (*self._front, *each.reshape)
        return OutputPort(signature, given, each.labels, cut)

    def _compare(
        self, each: InputDefinition | OutputDefinition, shape: Sequence[int], own: Signature
    ) -> None:
        seen = each.signature
        kind = "input" if isinstance(each, InputDefinition) else "output"
        if seen.datatype != own.datatype:
            fault = f"{kind} {seen.name!r} is {seen.datatype}, but {own.datatype} in the model"
            self._fault(each.place, fault)
        if not fits((*self._front, *shape), own.shape):
            told = describe(Signature(seen.name, seen.datatype, (*self._front, *shape)))
            self._fault(each.place, f"{kind} {seen.name!r} is {told}, but {describe(own)} in the model")

    def _ragged(self, name: str, shape: Shape) -> Axes:
        """Name the free dimensions of an input; one that the model does not name is like no other."""
        names = self._model.dimensions[name]
        return tuple((axis, names[axis] or f"{name}[{axis}]") for axis in dynamic(shape) if axis)

    def _unmixed(
        self,
        wanted: Sequence[InputDefinition],
        ports: list[InputPort],
        results: Sequence[OutputPort],
        report: Report,
    ) -> list[InputPort]:
        """Keep lengths of ragged inputs out of each other's runs where an output may be as long as the padding: nobody
        could tell how much of it is the request's, and an answer must not depend on the neighbours.
        """
        shapes = {each.name: each.shape for each in self._model.outputs}
        unclear = next(
            (
                port.signature.name
                for port in results
                if set(dynamic(shapes[port.signature.name])) - {0, *(axis for axis, _ in port.cut)}
            ),
            None,
        )
        if unclear is None:
            return ports
        for each in wanted:
            if each.ragged:
                report(
                    f"{each.place}: requests whose lengths of {each.signature.name!r} differ do not share runs: output "
                    f"{unclear!r} has a dimension of any length to which the model gives no name of a ragged one"
                )
        return [replace(port, ragged=()) for port in ports]
