"""The calls over HTTP, as data: routes are made of this table, and so is the document of OpenAPI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from forebay.compat.kserve import kserve_service_pb2
from services.gateway.caller import OPEN_METHODS
from services.gateway.kserve_http import schemas

_SERVICE: Final = kserve_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = _MODEL + "/versions/{version}"
_REPOSITORY: Final = "/v2/repository/models/{model}"
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    id: str
    """As clients made from the document name it, and as metrics do."""
    method: str
    paths: Sequence[str]
    """The same call under each of them."""
    summary: str
    rpc: str = ""
    """The method over gRPC whose rules for callers hold; its id when empty."""
    request: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Schemas of the body by media type; empty for none."""
    requires_body: bool = True
    answer: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Schemas of the answer by media type; empty for an empty answer."""
    fails_with: Sequence[int] = ()
    """HTTP codes of errors."""
    takes_time: bool = False
    """Whether how long it takes is for the call itself to say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rpc", self.rpc or self.id)

    @property
    def grpc_method(self) -> str:
        """The method whose rules for callers hold, `package.Service/Method`."""
        return f"{_SERVICE}/{self.rpc}"

    @property
    def open_to_all(self) -> bool:
        """Whether nobody is asked for a key."""
        return self.grpc_method in OPEN_METHODS


_LOOKED_UP: Final = (400, 401, 403, 404, 503, 504)
_INFERRED: Final = (400, 401, 403, 404, 408, 412, 413, 415, 429, 500, 503, 504)
_CONTROLLED: Final = (400, 401, 403, 404, 408, 412, 413, 415, 429, 503, 504)


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": schema}


_TENSORS_IN: Final = {
    "application/json": schemas.ref("InferRequest"),
    "application/octet-stream": schemas.BINARY,
}
_TENSORS_OUT: Final = {
    "application/json": schemas.ref("InferResponse"),
    "application/octet-stream": schemas.BINARY,
}

OPERATIONS: Final[Sequence[Operation]] = (
    Operation("ServerLive", "GET", ("/v2/health/live",), "Whether the gateway runs."),
    Operation(
        *("ServerReady", "GET", ("/v2/health/ready",), "Whether the gateway takes calls."),
        fails_with=(503,),
    ),
    Operation(
        *("ServerMetadata", "GET", ("/v2",), "What the server is, and which extensions it has."),
        answer=_json(schemas.ref("ServerMetadata")),
    ),
    Operation(
        *("ModelMetadata", "GET", (_MODEL, _VERSION), "Inputs and outputs of a model."),
        answer=_json(schemas.ref("ModelMetadata")),
        fails_with=_LOOKED_UP,
    ),
    Operation(
        *("ModelReady", "GET", (f"{_MODEL}/ready", f"{_VERSION}/ready"), "Whether a model can be called."),
        fails_with=_LOOKED_UP,
    ),
    Operation(
        *("ModelConfig", "GET", (f"{_MODEL}/config", f"{_VERSION}/config")),
        "The configuration of a model, completed by what was found in it.",
        answer=_json(schemas.ref("ModelConfig")),
        fails_with=_LOOKED_UP,
    ),
    Operation(
        *("ModelStatistics", "GET", ("/v2/models/stats", f"{_MODEL}/stats", f"{_VERSION}/stats")),
        "What was counted of a model, or of all, summed over their runners.",
        answer=_json(schemas.ref("Statistics")),
        fails_with=_LOOKED_UP,
    ),
    Operation(
        *("ModelInfer", "POST", (f"{_MODEL}/infer", f"{_VERSION}/infer"), "Runs a model."),
        request=_TENSORS_IN,
        answer=_TENSORS_OUT,
        fails_with=_INFERRED,
        takes_time=True,
    ),
    Operation(
        *("Generate", "POST", (f"{_MODEL}/generate", f"{_VERSION}/generate")),
        "Has a language model continue a text.",
        rpc="ModelInfer",
        request=_json(schemas.ref("GenerateRequest")),
        answer=_json(schemas.ref("GenerateResponse")),
        fails_with=_INFERRED,
        takes_time=True,
    ),
    Operation(
        *("GenerateStream", "POST", (f"{_MODEL}/generate_stream", f"{_VERSION}/generate_stream")),
        "Has a language model continue a text, and returns it as it is generated: one event for each piece. "
        "What goes wrong after the first one is an event too, with `error`.",
        rpc="ModelStreamInfer",
        request=_json(schemas.ref("GenerateRequest")),
        answer={"text/event-stream": schemas.EVENTS},
        fails_with=_INFERRED,
        takes_time=True,
    ),
    Operation(
        *("RepositoryIndex", "POST", ("/v2/repository/index",)),
        "What the repositories hold, served or not.",
        request=_json(schemas.ref("IndexRequest")),
        requires_body=False,
        answer=_json(schemas.ref("Index")),
        fails_with=(400, 401, 403, 408, 413, 415, 429, 503, 504),
    ),
    Operation(
        *("RepositoryModelLoad", "POST", (f"{_REPOSITORY}/load",)),
        "Loads a model, or loads it anew, and waits until it is ready. For operators.",
        request=_json(schemas.ref("ControlRequest")),
        requires_body=False,
        fails_with=_CONTROLLED,
        takes_time=True,
    ),
    Operation(
        *("RepositoryModelUnload", "POST", (f"{_REPOSITORY}/unload",), "Unloads a model. For operators."),
        request=_json(schemas.ref("ControlRequest")),
        requires_body=False,
        fails_with=_CONTROLLED,
        takes_time=True,
    ),
)

UNSUPPORTED: Final[Sequence[Operation]] = tuple(
    Operation(f"{name}{suffix}", method, paths, why, rpc=name)
    for name, paths, why in (
        (
            "TraceSetting",
            ("/v2/trace/setting", f"{_MODEL}/trace/setting"),
            "traces are OpenTelemetry's here and set when the gateway starts",
        ),
        ("LogSettings", ("/v2/logging",), "logging is set when the gateway starts"),
        *(
            (
                f"{kind.capitalize()}SharedMemory{action.capitalize()}",
                (
                    f"/v2/{kind}sharedmemory/{action}",
                    f"/v2/{kind}sharedmemory/region/{{region}}/{action}",
                ),
                "clients share no memory with the runners here: send elements in the request",
            )
            for kind in ("system", "cuda")
            for action in ("status", "register", "unregister")
        ),
    )
    for method, suffix in (("GET", ""), ("POST", "Post"))
)
"""Calls that the protocol has and this server refuses with 501, saying why: `summary`. Not in the document."""
