"""The options of `forebay submit` that say how a language model answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from services.cli.exits import cause

F = TypeVar("F", bound=Callable[..., Any])

FORMATS: Final = "json_object, json_schema=FILE, regex=PATTERN or grammar=FILE"


def response_format(
    ctx: click.Context, param: click.Parameter, given: str | None
) -> str | dict[str, str] | None:
    """Read a format; those that are long come from files. Raises BadParameter."""
    if given in (None, "text", "json_object"):
        return given
    kind, equals, definition = (given or "").partition("=")
    if not equals or kind not in ("json_schema", "regex", "grammar"):
        raise click.BadParameter(f"{given!r} is not {FORMATS}")
    if kind == "regex":
        return {kind: definition}
    try:
        return {kind: Path(definition).read_text("utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{definition} cannot be read: {cause(error)}") from error


def biases(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[int, float]:
    """Read TOKEN=BIAS. Raises BadParameter."""
    found = {}
    for one in given:
        token, _, bias = one.partition("=")
        try:
            found[int(token)] = float(bias)
        except ValueError as error:
            raise click.BadParameter(f"{one!r} is not TOKEN=BIAS, for example 198=-100") from error
    return found


_OPTIONS: Final = (
    click.option("--max-tokens", type=click.IntRange(1), help="Most tokens generated. Default: 256."),
    click.option(
        "--temperature", type=click.FloatRange(0, 2), help="0 (default): always the most probable token."
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        help="Choose among the most probable ones of this mass.",
    ),
    click.option("--top-k", type=click.IntRange(0), help="Choose among so many."),
    click.option(
        "--min-p", type=click.FloatRange(0, 1), help="Choose among those so probable relative to the best."
    ),
    click.option("--seed", type=click.IntRange(0), help="Same seed, same text."),
    click.option(
        "--presence-penalty", type=click.FloatRange(-2, 2), help="Avoid tokens that were generated."
    ),
    click.option(
        "--frequency-penalty", type=click.FloatRange(-2, 2), help="Avoid tokens the more often they were."
    ),
    click.option(
        "--repetition-penalty",
        type=click.FloatRange(0, 2, min_open=True),
        help="Over 1: avoid tokens of prompt and answer. Default: 1.",
    ),
    click.option(
        "--logit-bias",
        metavar="TOKEN=BIAS",
        multiple=True,
        callback=biases,
        help="Favour a token by its id, or with a negative number avoid it: -100 to 100. May be repeated.",
    ),
    click.option("--stop", multiple=True, help="End before this text. May be repeated."),
    click.option(
        "--stop-token",
        "stop_token_ids",
        metavar="TOKEN",
        type=click.IntRange(0),
        multiple=True,
        help="End with this token, by its id. May be repeated.",
    ),
    click.option("--ignore-eos", is_flag=True, help="Go on to --max-tokens whatever the model says."),
    click.option("--n", type=click.IntRange(1, 16), help="So many answers to the same prompt. Default: 1."),
    click.option(
        "--logprobs",
        type=click.IntRange(0, 20),
        help="Return how probable each token was, and so many of the most probable ones; --output json has them.",
    ),
    click.option(
        "--response-format",
        metavar="FORMAT",
        callback=response_format,
        help=f"Hold the answer to a format: {FORMATS}, in the syntax of Lark.",
    ),
)


def generation_options(command: F) -> F:
    """Add the options to a command, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
