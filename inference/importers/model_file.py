"""Saving ONNX models: weights inside the file, or in a second one where they would not fit."""

from pathlib import Path

import onnx

_INSIDE_BYTES = 1_500_000_000  # protobuf cannot hold more than 2 GiB in one message


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model; large weights go to `<name>.data` beside it. Raises OSError."""
    outside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INSIDE_BYTES
    onnx.save(
        model,
        path,
        save_as_external_data=outside,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
    )
