"""What runners and agents agree on: how a runner shows itself in the directory, and what its exit codes say."""

from typing import Final

ANNOUNCE_EVERY_S: Final = 0.5
TTL_MS: Final = 2_000
FAILED_TTL_MS: Final = 10_000
"""How long the card of a runner that could not load its model outlives it: its agent reads the reason there."""

EXIT_MODEL_UNUSABLE: Final = 3
"""The model cannot be loaded: starting the runner again soon would not help. 0 is drained, 1 a fault."""

EXIT_OUT_OF_MEMORY: Final = 4
"""Memory ran out where no request could be blamed for it: the process was not to be trusted any more."""

EXIT_STUCK: Final = 5
"""A task that had ended did not leave the engine; what else the runner held was handed back."""

EXIT_HUNG: Final = 6
"""A step of the engine did not end in time; what it executed is still leased, for the agent to look into."""
