"""Keeps one runner process up for one model."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from inference.agent.post_mortem import Examiner
from inference.agent.process import RunnerProcess, Spawn, describe_exit
from inference.agent.settings import AgentSettings
from inference.agent.watch import RunnerWatch
from inference.presence import ANNOUNCE_EVERY_S, EXIT_MODEL_UNUSABLE, EXIT_STUCK, TTL_MS
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import RUNNER_ROLE, Membership

UNKNOWN_REASON: Final = "the runner could not load the model; its log says why"

_log = logging.getLogger(__name__)


class Supervisor:
    """Starts a runner again when it dies: soon when a task seems to be the cause, else after a growing pause, or after
    a long one when its model is unusable. What it held is settled before.
    """

    def __init__(
        self,
        model: str,
        path: Path,
        journals: Path,
        settings: AgentSettings,
        spawn: Spawn,
        membership: Membership,
        post_mortem: Examiner,
        clock: Clock,
        settled: Callable[[str], None],
    ) -> None:
        """`journals` is the folder for the runners' journals. `settled` is told the model's name whenever it is ready
        or known to be unusable.
        """
        self._model = model
        self._path = path
        self._journals = journals
        self._settings = settings
        self._spawn = spawn
        self._membership = membership
        self._post_mortem = post_mortem
        self._clock = clock
        self._settled = settled
        self._watch = RunnerWatch(membership, clock)
        self._status = WatchStatusResponse()
        self._ready_since_s: float | None = None
        self._pause_s = settings.first_pause_s
        self._retry_s = settings.retry_unusable_s
        self._kills_before = 0
        """How often the kernel had killed for memory when the present runner was started."""
        self._told: set[str] = set()
        """Why the model could not be used, as reported since it was last ready."""

    async def run(self) -> None:
        """Keep the runner up for ever. Cancelling it lets the runner drain within the grace period."""
        while True:
            runner_id = f"{socket.gethostname()}-{self._model}-{secrets.token_hex(4)}"
            self._status = WatchStatusResponse()
            self._ready_since_s = None
            journal = self._journals / f"{runner_id}.journal"
            self._kills_before = self._post_mortem.memory_kills()
            code = await self._run_once(runner_id, journal)
            suspects = isinstance(code, int) and await self._examine(journal, code)
            if code == EXIT_MODEL_UNUSABLE:
                await self._rest_unusable(runner_id)
            elif code == EXIT_STUCK:
                _log.warning("runner ended itself, a task did not leave it", extra={"model": self._model})
            else:
                await self._rest_after(code, suspects=suspects)

    async def _run_once(self, runner_id: str, journal: Path) -> int | OSError:
        """Run one process to its end; return its exit code, or why it could not be started."""
        try:
            process = await self._spawn(self._model, self._path, runner_id, journal)
        except OSError as error:
            return error
        _log.info("runner started", extra={"model": self._model, "pid": process.pid, "path": str(self._path)})
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
            self._retry_s = self._settings.retry_unusable_s
            self._told.clear()
            self._settled(self._model)

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
        await self._clock.sleep(self._pause_s)
        if not suspects:
            self._pause_s = min(self._settings.longest_pause_s, self._pause_s * 2)

    def _next_retry_s(self) -> float:
        """Return how long an unusable model is left alone now: twice as long each time, up to a limit."""
        longest_s = self._settings.longest_retry_s
        wait_s, self._retry_s = self._retry_s, min(longest_s, self._retry_s * 2)
        return min(wait_s, longest_s)

    async def _rest_unusable(self, runner_id: str) -> None:
        """Show for a while why the model cannot be served, so that those who look for it see the reason."""
        card = await self._watch.card(runner_id)
        if card is None or card.runner.state != models.RUNNER_STATE_FAILED:
            card = self._status
        if card.runner.state != models.RUNNER_STATE_FAILED:
            runner = models.Runner(
                id=runner_id, model=self._model, state=models.RUNNER_STATE_FAILED, reason=UNKNOWN_REASON
            )
            card = WatchStatusResponse(
                runner=runner, model=models.Model(name=self._model, failures=[UNKNOWN_REASON])
            )
        wait_s = self._next_retry_s()
        reason = card.runner.reason
        _log.log(
            logging.INFO if reason in self._told else logging.ERROR,
            "model unusable",
            extra={"model": self._model, "reason": reason, "retry_in_s": wait_s},
        )
        self._told.add(reason)
        self._settled(self._model)
        until_s = self._clock.monotonic() + wait_s
        shown = card.SerializeToString()
        try:
            while self._clock.monotonic() < until_s:
                with suppress(RecordsUnavailable):
                    await self._membership.announce(RUNNER_ROLE, runner_id, shown, TTL_MS)
                await self._clock.sleep(min(ANNOUNCE_EVERY_S, wait_s))
        finally:
            with suppress(RecordsUnavailable):
                await self._membership.withdraw(RUNNER_ROLE, runner_id)
