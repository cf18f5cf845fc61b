"""The document of OpenAPI 3.1 for what is under /v2, made of the table that the routes are made of."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.gateway.kserve_http.operations import OPERATIONS, Operation
from services.gateway.kserve_http.schemas import SCHEMAS, ref

_FIELDS: Final = re.compile(r"\{(\w+)\}")
_MEANING: Final[Mapping[int, str]] = {
    400: "The request can never succeed as it is.",
    401: "Nobody has the key that the call brings, or it brings none.",
    403: "Only operators may do this; or a browser asks for a page of another site.",
    404: "No runner announces the model.",
    408: "The body did not come in time.",
    412: "The model cannot be used, or the sequence is not known.",
    413: "The body is too large.",
    415: "The body is compressed in a way that is not known.",
    429: "A limit is reached, or there is too much work before the call: try again after Retry-After seconds.",
    500: "The model failed on this input, or the server has a fault.",
    503: "Nobody can take the call now: try again after Retry-After seconds.",
    504: "The deadline passed.",
}
_PATH_FIELDS: Final = {
    "model": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    "version": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
}


def document(version: str, operations: Iterable[Operation] = OPERATIONS) -> dict[str, Any]:
    """Return it; `version` is the server's."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        for path in operation.paths:
            paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay: models over the Open Inference Protocol v2",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        # The last one, which asks for nothing, is for gateways without keys.
        "security": [{"bearer": []}, {"key": []}, {}],
    }


def _operation(operation: Operation, path: str) -> dict[str, Any]:
    fields = _FIELDS.findall(path)
    made: dict[str, Any] = {
        "operationId": _id(operation, path, fields),
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if fields:
        made["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _PATH_FIELDS[name]} for name in fields
        ]
    if operation.request:
        made["requestBody"] = {
            "required": operation.requires_body,
            "content": {media: {"schema": schema} for media, schema in operation.request.items()},
        }
    if operation.open_to_all:
        made["security"] = []
    return made


def _id(operation: Operation, path: str, fields: list[str]) -> str:
    if path == operation.paths[0]:
        return operation.id
    return operation.id + ("OfVersion" if "version" in fields else "OfModel")


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if operation.answer:
        done["content"] = {media: {"schema": schema} for media, schema in operation.answer.items()}
    failed = {
        str(code): {
            "description": _MEANING[code],
            "content": {"application/json": {"schema": ref("Error")}},
        }
        for code in operation.fails_with
    }
    return {"200": done, **failed}
