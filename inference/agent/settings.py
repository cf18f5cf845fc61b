"""Settings of the agent process, section `agent`. Its runners read their own sections from the same environment."""

from dataclasses import dataclass
from pathlib import Path

from services.settings import ranged


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Which models one host serves."""

    models: tuple[str, ...] = ()
    """Models as NAME=PATH; PATH is a folder or an .onnx file."""
    repository: Path | None = None
    """Folder whose model folders and .onnx files are served under their names; none by default."""
    listen: str = "127.0.0.1:0"
    """host:port of its gRPC server, for health; port 0 takes a free one."""
    first_pause_s: float = ranged(0.5, minimum=0.01)
    """Pause before a runner that died is started again, in seconds; doubles with each death, unless the runner died of
    the tasks that it was executing."""
    longest_pause_s: float = ranged(30.0, minimum=0.01)
    """Longest pause between two starts, in seconds. A runner that was ready for so long starts anew at the first."""
    retry_unusable_s: float = ranged(60.0, minimum=0.01)
    """Time after which a model that could not be loaded is tried again, in seconds; doubles with each try."""
    longest_retry_s: float = ranged(900.0, minimum=0.01)
    """Longest time between two tries of a model that cannot be loaded, in seconds."""
    grace_s: float = ranged(20.0, minimum=0.0)
    """How long runners get to drain before they are killed, in seconds. More than their own grace period."""
