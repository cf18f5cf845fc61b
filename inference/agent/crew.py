"""The runners of one generation of a model: one for each post."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from forebay.models.v1.model_service_pb2 import RUNNER_STATE_FAILED, RUNNER_STATE_READY
from inference.agent.posts import Post
from inference.agent.supervisor import Report

DEATHS: Final = 3
"""So many runners of a post that died before one was READY make it unusable, as far as anybody can tell."""


class Keeper(Protocol):
    """Keeps the runner of a post up; a Supervisor is one."""

    async def run(self) -> None:
        """Keep it up for ever. Cancelling it lets the runner drain."""
        ...


Keep = Callable[[Post, Callable[[Report], None]], Keeper]
"""Makes what keeps a post's runner up and reports each change."""


class Crew:
    """Runs once: `start`, then `end`."""

    def __init__(self, posts: Sequence[Post], keep: Keep, changed: Callable[[], None]) -> None:
        """`changed` is called after each report."""
        self.posts: Final = tuple(posts)
        self.reports: Final = {post: Report() for post in posts}
        self.settled = asyncio.Event()
        """Set once each post was READY, or is known to be unusable."""
        self.decided = asyncio.Event()
        """Set once all posts are READY, or the first is known to be unusable."""
        self.ended = asyncio.Event()
        """Set once all runners have ended."""
        self._keep = keep
        self._changed = changed
        self._open = set(posts)
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether every post is READY."""
        return all(report.state == RUNNER_STATE_READY for report in self.reports.values())

    @property
    def serves(self) -> bool:
        """Whether any post is READY."""
        return any(report.state == RUNNER_STATE_READY for report in self.reports.values())

    @property
    def fault(self) -> tuple[int, str] | None:
        """The version and the reason of the first post that is unusable; None when there is none."""
        for post, report in self.reports.items():
            if _unusable(report):
                return post.version, report.reason
        return None

    @property
    def runners(self) -> list[str]:
        """The ids of its runners, the last ones of posts that have none now included."""
        return [report.runner_id for report in self.reports.values() if report.runner_id]

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start the runners."""
        self._task = group.create_task(self._run())
        self._task.add_done_callback(lambda task: self.ended.set())

    async def end(self) -> None:
        """Let the runners drain, and return when they have ended. Idempotent; cancelling it changes nothing."""
        if self._task is not None:
            if not self._task.cancelling():
                self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for post in self.posts:
                group.create_task(self._keep(post, partial(self._hear, post)).run())

    def _hear(self, post: Post, report: Report) -> None:
        self.reports[post] = report
        if report.state == RUNNER_STATE_READY or _unusable(report):
            self._open.discard(post)
        if not self._open:
            self.settled.set()
        if self.ready or self.fault is not None:
            self.decided.set()
        self._changed()


def _unusable(report: Report) -> bool:
    return report.state == RUNNER_STATE_FAILED or report.deaths >= DEATHS
