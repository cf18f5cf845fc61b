import hashlib

import pytest

from services.api_keys import KeyFileFault, digest_of, line_of, new_key, parse

DIGEST = hashlib.sha256(b"secret").hexdigest()


def test_keys_are_long_random_and_can_be_recognised() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("fbk_") and len(key) == 47 for key in keys)


def test_a_line_lets_in_the_key_that_it_was_made_of_and_does_not_hold_it() -> None:
    key = new_key()
    line = line_of(key, "acme", operator=True)
    assert key not in line
    assert parse(line) == {digest_of(key): ("acme", True)}
    assert parse(line_of(key, "acme")) == {digest_of(key): ("acme", False)}


def test_comments_empty_lines_and_upper_case_digits_are_fine() -> None:
    text = f"# keys\n\n  {DIGEST.upper()}\tacme # since spring\n"
    assert parse(text) == {DIGEST: ("acme", False)}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("secret acme", "line 2 does not begin with a SHA-256"),
        (DIGEST, "line 2 is not `digest tenant`"),
        (f"{DIGEST} acme admin", "line 2 is not `digest tenant`"),
        (f"{DIGEST} acme operator more", "line 2 is not `digest tenant`"),
        (f"{DIGEST} {'x' * 129}", "line 2 names a tenant"),
        (f"{DIGEST} a\x07b", "line 2 names a tenant"),
        (f"{DIGEST} a\n{DIGEST} b", "line 3 has the digest of an earlier line"),
        (f"{hashlib.sha256(b'').hexdigest()} acme", "line 2 has the digest of an empty text"),
    ],
)
def test_a_fault_names_the_line_and_nothing_of_what_is_in_it(line: str, fault: str) -> None:
    with pytest.raises(KeyFileFault, match=fault) as raised:
        parse(f"# first\n{line}\n")
    assert "secret" not in str(raised.value)
    assert DIGEST not in str(raised.value)


def test_of_many_faults_the_first_are_told() -> None:
    with pytest.raises(KeyFileFault, match=r"line 5 .*, and 15 more"):
        parse("x y\n" * 20)


@pytest.mark.parametrize("tenant", ["", "a b", "a#b", "x" * 129, "a\nb"])
def test_a_tenant_that_the_file_cannot_hold_gets_no_line(tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant's name"):
        line_of(new_key(), tenant)
