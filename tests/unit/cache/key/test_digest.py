"""No two names make one namespace, whatever characters they have."""

import hashlib
import hmac
import itertools
import tracemalloc
import unicodedata
from typing import Final

import pytest

from cache.key import EmbedQuestion, Keys, Question, canonical, identity_of
from tests.unit.cache.key.asking import MODEL

SECRET: Final = b"a secret of some thirty-two bytes"
QUESTION: Final = Question(MODEL, EmbedQuestion(("text",), normalize=True))
NAMES: Final = [
    "",
    "a",
    "A",
    "\u0430",  # Cyrillic
    "\u00e9",
    unicodedata.normalize("NFD", "\u00e9"),
    "a\0",
    "\0a",
    "a\0b",
    "{a}",
    "{a",
    "a}",
    "a:b",
    "a:{b}",
    "ta",
    "sa",
    "a ",
    "\ud800",
    "\ud801",
    "\N{ZERO WIDTH SPACE}",
    "x" * 10_240,
    "x" * 10_239 + "y",
    "\0" * 10_240,
    "\0" * 10_241,
]


def test_no_two_tenants_have_one_namespace_or_key() -> None:
    keys = Keys(SECRET)
    made = [keys.key(tenant, QUESTION) for tenant in NAMES]
    assert len({key.namespace for key in made}) == len({key.digest for key in made}) == len(NAMES)
    assert {(len(key.namespace), len(key.digest)) for key in made} == {(16, 32)}
    assert made == [keys.key(tenant, QUESTION) for tenant in NAMES], (
        "they are the same when they are remembered"
    )
    assert [key.namespace for key in made] == [keys.namespace(tenant) for tenant in NAMES]


def test_a_key_is_made_as_its_module_says() -> None:
    namespace = hmac.digest(SECRET, b"forebay cache key 1\0" + b"tacme", hashlib.sha256)
    key = Keys(SECRET).key("acme", QUESTION)
    assert key.digest == hmac.digest(namespace, canonical(QUESTION), hashlib.sha256)
    assert key.namespace == hmac.digest(SECRET, b"forebay cache namespace 1\0tacme", hashlib.sha256)[:16]


def test_a_shared_namespace_holds_those_that_are_named_and_nobody_else() -> None:
    keys = Keys(SECRET, {"a": "team", "b": "team", "c": "other"})
    assert keys.key("a", QUESTION) == keys.key("b", QUESTION)
    alone = Keys(SECRET)
    others = {tag: keys.namespace(tag) for tag in ("c", "team", "other", "steam", "tteam")}
    assert len({keys.namespace("a"), *others.values()}) == 6
    assert keys.namespace("team") == alone.namespace("team"), "a tenant with that name is by itself"
    team = hmac.digest(SECRET, b"forebay cache namespace 1\0steam", hashlib.sha256)[:16]
    assert keys.namespace("a") == team != alone.namespace("a")


def test_another_secret_makes_other_digests() -> None:
    one, other = Keys(SECRET), Keys(SECRET + b"!")
    assert one.key("a", QUESTION).digest != other.key("a", QUESTION).digest
    assert one.namespace("a") != other.namespace("a")
    assert one.label("a", "b") != other.label("a", "b")


@pytest.mark.parametrize("secret", [b"", b"x" * 15])
def test_a_secret_that_is_too_short_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Keys(secret)


def test_no_two_labels_have_one_tag() -> None:
    keys = Keys(SECRET)
    parts = ("", "a", "ab", "a\0", "b" * 2000, "{a}:")
    tags = [keys.label(name, value) for name, value in itertools.product(parts, parts)]
    assert len(set(tags)) == len(parts) ** 2
    assert {len(tag) for tag in tags} == {8}


def test_the_order_of_labels_changes_nothing() -> None:
    keys = Keys(SECRET)
    tags = keys.labels({"a": "1", "b": "2"})
    assert set(tags) == {keys.label("a", "1"), keys.label("b", "2")}
    assert keys.labels({"b": "2", "a": "1"}) == tags


def test_long_names_are_not_remembered() -> None:
    keys = Keys(SECRET)
    long = "x" * 10_240
    keys.namespace("short")
    keys.label("a", "b")
    tracemalloc.start()
    try:
        for number in range(200):
            keys.namespace(f"{long}{number}")
            keys.label(f"{long}{number}", long)
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left_bytes < 100 * len(long)


def test_an_identity_is_that_of_a_set() -> None:
    assert identity_of(["a", "b"]) == identity_of(["b", "a", "b"])
    ways = [["a"], ["b"], ["a", "b"], ["ab"], ["a\0b"], ["a", "b", "c"]]
    assert len({identity_of(way) for way in ways}) == len(ways)
    assert len(identity_of(["a"])) == 32


@pytest.mark.parametrize("announced", [[], [""], ["a", ""]])
def test_there_is_no_identity_where_somebody_announces_nothing(announced: list[str]) -> None:
    assert identity_of(announced) == b""
