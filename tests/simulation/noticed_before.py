"""The worlds that noticed what few worlds notice, so that the search for one begins there.

Where other code makes other worlds of the same seeds, the search goes on from the first world, and is only longer; then
`python -m tests.simulation --seeds 2000 --afresh --sabotage NAME ...` finds what belongs here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NOTICED_BEFORE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "cancel-stops-no-writes": 42,
        "deadlines-are-forgotten": 28,
        "everybody-is-charged-for-a-death": 21,
        "finish-is-not-idempotent": 34,
        "finish-without-fence": 447,
        "handing-back-is-charged": 25,
        "output-without-fence": 1005,
        "release-counts-instead-of-naming": 38,
        "release-ignores-the-time": 16,
        "renew-accepts-anything": 30,
        "schedules-fire-without-a-key": 24,
        "shelves-have-no-bottom": 41,
        "timers-leave-no-ticket": 10,
    }
)
"""Seed by the name of the sabotage."""
