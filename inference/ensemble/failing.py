"""What the error of a model means for a request to the ensemble that it is part of."""

from inference.ensemble.plan import Stage
from scheduler.errors import (
    FieldFault,
    InvalidInput,
    ModelFailed,
    ModelOutOfMemory,
    Overloaded,
    SequenceUnknown,
)


def failure_in(stage: Stage, error: Exception) -> Exception:
    """Return the failure of a request whose step failed; its message names the model.

    What a model does not take is the client's fault only where the client sent it.
    """
    name = stage.member.name
    match error:
        case InvalidInput() if stage.first:
            return InvalidInput([FieldFault(fault.field, f"{name}: {fault.fault}") for fault in error.faults])
        case ModelOutOfMemory():
            return ModelOutOfMemory(f"{name}: {error}")
        case SequenceUnknown():
            return SequenceUnknown(f"{name}: {error}")
        case Overloaded():
            return error
        case _:
            return ModelFailed(f"{name}: {error}")
