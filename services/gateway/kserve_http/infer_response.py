"""The answer to an inference: JSON, and behind it the elements of outputs that were asked for as binary data."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from forebay.compat.kserve.kserve_service_pb2 import ModelInferResponse
from services.gateway.kserve_http.elements import all_finite, from_bytes
from services.gateway.kserve_http.infer_request import Form
from services.gateway.kserve_http.messages import parameters_of


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent."""

    content: bytes
    json_bytes: int | None
    """How much of it is JSON; None when all of it is, and there is no binary data."""


def write_response(response: ModelInferResponse, form: Form) -> Body:
    """Return a response in the form that was asked for. Raises BadBody for what JSON cannot hold.

    NaN and infinity, for which JSON has no form, are written as NaN, Infinity and -Infinity: what the protocol's
    clients read.
    """
    binary: list[bytes] = []
    finite = True
    outputs = []
    raws = response.raw_output_contents
    for index, tensor in enumerate(response.outputs):
        raw = raws[index]
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        own = parameters_of(tensor.parameters)
        if form.is_binary(tensor.name):
            own["binary_data_size"] = len(raw)
            binary.append(raw)
        else:
            finite = finite and all_finite(tensor.datatype, raw)
            output["data"] = from_bytes(tensor.datatype, raw, f"output {tensor.name!r}")
        if own:
            output["parameters"] = own
        outputs.append(output)
    head: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        head["id"] = response.id
    if own := parameters_of(response.parameters):
        head["parameters"] = own
    head["outputs"] = outputs
    text = msgspec.json.encode(head) if finite else json.dumps(head, separators=(",", ":")).encode()
    if not binary:
        return Body(text, None)
    return Body(b"".join((text, *binary)), len(text))
