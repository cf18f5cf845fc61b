"""Canonical form 1 stays what it is: keys of entries on disk were made of it."""

import hashlib
import struct
from dataclasses import replace
from typing import Final

import pytest

from cache.key import (
    CANONICAL_FORM,
    EmbedQuestion,
    GenerateQuestion,
    Keys,
    Message,
    Model,
    Question,
    Tensor,
    TensorQuestion,
    WantedOutput,
    canonical,
)
from cache.key.canonical import LARGE_BYTES
from tests.unit.cache.key.decoding import read_form

MODEL: Final = Model("m", 2, b"\xaa\xbb")
PROMPT: Final = GenerateQuestion(
    prompt="héllo\0",
    messages=(),
    max_tokens=256,
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    seed=None,
    stop=(),
    ignore_eos=False,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    repetition_penalty=1.0,
    logit_bias=(),
    logprobs=None,
    stop_token_ids=(),
    n=1,
    format=None,
)
CHAT: Final = replace(
    PROMPT,
    prompt=None,
    messages=(Message("user", "a"), Message("assistant", "")),
    temperature=0.5,
    top_p=0.25,
    top_k=3,
    min_p=0.125,
    seed=2**64 - 1,
    stop=("x", "yz"),
    ignore_eos=True,
    presence_penalty=-0.0,
    frequency_penalty=-2.0,
    logit_bias=((1, -100.0), (7, 0.5)),
    logprobs=0,
    stop_token_ids=(4, 5),
    n=2,
    format=("regex", "a*"),
)
TENSORS: Final = TensorQuestion(
    (Tensor("x", "FP32", (1, 2), bytes(range(8))), Tensor("é", "BYTES", (), b"")), (WantedOutput("z", 5),)
)
EMBED: Final = EmbedQuestion(("one", "", "two"), normalize=True)
LARGE: Final = TensorQuestion((Tensor("x", "UINT8", (LARGE_BYTES + 1,), bytes(LARGE_BYTES + 1)),), ())

GOLDEN: Final = [
    (
        PROMPT,
        (
            "01477301000000000000006d690200000000000000780200000000000000aabb73070000000000000068c3a96c6c6f00"
            "69000100000000000064000000000000000064000000000000f03f690000000000000000640000000000000000620064"
            "000000000000000064000000000000000064000000000000f03f6901000000000000006e6e6c00000000000000006100"
            "000000000000006c00000000000000006e"
        ),
        "16576e0ea9b0728a26e0a2f857eb065b5301ea5f89197060e3ead536a3cdcd34",
    ),
    (
        CHAT,
        (
            "01477301000000000000006d690200000000000000780200000000000000aabb6c020000000000000073040000000000"
            "00007573657273010000000000000061730900000000000000617373697374616e747300000000000000006900010000"
            "0000000064000000000000e03f64000000000000d03f69030000000000000064000000000000c03f6201640000000000"
            "0000806400000000000000c064000000000000f03f69020000000000000075ffffffffffffffff690000000000000000"
            "6c020000000000000073010000000000000078730200000000000000797a610200000000000000040000000000000005"
            "000000000000006c02000000000000006901000000000000006400000000000059c06907000000000000006400000000"
            "0000e03f7305000000000000007265676578730200000000000000612a"
        ),
        "4928da40679ea47a738344aa0ca2e832768d6aa9dc5d0d42e1794e1ed8ea150a",
    ),
    (
        TENSORS,
        (
            "01547301000000000000006d690200000000000000780200000000000000aabb6c020000000000000073010000000000"
            "000078730400000000000000465033326102000000000000000100000000000000020000000000000078080000000000"
            "00000001020304050607730200000000000000c3a9730500000000000000425954455361000000000000000078000000"
            "00000000006c01000000000000007301000000000000007a690500000000000000"
        ),
        "0cf200ec6b7c6d0efb482d7c6d833ef700499336d0e201ec63515b1857fb3173",
    ),
    (
        EMBED,
        (
            "01457301000000000000006d690200000000000000780200000000000000aabb62016c03000000000000007303000000"
            "000000006f6e6573000000000000000073030000000000000074776f"
        ),
        "6587d165c4d463f2944b4d264781de4bb2362deee9be6917cd4f972e91fca2fd",
    ),
    (
        LARGE,
        (
            "01547301000000000000006d690200000000000000780200000000000000aabb6c010000000000000073010000000000"
            "00007873050000000000000055494e543861010000000000000001000100000000005801000100000000003266304f31"
            "be278d06c3bd3eb9aa3e00c59bedec0a890de466568b0b90b0e01f6c0000000000000000"
        ),
        "197bb9a8d29eeef6cde7628ae421bf93f1f8e435392fa1e853018da42493ea9e",
    ),
]
"""Question, canonical form 1 in hexadecimal, and its key's digest under SECRET for the tenant "acme"."""
SECRET: Final = b"0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("asked", "form", "digest"), GOLDEN, ids=["prompt", "chat", "tensors", "embed", "large"]
)
def test_form_1_and_its_keys_are_what_they_were(
    asked: GenerateQuestion | TensorQuestion | EmbedQuestion, form: str, digest: str
) -> None:
    assert CANONICAL_FORM == 1, (
        "a new form has golden vectors of its own, and other words in front of its keys"
    )
    question = Question(MODEL, asked)
    assert canonical(question).hex() == form
    key = Keys(SECRET).key("acme", question)
    assert key.digest.hex() == digest
    assert key.namespace.hex() == "592ef9bccd6a741a363aaf51c30b4512"


