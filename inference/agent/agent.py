"""One agent's life: serve health, keep the runners of its models up, let them drain at the end."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from inference.agent.catalogue import Catalogue
from inference.agent.folders import Folders
from inference.agent.host import Host
from inference.agent.journals import journal_folder
from inference.agent.post_mortem import Examiner
from inference.agent.posts import Post
from inference.agent.process import Spawn
from inference.agent.settings import AgentSettings, ModelControl
from inference.agent.supervisor import Report, Supervisor
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from scheduler.ports.wanted_models import WantedModels
from services.lifecycle import grpc_server

_log = logging.getLogger(__name__)


class Agent:
    """Supervises the runners of each model. `run` runs it once."""

    def __init__(
        self,
        settings: AgentSettings,
        catalogue: Catalogue,
        spawn: Spawn,
        membership: Membership,
        wanted: WantedModels,
        post_mortem: Examiner,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._spawn = spawn
        self._membership = membership
        self._wanted = wanted
        self._post_mortem = post_mortem
        self._clock = clock
        self.address = ""
        """host:port of its gRPC server, once it is `listening`."""
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then let the runners drain.

        Health says SERVING once every model that is loaded at the start was ready or is known to be unusable.
        """
        with journal_folder() as journals:
            await self._serve(journals, stop)

    async def _serve(self, journals: Path, stop: asyncio.Event) -> None:
        async with grpc_server(self._settings.listen, [], grace_s=1.0) as server:
            self.address = server.address
            self.listening.set()
            if not self._catalogue.named and self._catalogue.repository is None:
                _log.warning("no models to serve")

            def settled() -> None:
                server.set_serving(not stop.is_set())

            host = Host(
                ModelControl(self._settings.model_control),
                Folders(self._catalogue),
                tuple(self._catalogue.named),
                lambda post, report: self._supervisor(post, journals, report),
                self._membership,
                self._wanted,
                self._clock,
                settled,
            )
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(host.run())
                await stop.wait()
                server.set_serving(False)
                serving.cancel()

    def _supervisor(self, post: Post, journals: Path, report: Callable[[Report], None]) -> Supervisor:
        return Supervisor(
            post,
            journals,
            self._settings,
            self._spawn,
            self._membership,
            self._post_mortem,
            self._clock,
            report,
        )
