"""A GPU that is not there: ONNX Runtime's Python interface as a session on CUDA shows it, computing on the CPU.

What matters to who binds memory is kept to: the device's memory is known by address and is no one else's, and what is
bound from this process's memory is copied at that moment, so that later changes to it are not seen.
"""

import ctypes
import weakref
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inference import providers
from inference.generate import device_copies, kv_buffers

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class PretendRuntime:
    """Stands for the module `onnxruntime`."""

    SessionOptions = onnxruntime.SessionOptions
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
    ExecutionMode = onnxruntime.ExecutionMode

    def __init__(self, *, most_bytes: int = 1 << 30, host: Iterable[str] = (), copies: bool = True) -> None:
        """Have a device with so much memory; beginnings of names of inputs that operators on the CPU read; and whether
        the device takes graphs that copy.
        """
        self.memory: list[NDArray[Any]] = []
        self.most_bytes = most_bytes
        self.host = tuple(host)
        self.copies = copies
        self.OrtValue = PretendValues(self)

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def InferenceSession(self, model: Any, options: Any, *, providers: Any, **more: Any) -> "PretendSession":
        assert providers[0][0] == CUDA
        assert providers[0][1]["device_id"] == "1"
        if isinstance(model, bytes) and not self.copies:
            raise RuntimeError("no kernel image is available")
        return PretendSession(self, onnxruntime.InferenceSession(model, options, providers=[CPU], **more))

    def reads_on_host(self, name: str) -> bool:
        """Tell whether an operator on the CPU reads an input."""
        return any(name.startswith(beginning) for beginning in self.host)

    def holds(self, address: int, size: int) -> bool:
        """Tell whether some memory is the device's."""
        return any(
            array.ctypes.data <= address and address + size <= array.ctypes.data + array.nbytes
            for array in self.memory
        )


class PretendValues:
    """Stands for the class OrtValue."""

    def __init__(self, runtime: PretendRuntime) -> None:
        self._runtime = runtime

    def ortvalue_from_numpy(self, array: NDArray[Any], device: str, device_id: int) -> "PretendValue":
        assert (device, device_id) == ("cuda", 1)
        memory = self._runtime.memory
        if sum(one.nbytes for one in memory) + array.nbytes > self._runtime.most_bytes:
            raise RuntimeError("BFCArena: Available memory is smaller than requested bytes")
        memory.append(array.copy())
        value = PretendValue(memory[-1])
        weakref.finalize(value, _forget, memory, memory[-1])
        return value


class PretendValue:
    """A tensor on the device."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._address = array.ctypes.data

    def data_ptr(self) -> int:
        return self._address


class PretendSession:
    """A session on CUDA."""

    def __init__(self, runtime: PretendRuntime, real: Any) -> None:
        self._runtime = runtime
        self._real = real
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def get_input_memory_infos(self) -> list[Any]:
        names = [node.name for node in self._real.get_inputs()]
        return [
            SimpleNamespace(name="Cpu" if self._runtime.reads_on_host(name) else "Cuda") for name in names
        ]

    def io_binding(self) -> "PretendBinding":
        return PretendBinding(self._runtime, self._real.io_binding())

    def run_with_iobinding(self, binding: "PretendBinding") -> None:
        self._real.run_with_iobinding(binding.real)


class PretendBinding:
    """A binding of a session on CUDA."""

    def __init__(self, runtime: PretendRuntime, real: Any) -> None:
        self._runtime = runtime
        self.real = real
        self._copied: dict[str, NDArray[Any]] = {}

    def bind_input(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        self._check(device, number, address, size)
        if device == "cpu" and not self._runtime.reads_on_host(name):
            self._copied[name] = np.frombuffer(ctypes.string_at(address, size), np.uint8).copy()
            address = self._copied[name].ctypes.data
        self.real.bind_input(name, "cpu", 0, kind, shape, address)

    def bind_output(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int) -> None:
        self._check(device, number, address, int(np.prod(shape)) * np.dtype(kind).itemsize)
        self.real.bind_output(name, "cpu", 0, kind, shape, address)

    def synchronize_inputs(self) -> None:
        """Copies are done at once here."""

    def synchronize_outputs(self) -> None:
        """Likewise."""

    def _check(self, device: str, number: int, address: int, size: int) -> None:
        assert (device, number) in {("cuda", 1), ("cpu", 0)}
        assert self._runtime.holds(address, size) == (device == "cuda")


def pretend(monkeypatch: pytest.MonkeyPatch, **how: Any) -> PretendRuntime:
    """Have everything run on a device that is not there."""
    fake = PretendRuntime(**how)
    for module in (providers, device_copies, kv_buffers):
        monkeypatch.setattr(module, "runtime", lambda: fake)
    return fake


def _forget(memory: list[NDArray[Any]], array: NDArray[Any]) -> None:
    memory[:] = [one for one in memory if one is not array]
