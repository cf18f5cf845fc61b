"""What an encoder is made of, as plain data, and how it is read from the config.json of a Hugging Face folder.

The family is BERT's ("BERT", Devlin et al., 2019): layers that attend in both directions, norms after each branch,
positions from a table. RoBERTa and XLM-RoBERTa are the same with other names and a table that begins later. What needs
anything else is refused, never approximated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from scheduler.errors import ImportRefused

Activation = Literal["gelu", "gelu_tanh", "relu"]

FAMILIES: Final = ("bert", "roberta", "xlm-roberta")
"""What `model_type` may say."""

_ACTIVATIONS: Final[dict[str, Activation]] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_LARGEST: Final = {
    "layers": 1_000,
    "hidden": 1 << 17,
    "heads": 1 << 12,
    "feed_forward": 1 << 20,
    "vocabulary": 1 << 22,
    "positions": 1 << 20,
    "kinds": 1 << 10,
}
"""Sizes beyond these are taken for damage, before anything of that size is allocated."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The numbers that define a model. Every layer has the same sizes."""

    family: str
    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    """Rows of the table of positions."""
    first_position: int
    """The row of a text's first token."""
    kinds: int
    """Rows of the table of token types; texts are of the first one."""
    norm_epsilon: float
    activation: Activation

    @property
    def context(self) -> int:
        """Tokens that it reads at most."""
        return self.positions - self.first_position

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Tell whether a config.json is that of an encoder, of whatever family."""
    kind = config.get("model_type")
    return kind in FAMILIES or (isinstance(kind, str) and "bert" in kind)


def encoder_shape(config: Mapping[str, Any], source: str) -> EncoderShape:
    """Describe the model of a config.json; `source` names it in refusals.

    Raises ImportRefused for another family, a feature that no graph of ours has, or impossible numbers.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ImportRefused(f"{source} is of the type {family}; supported encoders: {', '.join(FAMILIES)}")
    if config.get("quantization_config"):
        raise ImportRefused(f"{source} has quantised weights; supported: F32, F16 and BF16")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise ImportRefused(f"{source} is a decoder; supported: encoders")
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise ImportRefused(f"{source} has positions of the type {positions}; supported: absolute")
    activation = config.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise ImportRefused(f"{source} has the activation {activation}; supported: {', '.join(_ACTIVATIONS)}")
    first = 0 if family == "bert" else _whole(config, "pad_token_id", source, default=1, lowest=0) + 1
    shape = EncoderShape(
        family=family,
        layers=_whole(config, "num_hidden_layers", source),
        hidden=_whole(config, "hidden_size", source),
        heads=_whole(config, "num_attention_heads", source),
        feed_forward=_whole(config, "intermediate_size", source),
        vocabulary=_whole(config, "vocab_size", source),
        positions=_whole(config, "max_position_embeddings", source),
        first_position=first,
        kinds=_whole(config, "type_vocab_size", source, default=2),
        norm_epsilon=_epsilon(config, source),
        activation=_ACTIVATIONS[activation],
    )
    _check(shape, source)
    return shape


def _check(shape: EncoderShape, source: str) -> None:
    for name, largest in _LARGEST.items():
        value = getattr(shape, name)
        if not 1 <= value <= largest:
            raise ImportRefused(f"{source}: {name} is {value}, must be from 1 to {largest}")
    if shape.hidden % shape.heads:
        raise ImportRefused(f"{source}: a width of {shape.hidden} does not divide into {shape.heads} heads")
    if shape.context < 1:
        raise ImportRefused(f"{source}: {shape.positions} positions leave none for a text")


def _whole(
    config: Mapping[str, Any], key: str, source: str, default: int | None = None, lowest: int = 1
) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ImportRefused(f"{source}: {key} is {value!r}, must be a whole number of at least {lowest}")
    return value


def _epsilon(config: Mapping[str, Any], source: str) -> float:
    value = config.get("layer_norm_eps", 1e-12)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
        raise ImportRefused(f"{source}: layer_norm_eps is {value!r}, must be a number between 0 and 1")
    return float(value)
