"""The cache on a device copies what the one in host memory copies."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.generate.kv_buffers import Buffers, DeviceBuffers, HostBuffers

from .pretend_device import pretend

PARTS, SLOTS, HEADS, CONTEXT, SIZE = 4, 3, 2, 20, 8


def layout(device: str, dtype: Any) -> Any:
    sizes = {"parts": PARTS, "kv_heads": HEADS, "head_size": SIZE}
    return SimpleNamespace(device=device, device_id=int(device == "cuda"), dtype=np.dtype(dtype), **sizes)


def everything(buffers: Buffers, dtype: Any) -> NDArray[Any]:
    """Return what all slots hold."""
    found = np.empty((SLOTS, PARTS, HEADS, CONTEXT, SIZE), dtype)
    for slot in range(SLOTS):
        buffers.read(slot, 0, found[slot])
    return found


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_copies_are_the_same_on_a_device_and_in_host_memory(
    monkeypatch: pytest.MonkeyPatch, dtype: Any
) -> None:
    pretend(monkeypatch)
    host = HostBuffers(layout("cpu", dtype), SLOTS, CONTEXT)
    device = DeviceBuffers(layout("cuda", dtype), SLOTS, CONTEXT)
    assert (host.fault, device.fault) == ("", "")
    assert not everything(device, dtype).any()
    random = np.random.default_rng(0)
    for _ in range(40):
        slot, other = random.permutation(SLOTS)[:2]
        first = int(random.integers(0, CONTEXT))
        tokens = int(random.integers(0, CONTEXT - first + 1))
        values = random.normal(0, 1, (PARTS, HEADS, tokens, SIZE)).astype(dtype)
        for buffers in (host, device):
            buffers.write(slot, first, values)
            buffers.move(slot, other, tokens)
        np.testing.assert_array_equal(everything(device, dtype), everything(host, dtype))
        part = np.empty_like(values)
        device.read(slot, first, part)
        np.testing.assert_array_equal(part, values)


def test_values_and_targets_need_not_lie_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    device = DeviceBuffers(layout("cuda", np.float16), SLOTS, CONTEXT)
    values = np.random.default_rng(0).normal(0, 1, (PARTS, HEADS, 10, SIZE)).astype(np.float16)
    device.write(1, 4, values[:, :, ::2])
    found = np.zeros_like(values)
    device.read(1, 4, found[:, :, ::2])
    np.testing.assert_array_equal(found[:, :, ::2], values[:, :, ::2])
    assert not found[:, :, 1::2].any()
