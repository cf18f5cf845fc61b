"""Rules for the fields of an embedding. The gateway refuses by them what is submitted, the runner what it is sent."""

from forebay.tasks.v1 import inputs_pb2
from inference.rules.generation import Faults
from inference.rules.limits import MAX_TEXTS, MAX_TEXTS_BYTES


def check_embed(embed: inputs_pb2.EmbedInput, faults: Faults) -> None:
    """Check every field of an embedding; what is wrong goes into `faults`."""
    texts = embed.texts
    if not 1 <= len(texts) <= MAX_TEXTS:
        faults.append(("embed.texts", f"must have 1 to {MAX_TEXTS} texts, has {len(texts)}"))
        return
    size = 0
    for index, text in enumerate(texts):
        if not text:
            faults.append((f"embed.texts[{index}]", "must not be empty"))
        size += len(text.encode())
    if size > MAX_TEXTS_BYTES:
        faults.append(("embed.texts", f"must have at most {MAX_TEXTS_BYTES} bytes together, has {size}"))
