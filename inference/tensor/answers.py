"""What the requests of one run get of its outputs: their rows, without padding, and only what they want."""

from collections.abc import Sequence

from inference.engine import Array, TensorOutput
from inference.tensor.batching import Item, Names, cut, split
from inference.tensor.classification import classify
from inference.tensor.interface import Interface, OutputPort
from inference.tensor.shapes import reshaped


class Answers:
    """Makes the answers of one model."""

    def __init__(self, interface: Interface, kept: Names, *, rows: bool | None) -> None:
        """`kept` are outputs that every run must give beside those that are wanted. `rows` tells whether the first
        dimension of outputs is a batch; None where that is likely of those with more than one.
        """
        self._all = tuple(port.signature.name for port in interface.outputs)
        self._ports = {port.signature.name: port for port in interface.outputs}
        self._kept = kept
        self._rows = rows
        self._plain = not kept and not any(port.own is not None or port.cut for port in interface.outputs)

    def names(self, batch: Sequence[Item]) -> Names:
        """Return which outputs a run must give."""
        wanteds = [item.wanted for item in batch]
        names = self._all
        if None not in wanteds:
            wanted = {name for each in wanteds if each is not None for name in each.names}
            names = tuple(name for name in names if name in wanted)
        return tuple(dict.fromkeys((*names, *self._kept))) if self._kept else names

    def parts(
        self, batch: Sequence[Item], outputs: Sequence[Array], names: Names
    ) -> list[TensorOutput] | None:
        """Return the answer of each request; None when outputs have not one row for each row of input."""
        parts = split(batch, outputs, names)
        if parts is None:
            return None
        if self._plain and not any(item.wanted for item in batch):
            return list(map(TensorOutput, parts))
        return [self._answer(item, part) for item, part in zip(batch, parts, strict=True)]

    def _answer(self, item: Item, part: dict[str, Array]) -> TensorOutput:
        wanted = item.wanted
        answer: dict[str, Array] = {}
        for name in self._all if wanted is None else wanted.names:
            port, array = self._ports[name], part[name]
            if port.cut:
                array = cut(array, port, item.layout.lengths)
            if port.own is not None:
                array = _as_seen(array, port)
            if wanted is not None and (classes := wanted.classes.get(name)):
                rows = array.ndim > 1 if self._rows is None else self._rows
                array = classify(array, classes, port.labels, rows=rows)
            answer[name] = array
        return TensorOutput(answer)


def _as_seen(array: Array, port: OutputPort) -> Array:
    """Give an output the shape that clients are told."""
    assert port.own is not None, "only what is reshaped has another shape"
    return array.reshape(reshaped(array.shape, port.own, port.signature.shape))
