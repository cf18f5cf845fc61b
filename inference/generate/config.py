"""Reading genai_config.json: which inputs and outputs the model has, its sizes, and what ends an answer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.errors import ModelUnusable


@dataclass(frozen=True, slots=True)
class GenaiConfig:
    """What the engine needs of genai_config.json."""

    input_ids: str
    attention_mask: str
    position_ids: str | None
    """None when the model takes positions from the mask."""
    past_keys: tuple[str, ...]
    """Input name per layer; likewise below."""
    past_values: tuple[str, ...]
    logits: str
    present_keys: tuple[str, ...]
    present_values: tuple[str, ...]
    kv_heads: int
    head_size: int
    vocabulary: int
    context_length: int
    end_tokens: frozenset[int]


def read_config(folder: Path) -> GenaiConfig:
    """Read and check `folder/genai_config.json`. Raises ModelUnusable with the file and the cause."""
    path = folder / "genai_config.json"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"{path} cannot be read: {error.strerror}")
    except ValueError:
        raise ModelUnusable(f"{path} is not JSON")
    try:
        return _parse(content)
    except KeyError as error:
        raise ModelUnusable(f"{path} has no value {error.args[0]}")
    except (TypeError, ValueError) as error:
        raise ModelUnusable(f"{path} is not usable: {error}")


def _parse(content: dict[str, Any]) -> GenaiConfig:
    model = content["model"]
    decoder = model["decoder"]
    inputs, outputs = decoder["inputs"], decoder["outputs"]
    if not content.get("search", {}).get("past_present_share_buffer", False):
        raise ValueError("search.past_present_share_buffer is not true; only such models run here")
    layers = _positive(decoder["num_hidden_layers"], "num_hidden_layers")
    ends = model["eos_token_id"]
    return GenaiConfig(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        position_ids=inputs.get("position_ids"),
        past_keys=_names(inputs["past_key_names"], layers),
        past_values=_names(inputs["past_value_names"], layers),
        logits=outputs["logits"],
        present_keys=_names(outputs["present_key_names"], layers),
        present_values=_names(outputs["present_value_names"], layers),
        kv_heads=_positive(decoder["num_key_value_heads"], "num_key_value_heads"),
        head_size=_positive(decoder["head_size"], "head_size"),
        vocabulary=_positive(model["vocab_size"], "vocab_size"),
        context_length=_positive(model["context_length"], "context_length"),
        end_tokens=frozenset(ends if isinstance(ends, list) else [ends]),
    )


def _names(pattern: str, layers: int) -> tuple[str, ...]:
    """Return the name of each layer's tensor; the pattern counts with %d."""
    if pattern.count("%d") != 1:
        raise ValueError(f"the name pattern {pattern!r} has not exactly one %d")
    return tuple(pattern.replace("%d", str(layer)) for layer in range(layers))


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number over 0")
    return value
