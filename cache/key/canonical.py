"""Canonical form 1: a question as bytes, equal for equal questions and for no others.

Everything is little-endian. An item is a tag of one byte and a value of a known length:

    i  64-bit integer, signed          s  length (64 bits) and UTF-8
    u  64-bit integer, unsigned        x  length (64 bits) and bytes
    d  IEEE 754 double, bit for bit    S, X  the same above `LARGE_BYTES`: length and SHA-256 in place of the content
    b  one byte, 0 or 1                l  how many follow (64 bits)
    n  nothing                         a  how many (64 bits), then as many 64-bit integers, signed

Fields have a fixed order and no names; where nothing is not the same as any value, `n` stands in its place. No text is
normalised: tokenizers see the difference. A change of anything here is another form, with another number; the golden
vectors of the tests tell.
"""

import hashlib
import struct
from typing import Final

from cache.key.question import EmbedQuestion, GenerateQuestion, Model, Question, TensorQuestion

CANONICAL_FORM: Final = 1
LARGE_BYTES: Final = 64 << 10
"""Strings and bytes above this length enter as their digest, so that the form itself stays short."""

_GENERATE: Final = b"G"
_TENSORS: Final = b"T"
_EMBED: Final = b"E"
_NOTHING: Final = b"n"
_LENGTH: Final = struct.Struct("<cQ")
_INTEGER: Final = struct.Struct("<cq")
_UNSIGNED: Final = struct.Struct("<cQ")
_BIAS: Final = struct.Struct("<cqcd")
_NUMBERS: Final = struct.Struct("<cqcdcdcqcdc?cdcdcdcq")
_BOOLEAN: Final = struct.Struct("<c?")


def canonical(question: Question) -> bytes:
    """Return the canonical form of a question."""
    asked = question.asked
    parts: list[bytes] = []
    if isinstance(asked, GenerateQuestion):
        _write_model(parts, _GENERATE, question.model)
        _write_generate(parts, asked)
    elif isinstance(asked, TensorQuestion):
        _write_model(parts, _TENSORS, question.model)
        _write_tensors(parts, asked)
    else:
        _write_model(parts, _EMBED, question.model)
        _write_embed(parts, asked)
    return b"".join(parts)


def _write_model(parts: list[bytes], kind: bytes, model: Model) -> None:
    """Begin a form: its number, the kind of the question, name, version and identity of the model."""
    parts.append(bytes((CANONICAL_FORM,)) + kind)
    _write_text(parts, model.name)
    parts.append(_INTEGER.pack(b"i", model.version))
    _write_bytes(parts, b"x", b"X", model.identity)


def _write_generate(parts: list[bytes], asked: GenerateQuestion) -> None:
    if asked.prompt is not None:
        _write_text(parts, asked.prompt)
    else:
        parts.append(_LENGTH.pack(b"l", len(asked.messages)))
        for role, content in asked.messages:
            _write_text(parts, role)
            _write_text(parts, content)
    parts.append(
        _NUMBERS.pack(
            b"i",
            asked.max_tokens,
            b"d",
            asked.temperature,
            b"d",
            asked.top_p,
            b"i",
            asked.top_k,
            b"d",
            asked.min_p,
            b"b",
            asked.ignore_eos,
            b"d",
            asked.presence_penalty,
            b"d",
            asked.frequency_penalty,
            b"d",
            asked.repetition_penalty,
            b"i",
            asked.n,
        )
    )
    parts.append(_NOTHING if asked.seed is None else _UNSIGNED.pack(b"u", asked.seed))
    parts.append(_NOTHING if asked.logprobs is None else _INTEGER.pack(b"i", asked.logprobs))
    _write_texts(parts, asked.stop)
    _write_integers(parts, asked.stop_token_ids)
    parts.append(_LENGTH.pack(b"l", len(asked.logit_bias)))
    parts += [_BIAS.pack(b"i", token, b"d", bias) for token, bias in asked.logit_bias]
    if asked.format is None:
        parts.append(_NOTHING)
    else:
        _write_text(parts, asked.format[0])
        _write_text(parts, asked.format[1])


def _write_tensors(parts: list[bytes], asked: TensorQuestion) -> None:
    parts.append(_LENGTH.pack(b"l", len(asked.tensors)))
    for tensor in asked.tensors:
        _write_text(parts, tensor.name)
        _write_text(parts, tensor.datatype)
        _write_integers(parts, tensor.shape)
        _write_bytes(parts, b"x", b"X", tensor.raw)
    parts.append(_LENGTH.pack(b"l", len(asked.outputs)))
    for output in asked.outputs:
        _write_text(parts, output.name)
        parts.append(_INTEGER.pack(b"i", output.classes))


def _write_embed(parts: list[bytes], asked: EmbedQuestion) -> None:
    parts.append(_BOOLEAN.pack(b"b", asked.normalize))
    _write_texts(parts, asked.texts)


def _write_texts(parts: list[bytes], texts: tuple[str, ...]) -> None:
    parts.append(_LENGTH.pack(b"l", len(texts)))
    for text in texts:
        _write_text(parts, text)


def _write_integers(parts: list[bytes], integers: tuple[int, ...]) -> None:
    parts.append(struct.pack(f"<cQ{len(integers)}q", b"a", len(integers), *integers))


def _write_text(parts: list[bytes], text: str) -> None:
    _write_bytes(parts, b"s", b"S", text.encode())


def _write_bytes(parts: list[bytes], tag: bytes, large: bytes, content: bytes) -> None:
    if len(content) > LARGE_BYTES:
        parts += (_LENGTH.pack(large, len(content)), hashlib.sha256(content).digest())
    else:
        parts += (_LENGTH.pack(tag, len(content)), content)
