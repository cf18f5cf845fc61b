"""The cache's pages tell of what there is, and of all of it: docs/caching.md, and its part of docs/operations.md."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import pytest

from cache.eviction import PolicyName
from cache.key import CacheMode, EmbedQuestion, Keys, Model, Question, Refusal, canonical
from observability import names
from scheduler import errors
from scheduler.ports.answers import CACHED
from scheduler.service.caching import TaskCacheSettings
from scheduler.service.caching.telling import MODEL_CHANGED
from services.cli.commands.cache import cache as commands
from services.gateway.caching import CacheSettings
from services.gateway.caching.task_questions import LATER, LITTLE_WORK

ROOT: Final = Path(__file__).parents[5]
PAGE: Final = (ROOT / "docs/caching.md").read_text("utf-8")
OPERATIONS: Final = (ROOT / "docs/operations.md").read_text("utf-8")
SIZES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
OF_TASKS: Final = (LITTLE_WORK, LATER, MODEL_CHANGED)
"""Why tasks, and no calls, are executed as if there were no cache."""
ROWS: Final = re.compile(r"^\| (`\w+`(?:, `\w+`)*)( ¹)? \| (.*?) \|", re.MULTILINE)
"""Of the table of settings: names, whether schedulers read them, defaults."""


def section(title: str, page: str = PAGE, level: str = "##") -> str:
    _, found, rest = page.partition(f"\n{level} {title}\n")
    assert found, title
    return re.split(rf"\n#{{2,{len(level)}}} ", rest)[0]


def listed() -> list[tuple[str, str, bool]]:
    """Return name, default and whether schedulers read it, of every setting that the page has a row for."""
    found = []
    for told, mark, default in ROWS.findall(section("Settings")):
        settings = re.findall(r"`(\w+)`", told)
        for name, each in zip(settings, default.split(", "), strict=True):
            found.append((name, each.strip("`"), bool(mark)))
    return found


def read(default: str) -> Any:
    """Return a default as settings have it."""
    number, _, unit = default.partition(" ")
    if unit in SIZES:
        return int(number) * SIZES[unit]
    if default in ("true", "false"):
        return default == "true"
    if default == "none":
        return None
    return float(default) if re.fullmatch(r"[\d.]+", default) else default


def metrics(page: str) -> set[str]:
    """Return the names of the cache's metrics on a page, those that are shortened to `..._what` too."""
    return {
        name.replace("..._", "forebay_cache_")
        for name in re.findall(r"`((?:forebay_cache|\.\.\.)_\w+)[`{]", page)
    }


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    assert sorted(name for name, _, _ in listed()) == sorted(field.name for field in fields(CacheSettings))


def test_every_default_is_the_one_that_is_told() -> None:
    settings = CacheSettings()
    told = {name: read(default) for name, default, _ in listed()}
    assert told == {name: getattr(settings, name) or (None if told[name] is None else 0) for name in told}


def test_the_settings_that_schedulers_read_are_marked_and_have_the_same_defaults() -> None:
    of_schedulers = {field.name for field in fields(TaskCacheSettings)}
    assert {name for name, _, marked in listed() if marked} == of_schedulers
    gateway, scheduler = CacheSettings(), TaskCacheSettings()
    assert [name for name in of_schedulers if getattr(gateway, name) != getattr(scheduler, name)] == []


def test_every_setting_that_is_named_in_the_text_is_one() -> None:
    known = {field.name for field in fields(CacheSettings)}
    named = {*re.findall(r"`cache\.([a-z_]+)`", PAGE)}
    named |= {name.lower() for name in re.findall(r"FOREBAY_CACHE_([A-Z_]+)", PAGE + OPERATIONS)}
    assert named and named <= known


@pytest.mark.parametrize("words", [PolicyName, CacheMode, Refusal], ids=lambda words: words.__name__)
def test_every_policy_mode_and_refusal_is_explained(
    words: type[PolicyName] | type[CacheMode] | type[Refusal],
) -> None:
    assert [word.value for word in words if f"`{word.value}`" not in PAGE] == []


def test_every_reason_for_which_a_task_is_not_cached_is_explained() -> None:
    told = section("Durable tasks")
    assert [reason for reason in OF_TASKS if f"`{reason}`" not in told] == []


def test_every_metric_of_the_cache_is_explained_and_every_one_that_is_named_is_there() -> None:
    there = {value for value in vars(names).values() if str(value).startswith("forebay_cache_")}
    table = section("The result cache helps little", OPERATIONS)
    assert len(there) > 15
    assert metrics(table) == there
    assert metrics(PAGE) <= there


def test_every_reason_that_is_named_is_one() -> None:
    leaves = [getattr(leaf, "reason", "") for leaf in vars(errors).values()]
    known = {*leaves, *Refusal, *CacheMode, *OF_TASKS, CACHED, "AS_GENERATED", "AT_ONCE"}
    named = set(re.findall(r"[`(]([A-Z][A-Z]+(?:_[A-Z]+)+)[`)]", PAGE))
    assert {"ANSWER_NOT_CACHED", "PURGE_NOT_SHARED", "CACHE_OFF"} <= named
    assert {name for name in named if not name.startswith("FOREBAY_")} <= {
        *known,
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
    }


@pytest.mark.parametrize("command", sorted(commands.commands))
def test_every_option_of_a_command_is_on_the_page(command: str) -> None:
    options = [
        option.opts[0]
        for option in commands.commands[command].params
        if isinstance(option, click.Option) and option.opts[0] != "--help"
    ]
    operating = section("Operating")
    assert f"forebay cache {command}" in operating
    assert [
        option for option in options if f"`{option}" not in operating and f" {option}" not in operating
    ] == []


def test_every_option_on_the_page_is_one() -> None:
    known = {opt for each in commands.commands.values() for param in each.params for opt in param.opts}
    assert (
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section("Operating"))) - {"--address", "--json"} <= known
    )


def test_the_example_of_a_key_is_one() -> None:
    example = section("Canonical form 1", level="###").partition("\n```\n")[2].partition("\n```\n")[0]
    parts = re.split(r"^(secret|namespace|form|namespace tag|key)  +", example, flags=re.MULTILINE)[1:]
    told = {name: "".join(said.split()) for name, said in zip(parts[::2], parts[1::2], strict=True)}
    question = Question(Model("m", 2, b"\xaa\xbb"), EmbedQuestion(("one", "", "two"), normalize=True))
    secret = bytes.fromhex(told["secret"])
    key = Keys(secret).key(told["namespace"].removeprefix("t"), question)
    assert told["form"] == canonical(question).hex()
    assert (told["namespace tag"], told["key"]) == (key.namespace.hex(), key.digest.hex())


def test_every_file_that_it_names_is_there() -> None:
    rows = re.findall(r"`((?:cache|services|scheduler|tests|inference|benchmarks)/[\w/]+(?:\.py|/))`", PAGE)
    assert rows
    assert [path for path in rows if not (ROOT / path).exists()] == []


def test_every_file_that_is_named_without_its_folder_is_in_that_of_the_one_before() -> None:
    missing = []
    for line in PAGE.splitlines():
        folder = ROOT
        for path in re.findall(r"`([\w/]+\.py)`", line):
            if "/" in path:
                folder = (ROOT / path).parent
            elif not (folder / path).exists():
                missing.append(path)
    assert missing == []


def test_every_place_on_a_page_that_is_linked_to_is_there() -> None:
    for name, place in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", PAGE):
        page = PAGE if not name else (ROOT / "docs" / name).read_text("utf-8")
        headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        assert place in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings], place
