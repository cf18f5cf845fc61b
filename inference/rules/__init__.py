"""What holds for a generation or an embedding whatever the model: limits and the checks of them, for gateways and
runners alike.

It imports neither NumPy nor a runtime: a gateway has no use for them.
"""

from inference.rules.embedding import check_embed
from inference.rules.formats import format_fault, schema_fault
from inference.rules.generation import Faults, check_generate

__all__ = ["Faults", "check_embed", "check_generate", "format_fault", "schema_fault"]
