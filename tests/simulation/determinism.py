"""What makes a world a function of its seed: every clock and every source of randomness that code may reach for."""

import gc
import logging
import os
import random
import secrets
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from scheduler.adapters.memory import events
from scheduler.service import runners
from tests.simulation.virtual_time import VirtualLoop


class OrderedSet(dict[Any, None]):
    """A set that is gone through in the order of entry, whatever the hashes of what is in it."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


HASH_SEED = "0"
"""PYTHONHASHSEED of every process that runs worlds: sets of strings are gone through in the same order."""


def hashes_are_fixed() -> bool:
    """Whether this process was started so that worlds replay exactly."""
    return os.environ.get("PYTHONHASHSEED") == HASH_SEED


@contextmanager
def determined(seed: int, loop: VirtualLoop, wall_ms: Callable[[], int]) -> Iterator[None]:
    """Let all time come from the loop, and all randomness from the seed, while the block runs.

    `wall_ms` is the wall clock of whichever process asks.
    """
    draw = random.Random(seed ^ 0x5EED)
    replaced: list[tuple[object, str, Callable[..., Any]]] = [
        (time, "time", lambda: wall_ms() / 1000),
        (time, "time_ns", lambda: wall_ms() * 1_000_000),
        (time, "monotonic", loop.time),
        (time, "perf_counter", loop.time),
        (time, "monotonic_ns", lambda: int(loop.time() * 1e9)),
        (secrets, "randbits", draw.getrandbits),
        (secrets, "token_bytes", lambda size=32: draw.randbytes(size)),
        (secrets, "token_hex", lambda size=32: draw.randbytes(size).hex()),
        (os, "urandom", draw.randbytes),
        (uuid, "uuid4", lambda: uuid.UUID(int=draw.getrandbits(128), version=4)),
    ]
    random.seed(seed)
    with ExitStack() as stack:
        # What is in these has a hash that depends on where in memory it is.
        for module in (runners, events):
            stack.enter_context(mock.patch.object(module, "set", OrderedSet, create=True))
        for owner, name, replacement in replaced:
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


@contextmanager
def undisturbed(show_logs: bool) -> Iterator[None]:
    """Run worlds without log lines, without collections of garbage at moments of the collector's own choosing, and
    without complaints about the coroutines of the dead, which nobody will ever end.
    """
    hook = sys.unraisablehook
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.unraisablehook = lambda unraisable: None
    if not show_logs:
        logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
        logging.disable(logging.NOTSET)
        gc.enable()
        gc.unfreeze()
