"""Calls of tensor models: from a request to what a runner gets, and from its answer to a response."""

from collections.abc import Sequence
from functools import partial

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest, ModelInferResponse
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from services.gateway.direct import DirectCall
from services.gateway.kserve.layouts import Layout, elements_of, layout_of
from services.gateway.kserve.parameters import Options
from services.gateway.kserve.served import Served
from services.gateway.kserve.wanted_outputs import WantedOutput, wanted_outputs

_FRAMING_BYTES = 64
"""What surrounds the elements of an input, about."""


def tensor_call(served: Served, request: ModelInferRequest, options: Options, tenant: str) -> DirectCall:
    """Return the call of a request. Raises InvalidInput. A model that keeps no state takes no notice of sequences."""
    layout = layout_of(request)
    raws = elements_of(served, request, layout)
    outputs = wanted_outputs(served, request) if request.outputs else ()
    wanted = DirectCall(
        tenant,
        served.name,
        partial(_fill, layout, raws, outputs),
        size_bytes=sum(map(len, raws)) + _FRAMING_BYTES * len(raws),
    )
    if served.stateful:
        wanted.sequence_key = options.sequence
        wanted.sequence_start, wanted.sequence_end = options.sequence_start, options.sequence_end
    return wanted


def write_tensors(response: ModelInferResponse, answer: Answer) -> None:
    """Write what a tensor model answered."""
    add, add_raw = response.outputs.add, response.raw_output_contents.append
    for tensor in answer.tensors.tensors:
        add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        add_raw(tensor.raw)


def _fill(layout: Layout, raws: Sequence[bytes], outputs: Sequence[WantedOutput], call: Call) -> None:
    add = call.tensors.tensors.add
    for (name, datatype, shape), raw in zip(layout, raws, strict=True):
        add(name=name, datatype=datatype, shape=shape, raw=raw)
    for output, classes in outputs:
        call.outputs.add(name=output, classes=classes)
