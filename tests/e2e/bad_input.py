"""Good tasks, changes that spoil them, and what a refusal says."""

from collections.abc import Callable
from typing import Any, Final

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from forebay.client import task_spec
from forebay.tasks.v1.inputs_pb2 import (
    GenerateInput,
    Tensor,
    TensorInput,
)
from forebay.tasks.v1.task_pb2 import TaskSpec

DETAILS_KEY: Final = "grpc-status-details-bin"
X: Final = np.array([[1, 2, 3, 4]], np.float32)
Change = Callable[[TaskSpec], object]


def tensors(*given: Tensor) -> Change:
    return lambda spec: spec.tensors.CopyFrom(TensorInput(tensors=given))


def x(**fields: Any) -> Tensor:
    return Tensor(**{"name": "x", "datatype": "FP32", "shape": [1, 4], "raw": X.tobytes(), **fields})


def generate(**fields: Any) -> Change:
    return lambda spec: spec.generate.CopyFrom(GenerateInput(**{"prompt": "hello", **fields}))


def good(**labels: str) -> TaskSpec:
    return task_spec("add", tensors={"x": X}, labels=labels)


def refused_status(call: Callable[[], Any]) -> status_pb2.Status:
    """Make a call of either kind and return the status with which it fails."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call())
    (raw,) = [entry.value for entry in caught.value.trailing_metadata() if entry.key == DETAILS_KEY]
    status: status_pb2.Status = status_pb2.Status.FromString(raw)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    return status


def details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, list[str]]:
    """Return ErrorInfo, which must be there, and the field paths of BadRequest."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    fields = []
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
            assert all(violation.description for violation in bad.field_violations)
    assert info.domain == "forebay"
    return info, fields


def named(rows: list[Any]) -> Any:
    return [pytest.param(*row[1:], id=f"{row[1]}: {row[0]}") for row in rows]
