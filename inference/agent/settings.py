"""Settings of the agent process, section `agent`. Its runners read their own sections from the same environment."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.settings import ranged


class ModelControl(StrEnum):
    """Who decides which models of the repository are loaded."""

    POLL = "poll"
    """All are, each again when its folder changed; operators may load and unload them."""
    EXPLICIT = "explicit"
    """Those that operators loaded; at the start also those that are named."""
    NONE = "none"
    """All at the start, and nothing changes afterwards."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Which models one host serves."""

    models: tuple[str, ...] = ()
    """Models as NAME=PATH; PATH is a folder or an .onnx file."""
    repository: Path | None = None
    """Folder whose model folders and .onnx files are served under their names; none by default."""
    model_control: str = ModelControl.POLL
    """Which of its models are loaded: poll (all, again when their folders change), explicit (only those that operators
    load), none (all at the start, never changed). Default poll. Named models are loaded at the start in any case."""
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

    def __post_init__(self) -> None:
        if self.model_control not in list(ModelControl):
            raise ValueError(f"model_control must be {', '.join(ModelControl)}, is {self.model_control!r}")
