"""Copying between the memory of a device and that of this process, with nothing but ONNX Runtime.

Its Python interface copies whole tensors. Here a part of one is wanted, at an address: a small graph that hands its
inputs on does that, for what is bound as an input or output may be any memory of either side, and the runtime copies
where the sides differ. It copies strips of bytes, as many at once as the attention cache has pieces for one slot.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.provider_options import cuda_options
from inference.providers import PROVIDERS, runtime

_UINT8 = 2
"""ONNX's number of the type."""


class DeviceCopies:
    """Copies a fixed number of strips of equal length at a time. Every copy is done when the call returns."""

    def __init__(self, strips: int, device: str, device_id: int) -> None:
        """Open the graph on a device. Raises whatever ONNX Runtime does when it cannot."""
        self._places = {"device": (device, device_id), "host": ("cpu", 0)}
        ort = runtime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        providers = [(PROVIDERS["cuda"], cuda_options(device_id, 0)), PROVIDERS["cpu"]]
        self._session = ort.InferenceSession(handing_on(strips), options, providers=providers)

    def to_host(self, sources: Sequence[int], targets: Sequence[int], size: int) -> None:
        """Copy `size` bytes from each address on the device to one in this process's memory."""
        self._copy("device", sources, "host", targets, size)

    def to_device(self, sources: Sequence[int], targets: Sequence[int], size: int) -> None:
        """Copy `size` bytes from each address in this process's memory to one on the device."""
        self._copy("host", sources, "device", targets, size)

    def within_device(self, sources: Sequence[int], targets: Sequence[int], size: int) -> None:
        """Copy `size` bytes from each address on the device to another there. They must not overlap."""
        self._copy("device", sources, "device", targets, size)

    def _copy(self, side: str, sources: Sequence[int], other: str, targets: Sequence[int], size: int) -> None:
        if not size:
            return
        binding: Any = self._session.io_binding()
        for strip, (source, target) in enumerate(zip(sources, targets, strict=True)):
            binding.bind_input(f"from{strip}", *self._places[side], np.uint8, (size,), source)
            binding.bind_output(f"to{strip}", *self._places[other], np.uint8, (size,), target)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()


def handing_on(strips: int) -> bytes:
    """Return an ONNX model with inputs `from0` … and outputs `to0` …, each (bytes,) uint8, that are the same.

    Written in the bytes of onnx.proto, so that serving a model does not need the package that makes them.
    """
    size = _text(2, "size")  # the dimension's name
    kind = _message(2, _message(1, _number(1, _UINT8) + _message(2, _message(1, size))))
    graph = b"".join(
        _message(1, _text(1, f"from{n}") + _text(2, f"to{n}") + _text(4, "Identity")) for n in range(strips)
    )
    graph += _text(2, "strips")
    graph += b"".join(_message(11, _text(1, f"from{n}") + kind) for n in range(strips))
    graph += b"".join(_message(12, _text(1, f"to{n}") + kind) for n in range(strips))
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 17))


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Write a whole number as Protobuf does: seven bits in a byte, the lowest first."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
