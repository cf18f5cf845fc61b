"""How `forebay submit` reads what a language model is told."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from forebay.client.generations import GenerateOptions
from services.cli.commands.generation_options import generation_options


def read(*arguments: str) -> dict[str, Any]:
    """Return the options that were given."""
    taken: dict[str, Any] = {}

    @click.command()
    @generation_options
    def command(**given: Any) -> None:
        taken.update({name: value for name, value in given.items() if value not in (None, False, (), {})})

    result = CliRunner().invoke(command, arguments)
    if result.exit_code:
        raise click.UsageError(result.output)
    return taken


def test_numbers_have_the_names_of_the_contract() -> None:
    given = ("--n", "3", "--logprobs", "5", "--presence-penalty", "-1.5", "--frequency-penalty", "0.5")
    more = ("--repetition-penalty", "1.2", "--stop-token", "2", "--stop-token", "7")
    assert read(*given, *more) == {
        "n": 3,
        "logprobs": 5,
        "presence_penalty": -1.5,
        "frequency_penalty": 0.5,
        "repetition_penalty": 1.2,
        "stop_token_ids": (2, 7),
    }


def test_every_option_but_the_prompt_may_be_given() -> None:
    command = generation_options(click.command()(lambda: None))
    assert {option.name for option in command.params} == set(GenerateOptions.__annotations__) - {
        "prompt",
        "messages",
    }


def test_biases_are_numbers_by_token() -> None:
    assert read("--logit-bias", "198=-100", "--logit-bias", "0=2.5") == {"logit_bias": {198: -100.0, 0: 2.5}}


def test_formats_that_are_long_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "answer"
    file.write_text('{"title": "é"}', "utf-8")
    for kind in ("json_schema", "grammar"):
        assert read("--response-format", f"{kind}={file}") == {"response_format": {kind: '{"title": "é"}'}}


def test_a_regular_expression_may_hold_an_equals_sign() -> None:
    assert read("--response-format", "regex=a=[0-9]+") == {"response_format": {"regex": "a=[0-9]+"}}
    assert read("--response-format", "json_object") == {"response_format": "json_object"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--response-format", "xml"), "'xml' is not json_object, json_schema=FILE"),
        (("--response-format", "json_schema"), "is not json_object"),
        (("--response-format", "grammar=/no/such/file"), "/no/such/file cannot be read"),
        (("--logit-bias", "198"), "'198' is not TOKEN=BIAS"),
        (("--logit-bias", "the=1"), "is not TOKEN=BIAS"),
        (("--n", "17"), "1<=x<=16"),
        (("--logprobs", "21"), "0<=x<=20"),
        (("--repetition-penalty", "0"), "0<x<=2"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(click.UsageError, match=says.replace("[", r"\[")):
        read(*arguments)
