"""Schemas of bodies, for the document of OpenAPI. What is read is checked where it is read, by the same rules."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]


def ref(name: str) -> dict[str, str]:
    """Return a reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = list(required)
    return made


def _list(items: Schema, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _text(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _whole(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "integer", **({"description": description} if description else {}), **more}


def _one_or_more(description: str) -> dict[str, Any]:
    return {"type": ["string", "array"], "items": _text(), "description": description}


BINARY: Final[Schema] = {
    "type": "string",
    "format": "binary",
    "description": "JSON as under application/json, and behind it the elements of the tensors that have "
    "`binary_data_size`, little-endian, in their order. The header Inference-Header-Content-Length "
    "says how many bytes are JSON.",
}
EVENTS: Final[Schema] = {
    "type": "string",
    "description": "Server-sent events; the data of each is a GenerateResponse, or an Error.",
}

_DATATYPE: Final = {
    "type": "string",
    "enum": [
        *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
        *("FP16", "BF16", "FP32", "FP64", "BYTES"),
    ],
}
_SHAPE: Final = _list(_whole(minimum=0), maxItems=32)
_VALUE: Final = {"type": ["boolean", "number", "string"]}
_DATA: Final = {
    "type": "array",
    "items": {},
    "description": "The elements, nested as the shape or in one list; texts for BYTES. FP16 and BF16 are taken as "
    "binary data only.",
}
_PARAMETERS: Final = {"type": "object", "additionalProperties": _VALUE}
_DURATION: Final = _object(("count", "ns"), count=_whole(minimum=0), ns=_whole(minimum=0))
_STAGES: Final = (
    *("success", "fail", "queue", "compute_input", "compute_infer"),
    *("compute_output", "cache_hit", "cache_miss"),
)
_PORT: Final = _object(
    ("name", "datatype", "shape"), name=_text(), datatype=_text(), shape=_list(_whole(minimum=-1))
)
_GENERATED: Final = _object(
    ("model_name", "model_version", "text_output"),
    id=_text(),
    model_name=_text(),
    model_version=_text(),
    text_output=_one_or_more("A list where `n` is over 1."),
    finish_reason=_one_or_more("stop, length or aborted, once it has ended."),
    cached={
        "type": "boolean",
        "description": "True where nothing was computed for the request; absent otherwise.",
    },
)

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": _object(("error",), error=_text("What went wrong.")),
    "ServerMetadata": _object(
        ("name", "version", "extensions"), name=_text(), version=_text(), extensions=_list(_text())
    ),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_text(),
        versions=_list(_text()),
        platform=_text(),
        inputs=_list(_PORT),
        outputs=_list(_PORT),
    ),
    "ModelConfig": _object(("name",), name=_text()),
    "InferRequest": _object(
        ("inputs",),
        id=_text("Returned with the answer."),
        inputs=_list(
            _object(
                ("name", "datatype", "shape"),
                name=_text(),
                datatype=_DATATYPE,
                shape=_SHAPE,
                data=_DATA,
                parameters=_object(
                    binary_data_size=_whole("Bytes of its elements behind the JSON.", minimum=0)
                ),
            )
        ),
        outputs=_list(
            _object(
                ("name",),
                name=_text(),
                parameters=_object(
                    binary_data={"type": "boolean"},
                    classification=_whole("Return the so many highest values of each row.", minimum=0),
                ),
            )
        ),
        parameters={
            **_object(
                binary_data_output={"type": "boolean"},
                priority={
                    "type": ["integer", "string"],
                    "description": "1 is the highest, 0 the default; or the name of a level.",
                },
                timeout=_whole("How long the client waits, in microseconds.", minimum=0),
                sequence_id={"type": ["integer", "string"]},
                sequence_start={"type": "boolean"},
                sequence_end={"type": "boolean"},
            ),
            "additionalProperties": _VALUE,
        },
    ),
    "InferResponse": _object(
        ("model_name", "model_version", "outputs"),
        id=_text(),
        model_name=_text(),
        model_version=_text(),
        parameters=_PARAMETERS,
        outputs=_list(
            _object(
                ("name", "datatype", "shape"),
                name=_text(),
                datatype=_text(),
                shape=_SHAPE,
                data=_DATA,
                parameters=_PARAMETERS,
            )
        ),
    ),
    "GenerateRequest": {
        **_object(
            ("text_input",),
            id=_text("Returned with the answer."),
            text_input=_text("What the model continues."),
            parameters={**_PARAMETERS, "description": "How; they may be beside `text_input` as well."},
        ),
        "additionalProperties": _VALUE,
    },
    "GenerateResponse": _GENERATED,
    "IndexRequest": _object(ready={"type": "boolean", "description": "Only what can be called."}),
    "Index": _list(
        _object(
            ("name", "version", "state", "reason"),
            name=_text(),
            version=_text(),
            state=_text(),
            reason=_text(),
        )
    ),
    "ControlRequest": _object(parameters={"type": "object"}),
    "Statistics": _object(
        ("model_stats",),
        model_stats=_list(
            _object(
                (
                    "name",
                    "version",
                    "last_inference",
                    "inference_count",
                    "execution_count",
                    "inference_stats",
                ),
                name=_text(),
                version=_text(),
                last_inference=_whole(minimum=0),
                inference_count=_whole(minimum=0),
                execution_count=_whole(minimum=0),
                inference_stats=_object((), **dict.fromkeys(_STAGES, _DURATION)),
                batch_stats=_list(_object(("batch_size",), batch_size=_whole(minimum=0))),
            )
        ),
    ),
}