def test_a_form_says_everything_in_its_order() -> None:
    assert read_form(canonical(Question(MODEL, CHAT))) == (
        *(b"G", "m", 2, b"\xaa\xbb", [("user", "a"), ("assistant", "")]),
        *(256, 0.5, 0.25, 3, 0.125, True, -0.0, -2.0, 1.0, 2, 2**64 - 1, 0),
        *(["x", "yz"], (4, 5), [(1, -100.0), (7, 0.5)], ("regex", "a*")),
    )
    assert read_form(canonical(Question(MODEL, TENSORS)))[4:] == (
        [("x", "FP32", (1, 2), bytes(range(8))), ("é", "BYTES", (), b"")],
        [("z", 5)],
    )
    assert read_form(canonical(Question(MODEL, EMBED)))[4:] == (True, ["one", "", "two"])


@pytest.mark.parametrize("length", [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES])
def test_content_above_64_kib_enters_as_its_digest(length: int) -> None:
    raw = bytes(length)
    form = canonical(Question(MODEL, TensorQuestion((Tensor("x", "UINT8", (length,), raw),), ())))
    _, _, _, content = read_form(form)[4][0]
    text = read_form(canonical(Question(MODEL, replace(PROMPT, prompt="a" * length))))[4]
    if length <= LARGE_BYTES:
        assert (content, text) == (raw, "a" * length)
    else:
        assert content == (b"X", length, hashlib.sha256(raw).digest())
        assert text == (b"S", length, hashlib.sha256(b"a" * length).digest())
        assert len(form) < 200


def test_content_that_looks_like_a_digest_is_not_taken_for_one() -> None:
    raw = bytes(LARGE_BYTES + 1)
    digest = struct.pack("<cQ", b"X", len(raw)) + hashlib.sha256(raw).digest()
    forms = {
        canonical(Question(MODEL, TensorQuestion((Tensor("x", "UINT8", (len(raw),), one),), ())))
        for one in (raw, digest, hashlib.sha256(raw).digest())
    }
    assert len(forms) == 3


@pytest.mark.parametrize("number", [float("nan"), -0.0, 5e-324, float("inf")])
def test_numbers_enter_bit_for_bit(number: float) -> None:
    form = canonical(Question(MODEL, replace(PROMPT, frequency_penalty=number)))
    assert struct.pack("<cd", b"d", number) in form
    assert form == canonical(Question(MODEL, replace(PROMPT, frequency_penalty=number)))
    assert form != canonical(Question(MODEL, PROMPT))


def test_texts_enter_byte_for_byte() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    forms = {
        canonical(Question(MODEL, replace(PROMPT, prompt=text)))
        for text in (composed, decomposed, "\u0435", "e")
    }
    assert len(forms) == 4


def test_borders_between_texts_count() -> None:
    splits = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("a", "b", "c")]
    assert len({canonical(Question(MODEL, EmbedQuestion(texts, True))) for texts in splits}) == len(splits)
