"""A whole runner process around a made-up engine that kills the process when it meets the number 666.

Its only scheduler is at the address in FOREBAY_TEST_SCHEDULER; its records grant everything.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from inference.engine import TensorRequest, Update
from inference.runner.__main__ import read_settings
from inference.runner.runner import Runner, Stores
from observability.metrics import RunnerMetrics, new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.membership import SCHEDULER_ROLE
from scheduler.ports.policies import StoredPolicy
from scheduler.ports.records import Ending, Hold, Written
from services.lifecycle import run_service
from tests.unit.inference.runner.fakes import FakeEngine


class Generous:
    """Leases, outcomes, directory and policy in one."""

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        return [True] * len(holds)

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        return [Written.WRITTEN] * len(endings)

    async def members(self, role: str) -> list[tuple[str, bytes]]:
        return [("s", os.environ["FOREBAY_TEST_SCHEDULER"].encode())] if role == SCHEDULER_ROLE else []

    async def announce(self, role: str, name: str, card: bytes, ttl_ms: int) -> None: ...

    async def withdraw(self, role: str, name: str) -> None: ...

    async def policy(self) -> StoredPolicy:
        return StoredPolicy(0, b"", 0)


class PoisonableEngine(FakeEngine):
    """Runs all that it holds at once."""

    def step(self) -> Sequence[Update]:
        for request, _ in self.running.values():
            assert isinstance(request, TensorRequest)
            if np.any(request.inputs["x"] == 666):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step()


async def serve(stop: Any) -> None:
    stores = cast(Any, Generous())
    runner = Runner(
        read_settings(os.environ).runner,
        Stores(stores, stores, stores, stores),
        SystemClock(),
        DEFAULT_POLICY,
        RunnerMetrics(new_registry(), "m"),
        lambda report: PoisonableEngine(),
    )
    await runner.run(stop)


if __name__ == "__main__":
    sys.exit(run_service("runner", serve))
