"""Settings of a runner process, section `runner`; those of its engine are in inference/loading.py."""

from dataclasses import dataclass
from pathlib import Path

from services.settings import ranged


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Which model one runner serves, and how."""

    model: str
    """Name of the model, as tasks name it."""
    path: Path
    """Its folder or file."""
    id: str = ""
    """Name of this runner in the directory; empty for one made of host, model and a random part."""
    version: int = ranged(0, minimum=0)
    """Which version of the model it serves. Default 0: the model has no versions."""
    highest: bool = True
    """Whether no higher version is served: it is meant by tasks that name none. Default true."""
    generation: int = ranged(0, minimum=0)
    """How often the model was loaded before it, since its agent began. Default 0."""
    pool: str = "default"
    """The pool of tasks that it serves."""
    listen: str = "127.0.0.1:0"
    """host:port of its gRPC server; port 0 takes a free one."""
    zone: str = ""
    """Where it is, for example a rack or a region, for models whose tasks stay near. Default: nowhere in particular."""
    weight: int = ranged(100, minimum=1, maximum=1_000_000)
    """Its part of the work, beside others of the model, where routing goes by weight. Default 100."""
    metrics_listen: str = "127.0.0.1:0"
    """host:port of its Prometheus page; empty for none."""
    credits: int = 0
    """Tasks that it takes ahead, executing ones included; 0 for a tenth of a second's work, at most 1024 (tensor), or
    twice its capacity (generation)."""
    output_flush_ms: int = 60
    """Longest time that generated text waits for more of it before it is written, in milliseconds. First tokens and
    ends go at once. Default 60: shorter than anybody sees, and two or three steps of a full batch in one write."""
    grace_s: float = 10.0
    """How long running work may take to end after SIGTERM, in seconds."""
    hard_kill_after_s: float = ranged(10.0, minimum=0.01)
    """How long a task that was cancelled, or whose deadline passed, may still occupy the engine, in seconds: then the
    runner hands back what else it holds and ends itself. Default 10."""
    memory_bytes: int = ranged(0, minimum=0)
    """Most address space of the process (RLIMIT_AS), so that a model that wants more gets an error instead of being
    killed. Default 0: no limit."""
    journal: Path | None = None
    """File in which it notes what it holds and executes; its agent names one. Default: none is written."""

    @property
    def answers_to(self) -> str:
        """The name by which tasks ask for what it serves."""
        return self.model if self.highest or not self.version else self._with_version

    @property
    def also(self) -> tuple[str, ...]:
        """Other names by which they may."""
        return (self._with_version,) if self.highest and self.version else ()

    @property
    def _with_version(self) -> str:
        return f"{self.model}@{self.version}"
