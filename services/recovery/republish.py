"""Puts every task that has not ended on the log again: the repair after the log lost messages.

Harmless at any time: a message whose publication number is not the record's is stale, and one that is there twice is
leased once. Called by `forebay recover --republish`, and by `forebay up` after it changed the broker's folder.
"""

from dataclasses import dataclass
from typing import Final

from scheduler.ports.walk import WalkStore, open_pages
from scheduler.states import TaskState
from services.bundling import Bundler

PAGE: Final = 512
"""Records looked at in one step."""


@dataclass(slots=True)
class Republished:
    """What was found and done."""

    queued: int = 0
    """Tasks put on their lanes."""
    parked: int = 0
    """Tasks that run, or wait for something, put on the parked topic."""


async def republish(store: WalkStore, bundler: Bundler, *, dry_run: bool = False) -> Republished:
    """Walk all records and publish those that have not ended, under their present numbers.

    Raises RecordsUnavailable and LogUnavailable; doing it again is harmless.
    """
    done = Republished()
    async for tasks in open_pages(store, PAGE):
        queued = [task for task in tasks if task.state is TaskState.QUEUED]
        others = [task for task in tasks if task.state is not TaskState.QUEUED]
        if not dry_run:
            await bundler.put([task.publication for task in queued])
            await bundler.put([task.publication for task in others], parked=True)
        done.queued += len(queued)
        done.parked += len(others)
    await bundler.flush()
    return done
