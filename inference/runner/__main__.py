"""`python -m inference.runner`: one runner process. Its agent starts it; all settings come from the environment."""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Mapping
from typing import Final

from inference.presence import EXIT_HUNG, EXIT_MODEL_UNUSABLE, EXIT_OUT_OF_MEMORY, EXIT_STUCK
from inference.runner.app import Settings, build
from inference.runner.settings import RunnerSettings
from inference.runner.stuck import EngineHung, EngineStuck
from inference.settings import EngineSettings
from observability import logs
from services.connections import QueueSettings, RedisSettings, RetentionSettings, TelemetrySettings
from services.lifecycle import run_service
from services.policy_settings import PolicySettings
from services.settings import load

SERVICE: Final = "runner"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read all sections from the environment. Raises StartupRefused."""
    return Settings(
        runner=load(RunnerSettings, section="runner", file=None, environ=environ),
        engine=load(EngineSettings, section="engine", file=None, environ=environ),
        redis=load(RedisSettings, section="redis", file=None, environ=environ),
        queues=load(QueueSettings, section="queues", file=None, environ=environ),
        telemetry=load(TelemetrySettings, section="telemetry", file=None, environ=environ),
        retention=load(RetentionSettings, section="retention", file=None, environ=environ),
        policy=load(PolicySettings, section="policy", file=None, environ=environ),
    )


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code, of which inference/presence.py tells."""
    code = 0

    async def serve(stop: asyncio.Event) -> None:
        nonlocal code
        settings = read_settings(os.environ)
        logs.configure(SERVICE, level=settings.telemetry.log_level)
        if settings.runner.memory_bytes:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (settings.runner.memory_bytes, most))
        try:
            async with build(settings) as runner:
                if not await runner.run(stop):
                    code = EXIT_MODEL_UNUSABLE
        # Both are logged where they were found.
        except* EngineHung:
            code = EXIT_HUNG
        except* EngineStuck:
            code = EXIT_STUCK
        except* MemoryError:
            code = EXIT_OUT_OF_MEMORY
            raise

    ended = run_service(SERVICE, serve)
    if code in (EXIT_STUCK, EXIT_HUNG):
        # The interpreter's own end would tear down what the engine's thread still runs in.
        logging.shutdown()
        os._exit(code)
    return code or ended


if __name__ == "__main__":
    sys.exit(main())
