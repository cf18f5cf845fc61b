"""From an envelope to what the cost of its task depends on."""

from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.policies.expected import Traits


def traits_of(envelope: Envelope) -> Traits:
    """Return the traits of a task. Sizes are as its gateway gave them; 0 where it gave none."""
    size, limit = envelope.input_size, envelope.output_limit
    return Traits(
        envelope.model,
        envelope.tenant,
        envelope.priority,
        size if size > 0 else 0,
        limit if limit > 0 else 0,
        envelope.kind,
    )
