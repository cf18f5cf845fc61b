"""Which outputs of a model a request wants."""

from typing import NamedTuple

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from scheduler.errors import FieldFault, InvalidInput
from services.gateway.input_validation import MAX_NAME, MAX_TENSORS
from services.gateway.kserve.parameters import classes_of, refuse_shared_memory
from services.gateway.kserve.served import Served
from services.gateway.validation import MAX_FAULTS


class WantedOutput(NamedTuple):
    """One of them."""

    name: str
    classes: int
    """How many of its highest values are wanted in its place; 0 for the output itself."""


def wanted_outputs(served: Served, request: ModelInferRequest) -> tuple[WantedOutput, ...]:
    """Return them in the order of the request; none for all. Raises InvalidInput with every fault found."""
    if len(request.outputs) > MAX_TENSORS:
        raise InvalidInput.of("outputs", f"must be at most {MAX_TENSORS}, are {len(request.outputs)}")
    known = [port.name for port in served.outputs]
    wanted = []
    faults = []
    seen = set()
    for index, output in enumerate(request.outputs):
        at, name, classes = f"outputs[{index}]", output.name, 0
        if output.parameters:
            refuse_shared_memory(output.parameters, at, f"output '{name}'")
            classes = classes_of(output.parameters, at, name)
        if not 1 <= len(name) <= MAX_NAME:
            faults.append(FieldFault(f"{at}.name", f"must be 1 to {MAX_NAME} characters long"))
        elif known and name not in known:
            fault = (
                f"unexpected output '{name}' for model '{served.name}'. Expected some of {', '.join(known)}"
            )
            faults.append(FieldFault(f"{at}.name", fault))
        elif name in seen:
            faults.append(FieldFault(f"{at}.name", f"output '{name}' is wanted twice"))
        seen.add(name)
        wanted.append(WantedOutput(name, classes))
    if faults:
        raise InvalidInput(faults[:MAX_FAULTS])
    return tuple(wanted)
