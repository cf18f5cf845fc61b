"""What a runner announces for the result cache: a digest that changes whenever its answers may, and whether they are
the same each time.

The digest covers the model's files (weights, tokenizer, chat template and their configurations, as
`inference.artifacts` reads and remembers them), what the configuration of its folder does to answers, the provider and
its precision, which weights are used and how exactly the processor multiplies them, and the versions of every package
that takes part in an answer. What only decides how much runs at once is left out.

Answers are not the same each time where the model draws (its graph or, for prompts, chats and texts, its tokenizer), an
ensemble where one of its models does, and those to chats where the template is unsteady: `inference.steadiness` has the
rules. Numbers that are drawn to sample tokens are none of the model's, but of the request, which can name a seed.
"""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from inference.artifacts import WIDE_FILE, inspect
from inference.engine import EngineKind, ModelCard
from inference.processor import multiplies_bytes_exactly
from inference.repository.definition import ModelDefinition
from inference.repository.folder import ModelFolder
from inference.settings import EngineSettings
from inference.steadiness import draws_at_random, random_tokens, unsteady_template

PACKAGES: Final = ("forebay", "jinja2", "llguidance", "numpy", "onnxruntime", "onnxruntime-gpu", "tokenizers")
"""Another version of one of these may answer otherwise; those that are not installed have none."""


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What the result cache has to know of a loaded model."""

    digest: str
    """SHA-256, hexadecimal."""
    unsteady_chats: bool = False
    """Whether the chat template writes the time, or something at random."""
    draws: bool = False
    """Whether the graph or the tokenizer draws random numbers, so that no request has its answer for sure."""


def model_traits(
    folder: ModelFolder,
    version: int,
    card: ModelCard,
    settings: EngineSettings,
    members: Mapping[str, ModelTraits] | None = None,
) -> ModelTraits:
    """Return the traits of a model that was opened with `settings`; `members` are those of an ensemble, by name and
    version. Blocks while it reads the structure of the model's graph. Raises ModelUnusable.
    """
    members = members or {}
    digest = digest_of(
        {
            **definition_parts(folder.definition),
            **settings_parts(settings),
            **{f"member {name}": member.digest for name, member in members.items()},
            **{f"package {name}": _version(name) for name in PACKAGES},
            "files": card.digest,
            "kind": card.kind.value,
            "provider": card.provider,
            "context": str(card.context_length),
            "machine": platform.machine(),
            "exact bytes": str(multiplies_bytes_exactly()),
        }
    )
    unsteady = draws = False
    if not folder.is_ensemble:
        where, name = folder.holder(version)
        artifact = inspect(folder.path) if folder.path.is_file() else inspect(where, name)
        unsteady = card.kind is EngineKind.GENERATE and unsteady_template(artifact.root)
        forms = (artifact.model, artifact.root / WIDE_FILE)
        draws = any(draws_at_random(form) for form in forms if form.is_file())
        draws = draws or (card.kind is not EngineKind.TENSOR and random_tokens(artifact.root))
    return ModelTraits(digest, unsteady, draws or any(member.draws for member in members.values()))


def digest_of(parts: Mapping[str, str]) -> str:
    """Return one digest of named parts, whatever their order."""
    digest = hashlib.sha256(b"forebay model digest 1\0")
    for pair in sorted(parts.items()):
        for text in pair:
            encoded = text.encode("utf-8", "surrogateescape")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def settings_parts(settings: EngineSettings) -> dict[str, str]:
    """Return the settings that change answers: precision and weights. The provider in use is on the card."""
    return {"settings.tensorrt_fp16": str(settings.tensorrt_fp16), "settings.decode": settings.decode}


def definition_parts(definition: ModelDefinition) -> dict[str, str]:
    """Return what the configuration of a folder does to answers: shapes, labels, and the steps of an ensemble."""
    steps = [
        (step.model, step.version, sorted(step.inputs.items()), sorted(step.outputs.items()))
        for step in definition.ensemble
    ]
    return {
        "definition.max_batch_size": str(definition.max_batch_size),
        "definition.inputs": repr([replace(one, place="") for one in definition.inputs]),
        "definition.outputs": repr([replace(one, place="") for one in definition.outputs]),
        "definition.ensemble": repr(steps),
        "definition.file": definition.file,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
