"""The shapes of a language model's runs, for providers that build engines for a range of them.

A run is either a decode run, of one token for each of the first n slots, or a piece of one slot's prompt. Both lie
within one range: from one token of one row to the largest piece in every slot.
"""

from inference.generate.config import GenaiConfig
from inference.generate.session import MASK_STEP
from inference.provider_options import ShapeRange, Shapes


def run_shapes(config: GenaiConfig, *, slots: int, context: int, prefill_tokens: int) -> Shapes:
    """Return the range of every input's shape; the usual run is a decode run over all slots."""
    piece = min(prefill_tokens, context)
    tokens = ShapeRange((1, 1), (slots, 1), (slots, piece))
    shapes = {
        config.input_ids: tokens,
        config.attention_mask: ShapeRange((1, 1), (slots, min(MASK_STEP, context)), (slots, context)),
    }
    if config.position_ids is not None:
        shapes[config.position_ids] = tokens
    cells = (config.kv_heads, context, config.head_size)
    cache = ShapeRange((1, *cells), (slots, *cells), (slots, *cells))
    return shapes | dict.fromkeys((*config.past_keys, *config.past_values), cache)
