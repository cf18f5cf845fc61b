"""The configuration of a loaded model in full, for clients that ask for it: what its file left out is filled in with
what was found.
"""

from collections.abc import Sequence

from forebay.compat.kserve import model_config_pb2 as pb
from inference.engine import EngineKind, ModelCard, Signature
from inference.providers import PROVIDERS
from inference.repository.config_reader import BACKENDS, ENSEMBLE, PLATFORMS
from inference.repository.folder import ModelFolder
from inference.repository.tensors import TYPES


def config_for(folder: ModelFolder, card: ModelCard, *, together: int = 1) -> bytes:
    """Return a serialised inference.ModelConfig. `together` is how many rows share a run at most, as far as the model
    was found to let them; where there is a configuration it says so itself.
    """
    config = pb.ModelConfig()
    if folder.configuration is not None:
        config.CopyFrom(folder.configuration.message)
    config.name = folder.name
    if folder.is_ensemble:
        config.platform = ENSEMBLE
    else:
        config.backend = BACKENDS[-1]
        config.default_model_filename = folder.definition.file
        if card.kind is EngineKind.TENSOR:
            config.platform = PLATFORMS[-1]
    if card.kind is EngineKind.GENERATE:
        config.model_transaction_policy.decoupled = True
    signatures = (*card.inputs, *card.outputs)
    batch = bool(signatures) and all(each.shape[:1] == (-1,) for each in signatures)
    if folder.configuration is None and together > 1 and batch:
        config.max_batch_size = together
        config.dynamic_batching.SetInParent()
        _fill(config, _rows(card.inputs), _rows(card.outputs))
    else:
        _fill(config, card.inputs, card.outputs)
    if config.version_policy.WhichOneof("policy_choice") is None:
        config.version_policy.latest.num_versions = 1
    if not config.instance_group:
        on_cpu = card.provider in ("", PROVIDERS["cpu"])
        config.instance_group.add(kind="KIND_CPU" if on_cpu else "KIND_GPU")
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{folder.name}_{index}"
        group.count = group.count or 1
    return config.SerializeToString(deterministic=True)


def _rows(signatures: Sequence[Signature]) -> tuple[Signature, ...]:
    return tuple(Signature(each.name, each.datatype, each.shape[1:]) for each in signatures)


def _fill(config: pb.ModelConfig, inputs: Sequence[Signature], outputs: Sequence[Signature]) -> None:
    """Add the inputs and outputs of the model where the configuration has none."""
    if not config.input:
        for each in inputs:
            config.input.add(name=each.name, data_type=TYPES[each.datatype], dims=each.shape)
    if not config.output:
        for each in outputs:
            config.output.add(name=each.name, data_type=TYPES[each.datatype], dims=each.shape)
