"""Keeps one runner process up for one post."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from inference.agent.post_mortem import Examiner
from inference.agent.posts import Post
from inference.agent.process import RunnerProcess, Spawn, describe_exit
from inference.agent.settings import AgentSettings
from inference.agent.unusable import UnusableModel
from inference.agent.watch import RunnerWatch
from inference.presence import EXIT_MODEL_UNUSABLE, EXIT_STUCK
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership

_log = logging.getLogger(__name__)


class Report(NamedTuple):
    """How far a post is."""

    state: models.RunnerState.ValueType = models.RUNNER_STATE_UNSPECIFIED
    """UNSPECIFIED while it has no runner."""
    reason: str = ""
    """Why it FAILED, or how its runner died."""
    runner_id: str = ""
    """The present runner, or the last one."""
    deaths: int = 0
    """How many runners died since one was READY."""


class Supervisor:
    """Starts a runner again when it dies: soon when a task seems to be the cause, else after a growing pause, or after
    a long one when its model is unusable. What it held is settled before.
    """

    def __init__(
        self,
        post: Post,
        journals: Path,
        settings: AgentSettings,
        spawn: Spawn,
        membership: Membership,
        post_mortem: Examiner,
        clock: Clock,
        report: Callable[[Report], None],
    ) -> None:
        """`journals` is the folder for the runners' journals. `report` hears of every change."""
        self._post = post
        self._model = post.model
        self._journals = journals
        self._settings = settings
        self._spawn = spawn
        self._membership = membership
        self._post_mortem = post_mortem
        self._clock = clock
        self._tell = report
        self._report = Report()
        self._watch = RunnerWatch(membership, clock)
        self._status = WatchStatusResponse()
        self._ready_since_s: float | None = None
        self._pause_s = settings.first_pause_s
        self._unusable = UnusableModel(
            post, settings.retry_unusable_s, settings.longest_retry_s, membership, clock
        )
        self._kills_before = 0
        """How often the kernel had killed for memory when the present runner was started."""

    async def run(self) -> None:
        """Keep the runner up for ever. Cancelling it lets the runner drain within the grace period."""
        while True:
            runner_id = f"{socket.gethostname()}-{self._model}-{secrets.token_hex(4)}"
            self._status = WatchStatusResponse()
            self._ready_since_s = None
            self._change(models.RUNNER_STATE_LOADING, runner_id=runner_id)
            journal = self._journals / f"{runner_id}.journal"
            self._kills_before = self._post_mortem.memory_kills()
            code = await self._run_once(runner_id, journal)
            suspects = isinstance(code, int) and await self._examine(journal, code)
            if code == EXIT_MODEL_UNUSABLE:
                card = self._unusable.card_of(runner_id, await self._watch.card(runner_id), self._status)
                self._change(models.RUNNER_STATE_FAILED, card.runner.reason)
                await self._unusable.rest(card)
            elif code == EXIT_STUCK:
                _log.warning("runner ended itself, a task did not leave it", extra={"model": self._model})
                self._change(models.RUNNER_STATE_UNSPECIFIED, describe_exit(code))
            else:
                await self._rest_after(code, suspects=suspects)

    async def _run_once(self, runner_id: str, journal: Path) -> int | OSError:
        """Run one process to its end; return its exit code, or why it could not be started."""
        try:
            process = await self._spawn(self._post, runner_id, journal)
        except OSError as error:
            return error
        _log.info(
            "runner started",
            extra={
                "model": self._model,
                "pid": process.pid,
                "path": str(self._post.path),
                "version": self._post.version,
                "generation": self._post.generation,
            },
        )
        ended = False
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch.follow(runner_id, self._hear))
                code = await process.wait()
                ended = True
                watching.cancel()
            return code
        finally:
            if not ended:
                await self._end(process, journal)

    async def _end(self, process: RunnerProcess, journal: Path) -> None:
        """Let a runner drain; kill it when the grace period is over, or when this is cancelled once more."""
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._settings.grace_s):
                code = await process.wait()
            _log.info("runner ended", extra={"model": self._model, "how": describe_exit(code)})
            # One that drained has handed everything back itself.
            if code:
                await self._examine(journal, code)
        except BaseException as error:
            with suppress(ProcessLookupError):
                process.kill()
            if not isinstance(error, TimeoutError):
                raise
            _log.warning("runner killed, it did not end in time", extra={"model": self._model})
            code = await process.wait()
            await self._examine(journal, code, blameless=True)

    async def _examine(self, journal: Path, code: int, *, blameless: bool = False) -> bool:
        """Settle what the runner held; return whether tasks are suspected of its death."""
        return await self._post_mortem.examine(journal, code, self._kills_before, blameless=blameless)

    def _hear(self, status: WatchStatusResponse) -> None:
        before, self._status = self._status.runner.state, status
        if status.runner.state == models.RUNNER_STATE_READY and before != models.RUNNER_STATE_READY:
            self._ready_since_s = self._clock.monotonic()
            _log.info("model ready", extra={"model": self._model, "provider": status.runner.provider})
            self._unusable.was_ready()
        if status.runner.state != before:
            self._change(status.runner.state, status.runner.reason)

    def _change(
        self, state: models.RunnerState.ValueType, reason: str = "", *, runner_id: str = "", deaths: int = 0
    ) -> None:
        """Report a change; `deaths` are added to those before, which a runner that is READY makes up for."""
        before = self._report
        count = 0 if state == models.RUNNER_STATE_READY else before.deaths + deaths
        self._report = Report(state, reason, runner_id or before.runner_id, count)
        if self._report != before:
            self._tell(self._report)

    async def _rest_after(self, how: int | OSError, *, suspects: bool) -> None:
        """Wait before the next start, longer after each death that comes soon after a start.

        Not longer when tasks are suspected: those deaths are bounded, for tasks use up their attempts, and meanwhile
        the model must not be taken from the others.
        """
        ready_s = 0.0 if self._ready_since_s is None else self._clock.monotonic() - self._ready_since_s
        if suspects or ready_s >= self._settings.longest_pause_s:
            self._pause_s = self._settings.first_pause_s
        reason = describe_exit(how) if isinstance(how, int) else f"not started: {how.strerror}"
        _log.error("runner died", extra={"model": self._model, "how": reason, "restart_in_s": self._pause_s})
        self._change(models.RUNNER_STATE_UNSPECIFIED, f"its runner died: {reason}", deaths=1)
        await self._clock.sleep(self._pause_s)
        if not suspects:
            self._pause_s = min(self._settings.longest_pause_s, self._pause_s * 2)
