"""What the protocol tells of the server and of a model."""

from importlib.metadata import version
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import (
    ModelConfigResponse,
    ModelMetadataResponse,
    ServerMetadataResponse,
)
from forebay.compat.kserve.model_config_pb2 import DataType, ModelConfig
from forebay.models.v1 import model_service_pb2
from scheduler.errors import ModelNotReady
from services.gateway.kserve.served import Served

EXTENSIONS: Final = (
    "classification",
    "sequence",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
)
"""Names that the documents of the extensions give them."""
_PLATFORMS: Final = {
    model_service_pb2.ENGINE_KIND_TENSOR: "onnxruntime_onnx",
    model_service_pb2.ENGINE_KIND_GENERATE: "forebay_language",
    model_service_pb2.ENGINE_KIND_EMBED: "forebay_embedding",
}
_BYTES: Final = "BYTES"
_STRING: Final = "TYPE_STRING"


def server_metadata() -> ServerMetadataResponse:
    """Describe the server."""
    return ServerMetadataResponse(name="forebay", version=version("forebay"), extensions=EXTENSIONS)


def model_metadata(served: Served) -> ModelMetadataResponse:
    """Describe a model. Raises ModelNotReady before any runner has read it."""
    _check_read(served)
    response = ModelMetadataResponse(
        name=served.name,
        versions=[str(each) for each in served.known.versions if each] or [str(served.version)],
        platform=served.config.platform or _PLATFORMS[served.engine],
    )
    for port in served.inputs:
        response.inputs.add(name=port.name, datatype=port.datatype, shape=port.shape)
    for port in served.outputs:
        response.outputs.add(name=port.name, datatype=port.datatype, shape=port.shape)
    return response


def model_config(served: Served) -> ModelConfigResponse:
    """Return a model's configuration, with what this door adds to it. Raises ModelNotReady before any runner has read
    the model.
    """
    _check_read(served)
    config = ModelConfig()
    config.CopyFrom(served.config)
    config.name = served.name  # a folder may have another one
    if not config.platform and not config.backend:
        config.platform = _PLATFORMS[served.engine]
    config.max_batch_size = config.max_batch_size or served.max_rows
    front = 1 if served.max_rows else 0
    if not config.input:
        for port in served.inputs:
            config.input.add(
                name=port.name,
                data_type=_type(port.datatype),
                dims=port.shape[front:],
                optional=port.optional,
            )
    if not config.output:
        for port in served.outputs:
            config.output.add(name=port.name, data_type=_type(port.datatype), dims=port.shape[front:])
    if served.engine == model_service_pb2.ENGINE_KIND_GENERATE:
        config.model_transaction_policy.decoupled = True
    return ModelConfigResponse(config=config)


def _check_read(served: Served) -> None:
    if served.engine not in _PLATFORMS:
        raise ModelNotReady(f"{served.name} has not been read by any runner yet")


def _type(datatype: str) -> DataType.ValueType:
    return DataType.Value(_STRING if datatype == _BYTES else f"TYPE_{datatype}")
