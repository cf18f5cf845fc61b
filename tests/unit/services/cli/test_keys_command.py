"""`forebay keys`, and how a command gets the key that it shows."""

import json

import click
import pytest
from click.testing import CliRunner

from services.api_keys import digest_of, parse
from services.cli.__main__ import cli
from services.cli.session import api_key


def test_a_new_key_is_printed_once_with_the_line_that_lets_it_in() -> None:
    result = CliRunner().invoke(cli, ["keys", "new", "acme", "--operator", "--json"])
    assert result.exit_code == 0
    made = json.loads(result.output)
    assert parse(made["line"]) == {digest_of(made["key"]): ("acme", True)}
    words = CliRunner().invoke(cli, ["keys", "new", "acme"]).output.split()
    assert words[0] == "key" and words[2] == "line"
    assert parse(" ".join(words[3:])) == {digest_of(words[1]): ("acme", False)}


def test_a_tenant_that_no_line_can_hold_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["keys", "new", "two words"])
    assert result.exit_code == 2
    assert "tenant's name" in result.output


@pytest.mark.parametrize(("given", "expected"), [(["--api-key", "k"], "k"), ([], None)])
def test_a_command_shows_the_key_that_it_was_given(given: list[str], expected: str | None) -> None:
    with click.Context(cli) as context:
        cli.parse_args(context, ["--address", "127.0.0.1:1", *given, "ls"])
        assert cli.callback is not None
        context.invoke(cli.callback, **context.params)
        assert api_key() == expected


def test_what_can_be_no_key_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["--api-key", "two words", "queues"])
    assert result.exit_code != 0
    assert "printable ASCII" in str(result.exception)
