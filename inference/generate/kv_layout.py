"""What a model says of its attention cache: the tensors, their sizes and type, and where they lie."""

from typing import Any, Final

import numpy as np

from inference.generate.config import GenaiConfig
from inference.providers import PROVIDERS
from scheduler.errors import ModelUnusable

_DTYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class KvLayout:
    """A buffer is (slots, kv_heads, context, head_size); there is one for each key and value of each layer."""

    def __init__(self, session: Any, config: GenaiConfig, device_id: int) -> None:
        """Read it from an opened session.

        Raises ModelUnusable when the cache is neither float32 nor float16, or when it cannot be told where it lies.
        """
        types = {node.name: node.type for node in session.get_inputs()}
        self.inputs = (*config.past_keys, *config.past_values)
        self.outputs = (*config.present_keys, *config.present_values)
        self.parts = len(self.inputs)
        self.kv_heads = config.kv_heads
        self.head_size = config.head_size
        kind = types[config.past_keys[0]]
        if kind not in _DTYPES:
            raise ModelUnusable(f"a tensor of the cache has the type {kind}, expected float or float16")
        self.dtype: np.dtype[Any] = np.dtype(_DTYPES[kind])
        self.device = _device_of(session, self.inputs[0])
        self.device_id = device_id if self.device != "cpu" else 0
        self.bytes_per_token = self.parts * self.kv_heads * self.head_size * self.dtype.itemsize


def on_device(session: Any) -> bool:
    """Tell whether a session runs on a GPU, all or part of it."""
    return bool(session.get_providers()[0] != PROVIDERS["cpu"])


def _device_of(session: Any, name: str) -> str:
    """Return where the model reads an input from: cpu or cuda."""
    if not on_device(session):
        return "cpu"
    describe = getattr(session, "get_input_memory_infos", None)
    if describe is None:
        raise ModelUnusable("generating on a GPU needs ONNX Runtime 1.23 or newer")
    places = {
        node.name: str(memory.name).lower()
        for node, memory in zip(session.get_inputs(), describe(), strict=True)
    }
    return "cuda" if "cuda" in places[name] and "pinned" not in places[name] else "cpu"
