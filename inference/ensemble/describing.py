"""What is known of an ensemble from its models."""

import hashlib

from inference.engine import EngineKind, ModelCard, Signature
from inference.ensemble.plan import Plan
from inference.repository.definition import ModelDefinition


def card_of(definition: ModelDefinition, plan: Plan) -> ModelCard:
    """Describe an ensemble. Its digest covers its steps and the digests of their models."""
    members = [stage.member for stage in plan.stages]
    listing = "".join(
        f"{stage.member.engine.card.digest}  {stage.member.name} "
        f"{sorted(stage.inputs.items())} {sorted(stage.outputs.items())}\n"
        for stage in plan.stages
    )
    batched = definition.max_batch_size > 0
    return ModelCard(
        kind=EngineKind.TENSOR,
        digest=hashlib.sha256(listing.encode()).hexdigest(),
        provider=", ".join(dict.fromkeys(member.engine.card.provider for member in members)),
        inputs=tuple(_seen(port.signature, batched=batched) for port in plan.interface.inputs),
        outputs=tuple(_seen(port.signature, batched=batched) for port in plan.interface.outputs),
        max_batch_size=definition.max_batch_size,
        stateful=any(member.engine.card.stateful for member in members),
    )


def _seen(signature: Signature, *, batched: bool) -> Signature:
    """Return a signature as clients are told: without the batch dimension where there is one."""
    return Signature(signature.name, signature.datatype, signature.shape[1:]) if batched else signature
