"""One agent's life: serve health, keep every model's runner up, let them drain at the end."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from inference.agent.journals import journal_folder
from inference.agent.post_mortem import Examiner
from inference.agent.process import Spawn
from inference.agent.settings import AgentSettings
from inference.agent.supervisor import Supervisor
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from services.lifecycle import RunningServer, grpc_server

_log = logging.getLogger(__name__)


class Agent:
    """Supervises one runner for each model. `run` runs it once."""

    def __init__(
        self,
        settings: AgentSettings,
        catalogue: Mapping[str, Path],
        spawn: Spawn,
        membership: Membership,
        post_mortem: Examiner,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._spawn = spawn
        self._membership = membership
        self._post_mortem = post_mortem
        self._clock = clock
        self._unsettled = set(catalogue)
        self.address = ""
        """host:port of its gRPC server, once it is `listening`."""
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then let the runners drain.

        Health says SERVING once every model was ready or is known to be unusable.
        """
        with journal_folder() as journals:
            await self._serve(journals, stop)

    async def _serve(self, journals: Path, stop: asyncio.Event) -> None:
        async with grpc_server(self._settings.listen, [], grace_s=1.0) as server:
            self.address = server.address
            self.listening.set()
            if not self._catalogue:
                _log.warning("no models to serve")
                server.set_serving(True)
            async with asyncio.TaskGroup() as group:
                supervisors = [
                    group.create_task(self._supervisor(name, path, journals, server).run())
                    for name, path in self._catalogue.items()
                ]
                await stop.wait()
                server.set_serving(False)
                for supervisor in supervisors:
                    supervisor.cancel()

    def _supervisor(self, name: str, path: Path, journals: Path, server: RunningServer) -> Supervisor:
        def settled(model: str) -> None:
            self._unsettled.discard(model)
            if not self._unsettled:
                server.set_serving(True)

        return Supervisor(
            name,
            path,
            journals,
            self._settings,
            self._spawn,
            self._membership,
            self._post_mortem,
            self._clock,
            settled,
        )
