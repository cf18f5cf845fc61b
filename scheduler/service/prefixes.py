"""How the prompt of a generation begins, as chained hashes of its blocks, for the routing that follows prefixes."""

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.routing.prompt_blocks import chained_hashes


def prefixes_of(envelope: Envelope) -> tuple[int, ...]:
    """Return a hash for each beginning of the prompt that is a whole number of blocks, the shortest first.

    Tenants never share a beginning. Empty for what is no generation, or is shorter than a block.
    """
    try:
        spec = TaskSpec.FromString(envelope.spec)
    except DecodeError:
        return ()
    if spec.WhichOneof("input") != "generate":
        return ()
    generate = spec.generate
    text = generate.prompt or "\0".join(
        f"{message.role}\0{part.text}" for message in generate.messages.messages for part in message.parts
    )
    return chained_hashes(envelope.tenant, envelope.model, text)
