"""How requests share runs, and what is kept between them, as a configuration says."""

from typing import Final

from forebay.compat.kserve import model_config_pb2 as pb
from inference.engine import Array
from inference.repository.configuration import Configuration, Report
from inference.repository.data_files import Unreadable
from inference.repository.definition import (
    ControlInput,
    ControlKind,
    DynamicBatching,
    Sequences,
    StateDefinition,
)
from inference.repository.made_data import from_file, zeros
from inference.repository.outline import FieldPath
from inference.repository.tensors import datatype_of, dims_of

INITIAL_STATE_FOLDER: Final = "initial_state"

_KINDS: Final = {
    pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_START: ControlKind.START,
    pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_END: ControlKind.END,
    pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_READY: ControlKind.READY,
    pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID: ControlKind.ID,
}
_ID_TYPES: Final = ("UINT64", "INT64", "UINT32", "INT32", "BYTES")

Strategy = pb.ModelDynamicBatching | pb.ModelSequenceBatching.StrategyOldest


def batching_of(configuration: Configuration, report: Report) -> DynamicBatching | None:
    """Return how requests share runs; None when they do not. Raises ModelUnusable with the place."""
    message = configuration.message
    most = message.max_batch_size
    choice = message.WhichOneof("scheduling_choice")
    if choice == "dynamic_batching":
        if not most:
            where = configuration.at(("dynamic_batching",))
            report(f"{where}: dynamic_batching has no effect without max_batch_size")
            return None
        return _batching(configuration, ("dynamic_batching",), message.dynamic_batching)
    if choice == "sequence_batching" and most:
        sequences = message.sequence_batching
        if sequences.WhichOneof("strategy_choice") == "oldest":
            return _batching(configuration, ("sequence_batching", "oldest"), sequences.oldest)
        return DynamicBatching(longest_delay_s=sequences.direct.max_queue_delay_microseconds / 1e6)
    return None


def sequences_of(configuration: Configuration, *, data: bool) -> Sequences | None:
    """Return how a model keeps state; initial states only where `data` is wanted.

    Raises ModelUnusable with the place.
    """
    if configuration.message.WhichOneof("scheduling_choice") != "sequence_batching":
        return None
    message = configuration.message.sequence_batching
    controls: list[ControlInput] = []
    for index, one in enumerate(message.control_input):
        at: FieldPath = ("sequence_batching", "control_input", index)
        control = _control(configuration, at, one)
        if control.kind in [other.kind for other in controls]:
            raise configuration.fault(at, f"there are two control inputs for {control.kind}")
        controls.append(control)
    idle_s = message.max_sequence_idle_microseconds / 1e6
    return Sequences(
        states=tuple(
            _state(configuration, ("sequence_batching", "state", index), state, data=data)
            for index, state in enumerate(message.state)
        ),
        controls=tuple(controls),
        longest_idle_s=idle_s or Sequences().longest_idle_s,
    )


def _batching(configuration: Configuration, at: FieldPath, strategy: Strategy) -> DynamicBatching:
    most = configuration.message.max_batch_size
    for index, size in enumerate(strategy.preferred_batch_size):
        if not 1 <= size <= most:
            place = (*at, "preferred_batch_size", index)
            raise configuration.fault(
                place, f"a preferred batch size is 1 to max_batch_size {most}, not {size}"
            )
    return DynamicBatching(
        preferred_sizes=tuple(sorted(set(strategy.preferred_batch_size))),
        longest_delay_s=strategy.max_queue_delay_microseconds / 1e6,
        preserve_ordering=strategy.preserve_ordering,
    )


def _control(
    configuration: Configuration, at: FieldPath, one: pb.ModelSequenceBatching.ControlInput
) -> ControlInput:
    if not one.name:
        raise configuration.fault(at, "a control input has no name")
    if len(one.control) != 1:
        raise configuration.fault(at, f"control input {one.name!r} needs exactly one control")
    [control] = one.control
    at = (*at, "control", 0)
    kind = _KINDS[control.kind]
    values = [
        (datatype, field, given)
        for datatype, field, given in (
            ("INT32", "int32_false_true", list(map(float, control.int32_false_true))),
            ("FP32", "fp32_false_true", list(control.fp32_false_true)),
            ("BOOL", "bool_false_true", list(map(float, control.bool_false_true))),
        )
        if given
    ]
    where = configuration.at(at)
    if kind is ControlKind.ID:
        if values:
            raise configuration.fault(
                (*at, values[0][1]), "the id of a sequence has no values for no and yes"
            )
        datatype = datatype_of(configuration, at, control.data_type)
        if datatype not in _ID_TYPES:
            raise configuration.fault(
                (*at, "data_type"), f"an id is one of {', '.join(_ID_TYPES)}, not {datatype}"
            )
        return ControlInput(one.name, kind, datatype, place=where)
    if len(values) != 1 or len(values[0][2]) != 2:
        expected = (
            "two values, for no and for yes, in one of int32_false_true, fp32_false_true, bool_false_true"
        )
        raise configuration.fault(at, f"control input {one.name!r} needs {expected}")
    datatype, _, (off, on) = values[0]
    return ControlInput(one.name, kind, datatype, off, on, place=where)


def _state(
    configuration: Configuration, at: FieldPath, state: pb.ModelSequenceBatching.State, *, data: bool
) -> StateDefinition:
    if not (state.input_name and state.output_name):
        raise configuration.fault(at, "a state needs input_name and output_name")
    if not state.dims:
        raise configuration.fault(at, f"state {state.input_name!r} has no dims")
    if len(state.initial_state) > 1:
        raise configuration.fault((*at, "initial_state", 1), "a state has one initial state at most")
    shape = dims_of(configuration, (*at, "dims"), state.dims)
    datatype = datatype_of(configuration, at, state.data_type)
    initial = None
    for begin in state.initial_state:
        initial = _initial(configuration, (*at, "initial_state", 0), begin, datatype, shape, data=data)
    return StateDefinition(
        state.input_name, state.output_name, datatype, shape, initial, place=configuration.at(at)
    )


def _initial(
    configuration: Configuration,
    at: FieldPath,
    begin: pb.ModelSequenceBatching.InitialState,
    datatype: str,
    shape: tuple[int, ...],
    *,
    data: bool,
) -> Array | None:
    if datatype_of(configuration, at, begin.data_type) != datatype:
        raise configuration.fault((*at, "data_type"), f"the state is {datatype}")
    dims = dims_of(configuration, (*at, "dims"), begin.dims, free=False)
    if len(dims) != len(shape) or any(want not in (-1, have) for want, have in zip(shape, dims, strict=True)):
        raise configuration.fault((*at, "dims"), f"{list(dims)} does not fit the state's {list(shape)}")
    choice = begin.WhichOneof("state_data")
    if choice is None:
        raise configuration.fault(at, "an initial state needs zero_data or data_file")
    if not data:
        return None
    folder = configuration.file.parent / INITIAL_STATE_FOLDER
    try:
        if choice == "zero_data":
            return zeros(datatype, dims)
        return from_file(folder, begin.data_file, datatype, dims)
    except Unreadable as error:
        raise configuration.fault((*at, choice), f"the initial state cannot be made from {error}")
