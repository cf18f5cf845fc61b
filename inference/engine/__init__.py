"""What a runner drives: one loaded model that many requests share.

Requests and updates are plain data; converting from and to Protobuf is the runner's business.
"""

from inference.engine.card import Array, EngineKind, ModelCard, Signature
from inference.engine.counts import GenerationStats, RunCounts, RunSize, StepTimes
from inference.engine.protocols import (
    CountsRuns,
    Delays,
    Engine,
    Follows,
    Interruptible,
    KnowsShort,
    Preempts,
    ReportsGeneration,
    SharesRuns,
    TellsRuns,
)
from inference.engine.requests import (
    EmbedRequest,
    FormatKind,
    GenerateRequest,
    Message,
    Request,
    ResponseFormat,
    SequencePlace,
    TensorRequest,
    WantedOutput,
)
from inference.engine.updates import (
    Choice,
    Chunk,
    Done,
    EmbedOutput,
    Failed,
    Finish,
    GenerateOutput,
    TensorOutput,
    TokenLogprob,
    Update,
)

__all__ = [
    "Array",
    "Choice",
    "Chunk",
    "CountsRuns",
    "Delays",
    "Done",
    "EmbedOutput",
    "EmbedRequest",
    "Engine",
    "EngineKind",
    "Failed",
    "Finish",
    "Follows",
    "FormatKind",
    "GenerateOutput",
    "GenerateRequest",
    "GenerationStats",
    "Interruptible",
    "KnowsShort",
    "Message",
    "ModelCard",
    "Preempts",
    "ReportsGeneration",
    "Request",
    "ResponseFormat",
    "RunCounts",
    "RunSize",
    "SequencePlace",
    "SharesRuns",
    "Signature",
    "StepTimes",
    "TellsRuns",
    "TensorOutput",
    "TensorRequest",
    "TokenLogprob",
    "Update",
    "WantedOutput",
]
