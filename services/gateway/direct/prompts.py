"""How the prompt of a generation begins, for the routing that follows prefixes."""

from forebay.tasks.v1 import inputs_pb2
from scheduler.routing.prompt_blocks import chained_hashes


def prefixes_of(tenant: str, model: str, generate: inputs_pb2.GenerateInput) -> tuple[int, ...]:
    """Return hashes of the beginnings of a prompt, the shortest first; empty for a short one."""
    text = generate.prompt or "\0".join(
        f"{message.role}\0{part.text}" for message in generate.messages.messages for part in message.parts
    )
    return chained_hashes(tenant, model, text)
