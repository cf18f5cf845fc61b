"""A llama model small enough to make in a test: random weights in a real GGUF file."""

from pathlib import Path

import gguf
import numpy as np

MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MERGES = ("h e", "t he", "Ġ the", "i n", "a n", "r e", "o n")


def byte_alphabet() -> list[str]:
    """Return the character that byte-level BPE writes for each byte (from the GPT-2 release)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (chr(256 + count) for count in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


def write_tiny_llama(
    path: Path, *, seed: int = 0, layers: int = 2, context: int = 128, tied: bool = True, **metadata: str
) -> Path:
    """Write a model of 2 query heads that share 1 key head, 32 wide each; `metadata` replaces string values."""
    random = np.random.default_rng(seed)
    hidden, head, feed_forward = 64, 32, 96
    tokens = [*MARKERS, *byte_alphabet(), *(merge.replace(" ", "") for merge in _MERGES)]
    writer = gguf.GGUFWriter(path, metadata.get("architecture", "llama"))
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(metadata.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre(metadata.get("cut", "smollm"))
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(MARKERS) + [1] * (len(tokens) - len(MARKERS)))
    writer.add_token_merges(list(_MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(metadata.get("template", TEMPLATE))
    shapes = {"token_embd": (len(tokens), hidden), "output_norm": (hidden,)}
    if not tied:
        shapes["output"] = (len(tokens), hidden)
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.attn_norm": (hidden,),
            f"blk.{layer}.attn_q": (2 * head, hidden),
            f"blk.{layer}.attn_k": (head, hidden),
            f"blk.{layer}.attn_v": (head, hidden),
            f"blk.{layer}.attn_output": (hidden, 2 * head),
            f"blk.{layer}.ffn_norm": (hidden,),
            f"blk.{layer}.ffn_gate": (feed_forward, hidden),
            f"blk.{layer}.ffn_up": (feed_forward, hidden),
            f"blk.{layer}.ffn_down": (hidden, feed_forward),
        }
    for name, shape in shapes.items():
        spread = 1.0 if name == "token_embd" else 0.3
        centre = 1.0 if name.endswith("norm") else 0.0
        writer.add_tensor(f"{name}.weight", random.normal(centre, spread, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
