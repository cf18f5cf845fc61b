"""From a call, as a gateway sent it, to what the engine's thread executes."""

from math import inf

from forebay.runner.v1 import runner_service_pb2 as contract
from inference.convert import embed_request, generate_request, tensor_request
from inference.engine import EngineKind, Request, SequencePlace, WantedOutput
from inference.runner.direct.held_call import HeldCall
from inference.runner.direct.outbox import Outbox
from inference.runner.job import LEVELS
from inference.runner.work import check_kind, operation_of
from scheduler.errors import InvalidInput
from scheduler.states import Level

MAX_SEQUENCE_ID_CHARACTERS = 256


def read_call(
    call: contract.Call, key: str, outbox: Outbox, received_s: float, kind: EngineKind, model: str
) -> HeldCall:
    """Check a call for a model of a kind and convert it. Raises InvalidInput; fields are paths inside a TaskSpec."""
    level = LEVELS.get(call.priority, Level.NORMAL)
    given = call.WhichOneof("input")
    request: Request
    operation = ""
    if given == "tensors":
        request = tensor_request(
            call.tensors,
            level=level,
            tenant=call.tenant,
            outputs=tuple([WantedOutput(one.name, one.classes) for one in call.outputs])
            if call.outputs
            else (),
            sequence=_place_of(call.sequence) if call.HasField("sequence") else None,
        )
        size = sum([array.nbytes for array in request.inputs.values()])
    elif given == "generate":
        request = generate_request(call.generate, level=level, tenant=call.tenant)
        operation = operation_of(request)
        size = call.generate.ByteSize()
    elif given == "embed":
        request = embed_request(call.embed, level=level)
        size = call.embed.ByteSize()
    else:
        raise InvalidInput.of("input", "exactly one of generate, tensors and embed is required")
    check_kind(request, kind, model)
    return HeldCall(
        key,
        level,
        received_s,
        call.id,
        outbox,
        size,
        request=request,
        due_s=received_s + call.timeout_ms / 1000 if call.timeout_ms else inf,
        traceparent=call.traceparent,
        operation=operation,
        at_once=call.stream,
    )


def _place_of(sequence: contract.Sequence) -> SequencePlace:
    if not 1 <= len(sequence.id) <= MAX_SEQUENCE_ID_CHARACTERS:
        got = len(sequence.id)
        raise InvalidInput.of(
            "sequence.id", f"expected 1 to {MAX_SEQUENCE_ID_CHARACTERS} characters, got {got}"
        )
    return SequencePlace(sequence.id, sequence.start, sequence.end)
