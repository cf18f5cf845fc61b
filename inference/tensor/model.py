"""An ONNX model in a session: arrays in, arrays out, whatever the element type. What it means is not known here."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.engine import Array, Signature
from inference.external_data import operators
from inference.providers import PROVIDERS, open_session, runtime
from inference.settings import EngineSettings
from inference.tensor.datatypes import BFLOAT16, BY_ONNX
from inference.tensor.short_runs import SIZED_BY_SHAPE
from inference.tensor.text import to_bytes, to_text
from inference.vetted_copy import vetted_copy
from scheduler.errors import ModelUnusable

SMALL_BYTES: Final = 4 << 20
"""A larger file is no model whose runs are over at once."""
_ONNX_BFLOAT16: Final = 16
"""Number of the element type in onnx.TensorProto."""

Dimensions = tuple[str, ...]
"""Names of a shape's dimensions; empty for those without one."""


class Model:
    """A loaded model. One thread at a time."""

    def __init__(self, session: Any, provider: str, name: str, *, sized_by_shape: bool = False) -> None:
        """`session` is an onnxruntime.InferenceSession. Raises ModelUnusable for tensors that cannot travel."""
        ort = runtime()
        self._session = session
        self._value: Any = ort.OrtValue
        self.options: Callable[[], Any] = ort.RunOptions
        """Makes the options of one run; setting `terminate` on them, from any thread, ends it early."""
        self.provider = provider
        inputs, outputs = session.get_inputs(), session.get_outputs()
        optional = session.get_overridable_initializers()
        self.inputs = signatures(inputs, name)
        """What must be given, in the model's order."""
        self.outputs = signatures(outputs, name)
        self.dimensions = {each.name: dimensions(each.shape) for each in (*inputs, *outputs, *optional)}
        """By input and output."""
        # Constants of older models are all listed here, of types that nobody would ever send too.
        offered = signatures([each for each in optional if each.type in BY_ONNX], name)
        left_out = self._not_offered(offered, name)
        self.optional = tuple(each for each in offered if each.datatype != left_out)
        """What may be left out, because the model has values of its own for it."""
        every = (*self.inputs, *self.optional)
        self._text_inputs = frozenset(each.name for each in every if each.datatype == "BYTES")
        self._text_outputs = frozenset(each.name for each in self.outputs if each.datatype == "BYTES")
        self.sized_by_shape = sized_by_shape and not self._text_inputs
        """Whether the length of a run is known to follow from the shapes of its inputs alone."""
        self._bfloat16 = any(each.datatype == "BF16" for each in (*every, *self.outputs))

    @classmethod
    def open(cls, file: Path, settings: EngineSettings, report: Callable[[str], None]) -> "Model":
        """Load an ONNX file. Raises ModelUnusable, RuntimeMissing."""
        with vetted_copy(file, settings.cache) as copy:
            opened = open_session(copy, settings, report)
            sized_by_shape = (
                opened.provider == PROVIDERS["cpu"]
                and copy.stat().st_size <= SMALL_BYTES
                and operators(copy) <= SIZED_BY_SHAPE
            )
        return cls(opened.session, opened.provider, file.name, sized_by_shape=sized_by_shape)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array], options: Any = None) -> list[Array]:
        """Run the model once and return the outputs named; BYTES are object arrays of UTF-8 bytes, both ways.

        Raises whatever the provider raises.
        """
        if self._text_inputs:
            feeds = {
                name: to_text(array) if name in self._text_inputs else array for name, array in feeds.items()
            }
        found: list[Array]
        if self._bfloat16:
            found = self._run_bound(outputs, feeds, options)
        else:
            found = self._session.run(outputs, feeds, options)
        if self._text_outputs:
            found = [
                to_bytes(array) if name in self._text_outputs else array
                for name, array in zip(outputs, found, strict=True)
            ]
        return found

    def close(self) -> None:
        """Let go of the session. Idempotent."""
        self._session = None

    def _not_offered(self, optional: Sequence[Signature], model: str) -> str:
        """Return the type of optional inputs that cannot be given beside the others, if there is one.

        Raises ModelUnusable where inputs that must be given cannot be given together.
        """
        texts = [each.name for each in self.inputs if each.datatype == "BYTES"]
        halves = [each.name for each in (*self.inputs, *self.outputs) if each.datatype == "BF16"]
        if texts and halves:
            raise ModelUnusable(
                f"{model}: input {texts[0]!r} is BYTES and {halves[0]!r} is BF16: ONNX Runtime's interface for Python "
                "has no runs with both; FP32 in place of BF16 works"
            )
        if halves:
            return "BYTES"
        return "BF16" if texts or any(each.datatype == "BYTES" for each in optional) else ""

    def _run_bound(self, outputs: Sequence[str], feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """Run on values of ONNX Runtime's own: NumPy has no BF16."""
        binding = self._session.io_binding()
        values = {name: self._to_value(array) for name, array in feeds.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding, options)
        # By index: iterating over them fails in a process that has also loaded the Pulsar client, whose binding to
        # C++ is of the same kind and takes the end of the iteration for an error.
        vector = binding.get_outputs_as_ortvaluevector()
        return [_to_array(vector[at]) for at in range(len(outputs))]

    def _to_value(self, array: Array) -> Any:
        """Give ONNX Runtime an array in its own type: it takes BF16 from Python in no other way."""
        array = np.asarray(array, order="C")  # which leaves an array without dimensions as it is
        if array.dtype == BFLOAT16:
            return self._value.ortvalue_from_numpy_with_onnx_type(array.view("<u2"), _ONNX_BFLOAT16)
        return self._value.ortvalue_from_numpy(array)


def _to_array(value: Any) -> Array:
    """Copy a BF16 output out of ONNX Runtime's memory, for which it offers Python nothing; others it knows itself."""
    if value.element_type() != _ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    size = value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, BFLOAT16).reshape(value.shape())


def dimensions(shape: Sequence[int | str | None]) -> Dimensions:
    """Return the names that ONNX Runtime tells with a shape."""
    return tuple(length if isinstance(length, str) else "" for length in shape)


def signatures(arguments: Sequence[Any], model: str) -> tuple[Signature, ...]:
    """Describe ONNX Runtime's inputs or outputs.

    Raises ModelUnusable for what cannot travel: sequences, maps, and element types that KServe does not know.
    """
    found = []
    for argument in arguments:
        datatype = BY_ONNX.get(argument.type)
        if datatype is None:
            raise ModelUnusable(f"{model}: {argument.name!r} is a {argument.type}, which is not supported")
        shape = tuple(length if isinstance(length, int) else -1 for length in argument.shape)
        found.append(Signature(argument.name, datatype.name, shape))
    return tuple(found)
