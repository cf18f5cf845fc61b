"""In which fields two specs differ: names only, never values."""

from google.protobuf.message import Message

from forebay.tasks.v1 import task_pb2

_KINDS = ("generate", "tensors", "embed")


def differing(one: task_pb2.TaskSpec, other: task_pb2.TaskSpec) -> list[str]:
    """Return names of fields that are not equal, the idempotency key aside; of an input, names of its fields."""
    found: list[str] = []
    kinds = one.WhichOneof("input"), other.WhichOneof("input")
    for field in task_pb2.TaskSpec.DESCRIPTOR.fields:
        name = field.name
        if name == "idempotency_key" or _same(one, other, name):
            continue
        if name not in _KINDS:
            found.append(name)
        elif kinds[0] == kinds[1]:
            inner = getattr(one, name), getattr(other, name)
            names = [part.name for part in inner[0].DESCRIPTOR.fields if not _same(*inner, part.name)]
            found += [f"{name}.{part}" for part in names]
        elif "input" not in found:
            found.append("input")
    return found


def _same(one: Message, other: Message, name: str) -> bool:
    present = one.DESCRIPTOR.fields_by_name[name].has_presence
    if present and one.HasField(name) != other.HasField(name):
        return False
    return bool(getattr(one, name) == getattr(other, name))
