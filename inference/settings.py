"""Settings of engines, section `engine`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How models are run. One set for every model of a runner."""

    providers: tuple[str, ...] = ("tensorrt", "cuda", "cpu")
    """Where models run, first choice first: tensorrt, cuda, cpu. Those that are not there are passed over."""
    gpu_only: bool = False
    """Whether only a GPU may run a model: where none can it is refused, and does not run on the CPU instead. Default
    false; KIND_GPU in the instance_group of a model says the same of that model."""
    device: int = 0
    """Number of the GPU. Default 0."""
    gpu_memory_bytes: int = 0
    """Most GPU memory that one model takes. Default 0: no limit."""
    tensorrt_fp16: bool = False
    """Let TensorRT compute in FP16. Default false."""
    threads: int = 0
    """CPU threads of one model run. Default 0: every core that the process may use; instances of one model share them.
    """
    max_batch: int = 256
    """Most rows in one run of a tensor model. Default 256."""
    capacity: int = 1024
    """Most requests that a tensor or embedding model holds at once, running or about to; a slow one holds fewer.
    Default 1024."""
    batch_time_s: float = 0.1
    """Length of a run, in seconds, that batches of a tensor or embedding model are kept under. Default 0.1; 0: no
    limit."""
    batching: str = "auto"
    """Whether requests of a tensor model share a run: auto (when a trial at load shows that rows do not
    influence each other), always (whenever every first dimension is dynamic), never. Default auto."""
    slots: int = 16
    """Most generations that advance together. Default 16; fewer where their cache does not fit into memory."""
    prefill_tokens: int = 128
    """Prompt tokens that one step reads at most: running generations wait for no more. Default 128."""
    decode: str = "wide"
    """Which weights generate, of a model that has both: wide (8-bit: closest to the original, fastest for many rows),
    narrow (4-bit: fastest for few rows), auto (narrow for few rows, wide for many; an answer may depend on what runs
    beside it then). Default wide."""
    kv_memory_bytes: int = 0
    """Most memory for the attention cache of all slots. Default 0: half of what is free when the model is loaded."""
    prefix_cache_bytes: int = 512 << 20
    """Most memory for prompt beginnings that may come again. Default 512 MiB; 0 for none."""
    prefix_cache_shared: bool = False
    """Recognise a prompt's beginning whoever sent it first. Default false: each tenant has its own."""
    preemption_bytes: int = 1 << 30
    """Most memory for generations that were paused for CRITICAL ones. Default 1 GiB; 0: nothing is paused."""
    watchdog_s: float = 120.0
    """Longest time of one step of a language model, after which the runner ends itself: the model hangs. Default 120;
    0: no limit."""
    context_length: int = 0
    """Most tokens of prompt and answer together, or of a text of an embedding model. Default 0: what the model says."""
    cache: Path | None = None
    """Folder for what can be computed again: digests, TensorRT engines. Default: none is kept."""
