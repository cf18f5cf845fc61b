"""How often a service looks for garbage in cycles.

Python looks after every 700 new objects that hold others. A batch of a few hundred tasks makes more than that, none of
them in a cycle, so each batch would be looked at several times for nothing: a tenth of all that it costs.
"""

import gc
from typing import Final

NEW_OBJECTS: Final = 10_000
"""New objects after which the youngest are looked at; some ten batches' worth, and a few megabytes."""


def collect_seldom() -> None:
    """Look at the objects that are here now no more, and at new ones less often. For a process that has just been put
    together: what it is made of stays until it ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
