"""What `forebay cache` sends and shows."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cache.key.reading import task_question
from forebay.client import (
    CacheAdvice,
    CachedAnswer,
    CacheForetold,
    CacheHeld,
    CacheModelUse,
    CacheNamespace,
    CachePurged,
    CacheStats,
    CacheSuggestion,
    CacheTier,
    CacheTierSettings,
    InvalidArgument,
    KeptAnswer,
    NotFound,
    TaskInfo,
    TaskState,
    Warmed,
    task_spec,
)
from forebay.tasks.v1.task_pb2 import TaskSpec
from services.cli.__main__ import cli
from services.cli.commands import cache as command
from services.cli.commands import cache_changes as changes
from services.cli.commands import submit as submit_command

NOW = datetime(2030, 1, 31, 9, tzinfo=UTC)
SETTINGS = CacheTierSettings(256 << 20, 64 << 20, 16 << 20, 3600.0, "lru")
TIER = CacheTier(
    *("memory", SETTINGS, 12, 4096, 30, 10, 12, 3, 1, 0, 2, 4, 0),
    *(False, 0, 0, (CacheNamespace("acme", False, 12, 4096),)),
)
STATS = CacheStats((TIER,), (CacheModelUse("smollm2", 30, 12, 4096, 12.5),), 2, False)
THEN = CacheForetold(replace(SETTINGS, capacity_bytes=512 << 20), 0.75, 0.2, 1 << 20)
AS_IS = CacheForetold(SETTINGS, 0.5, 0.1, 1 << 20)
ADVICE = CacheAdvice(
    *("memory", SETTINGS, 2000, 100, True, AS_IS, 0.48, (AS_IS, THEN), (AS_IS,), (AS_IS,)),
    *((CacheSuggestion("larger", THEN),), 3 << 20),
)
KEPT = KeptAnswer(
    "memory", "m", 3, "tensors", 2048, NOW, NOW + timedelta(hours=1), 0.25, False, 0, False, "ab"
)


class Cache:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.outcomes: list[Warmed] = []
        self.advice = ADVICE

    def stats(self, **options: Any) -> CacheStats:
        self.asked.append(options)
        return STATS

    def purge(self, **options: Any) -> CachePurged:
        self.asked.append(options)
        return CachePurged(None if options["dry_run"] else NOW, (CacheHeld("memory", 3, 2048),))

    def get(self, wanted: TaskSpec | str, **options: Any) -> CachedAnswer:
        self.asked.append(wanted)
        return CachedAnswer("ab" * 32, (KEPT,), ("redis",))

    def warm(self, requests: Iterable[TaskSpec], **options: Any) -> Iterator[Warmed]:
        self.asked = list(requests)
        return iter(self.outcomes or [Warmed("computed", None)] * len(self.asked))

    def advise(self, tier: str) -> list[CacheAdvice]:
        self.asked.append(tier)
        return [self.advice]


def run(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, *words: str, tasks: Any = None, **given: Any
) -> Result:
    @contextmanager
    def client(address: str, **options: Any) -> Iterator[Any]:
        runners = [SimpleNamespace(model="m")]
        yield SimpleNamespace(cache=cache, runners=lambda: runners, **(tasks or {}))

    for module in (command, changes):
        monkeypatch.setattr(module, "client", client)
    return CliRunner().invoke(cli, ["cache", *words], **given)


def test_stats_are_a_table_and_with_json_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    shown = run(cache, monkeypatch, "stats", "--namespaces", "--models").stdout
    assert "75.0%" in shown and "256 MiB" in shown and "acme" in shown and "smollm2" in shown
    assert "2 purges are in force" in shown
    assert (
        "purges of other gateways are out of reach: until they are known the shared tier is not used" in shown
    )
    found = json.loads(run(cache, monkeypatch, "stats", "--json").stdout)
    assert found["tiers"][0]["settings"]["policy"] == "lru"
    assert cache.asked[0] == {"namespaces": True, "models": True, "most": 50}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--model", "m"), {"model": "m"}),
        (("--label", "team=a", "--tenant", "b"), {"label": ("team", "a"), "tenant": "b"}),
        (("--key", "ab"), {"key": "ab"}),
        (("--all", "--yes"), {"everything": True}),
        (("--all", "--all-tenants", "--dry-run"), {"everything": True, "all_tenants": True, "dry_run": True}),
    ],
)
def test_a_purge_names_what_was_given(
    words: tuple[str, ...], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache()
    result = run(cache, monkeypatch, "purge", *words)
    assert result.exit_code == 0, result.output
    nothing = {"model": "", "label": None, "key": "", "everything": False, "tenant": ""}
    assert cache.asked == [{**nothing, "all_tenants": False, "dry_run": False, **asked}]
    assert "held: memory 3 (2.0 KiB)" in result.stdout
    assert ("are purged" in result.stdout) == ("--dry-run" not in words)


def test_a_purge_of_a_model_that_is_not_there_is_made_and_asks_whether_that_was_a_slip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run(Cache(), monkeypatch, "purge", "--model", "n")
    assert result.exit_code == 0 and "are purged" in result.stdout
    assert result.stderr == "warning: there is no model 'n' now: a slip?\n"
    assert run(Cache(), monkeypatch, "purge", "--model", "m").stderr == ""


@pytest.mark.parametrize(
    "words", [(), ("--model", "m", "--all"), ("--all", "--tenant", "a", "--all-tenants")]
)
def test_a_purge_that_does_not_say_what_or_says_two_things_is_not_sent(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache()
    assert run(cache, monkeypatch, "purge", *words).exit_code == 2
    assert cache.asked == []


def test_everything_is_purged_only_after_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    refused = run(cache, monkeypatch, "purge", "--all", "--tenant", "acme", input="n\n")
    assert refused.exit_code == 1 and cache.asked == []
    assert "every cached answer of acme" in refused.output
    assert run(cache, monkeypatch, "purge", "--all", input="y\n").exit_code == 0
    assert cache.asked[0]["everything"]


def test_get_takes_a_key_or_a_question(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = Cache()
    shown = run(cache, monkeypatch, "get", "ab" * 32).stdout
    assert "m@3" in shown and "250.00" not in shown and "redis did not answer" in shown
    run(cache, monkeypatch, "get", "--model", "m", "--prompt", "-", input="hello")
    run(cache, monkeypatch, "get", "--model", "m", "--text", "a", "--text", "b")
    file = tmp_path / "one.json"
    file.write_text('{"model": "m", "generate": {"prompt": "hello"}}')
    found = json.loads(run(cache, monkeypatch, "get", "--request", str(file), "--json").stdout)
    assert found["kept"][0]["fresh_until"] == "2030-01-31T10:00:00.000Z"
    key, prompt, texts, request = cache.asked
    assert key == "ab" * 32
    assert prompt == task_spec("m", messages=[{"role": "user", "content": "hello"}])
    assert list(texts.embed.texts) == ["a", "b"]
    assert (request.model, request.generate.prompt) == ("m", "hello")


@pytest.mark.parametrize("question", [("--prompt", "hello"), ("--text", "a", "--text", "b")])
def test_get_asks_what_the_same_words_of_submit_ask(
    question: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache()
    submitted: list[TaskSpec] = []

    def submit_many(specs: Iterable[TaskSpec]) -> list[SimpleNamespace]:
        submitted.extend(specs)
        return [SimpleNamespace(id="id")]

    @contextmanager
    def client(address: str, **options: Any) -> Iterator[Any]:
        yield SimpleNamespace(submit_many=submit_many)

    monkeypatch.setattr(submit_command, "client", client)
    monkeypatch.setattr(submit_command, "warn_unserved", lambda *_: None)
    result = CliRunner().invoke(cli, ["submit", "--model", "m", *question])
    assert result.exit_code == 0, result.output
    run(cache, monkeypatch, "get", "--model", "m", *question)
    [asked] = cache.asked
    [task] = submitted
    assert task_question(asked) == task_question(task)


@pytest.mark.parametrize("words", [(), ("ab", "--prompt", "x"), ("--prompt", "x")])
def test_get_without_one_question_is_not_sent(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(Cache(), monkeypatch, "get", *words).exit_code == 2


def test_warming_from_a_file_counts_what_became_of_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "requests.jsonl"
    lines = [json.dumps({"model": "m", "generate": {"prompt": text}}) for text in "abc"]
    file.write_text("\n".join(lines))
    cache = Cache()
    fault = InvalidArgument("model is required")
    cache.outcomes = [Warmed("computed", None), Warmed("present", None), Warmed("failed", fault)]
    result = run(cache, monkeypatch, "warm", str(file))
    assert result.exit_code == 1
    assert result.stdout == "1 computed, 1 present, 0 uncacheable, 1 failed\n"
    assert "1 x " in result.stderr and "model is required" in result.stderr
    assert [spec.generate.prompt for spec in cache.asked] == ["a", "b", "c"]
    cache.outcomes = []
    assert run(cache, monkeypatch, "warm", str(file), "--json").exit_code == 0


def test_warming_from_the_log_asks_each_question_of_lately_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    times = {"new": now, "same": now, "gone": now, "old": now - timedelta(hours=3)}
    specs = {
        "new": task_spec("m", prompt="a", labels={"team": "x"}, idempotency_key="1"),
        "same": task_spec("m", prompt="a", priority="high"),
        "old": task_spec("m", prompt="b"),
    }

    def list_(**options: Any) -> Iterator[TaskInfo]:
        assert options == {"model": "m", "labels": {}, "limit": 10}
        for id_, time in times.items():
            yield TaskInfo(id_, TaskState.SUCCEEDED, create_time=time)

    def get(id_: str, **options: Any) -> TaskInfo:
        if id_ == "gone":
            raise NotFound("no such task")
        return TaskInfo(id_, TaskState.SUCCEEDED, spec=specs[id_])

    cache = Cache()
    words = ("--log", "--model", "m", "--since", "2h", "--limit", "10")
    result = run(cache, monkeypatch, "warm", *words, tasks={"list": list_, "get": get})
    assert result.exit_code == 0, result.output
    [asked] = cache.asked
    assert (asked.model, asked.generate.prompt, dict(asked.labels)) == ("m", "a", {"team": "x"})
    assert not asked.idempotency_key


@pytest.mark.parametrize("words", [(), ("--since", "1h"), ("file", "--log")])
def test_warming_without_one_source_is_not_begun(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(Cache(), monkeypatch, "warm", *words).exit_code == 2


def test_advice_says_what_to_do_first_and_then_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    shown = run(cache, monkeypatch, "advise", "--tier", "memory").stdout
    assert "50.0% of 2000 look-ups would be hits, measured 48.0%; 100 of them are in the sample" in shown
    assert "too few to rely on" in shown
    assert "make it larger: 512 MiB would make it 75.0%" in shown
    assert "3.0 MiB for a namespace" in shown
    assert shown.count("as it is") == 3
    assert cache.asked == ["memory"]
    assert json.loads(run(cache, monkeypatch, "advise", "--json").stdout)[0]["suggestions"]


def test_advice_on_what_nobody_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache()
    cache.advice = replace(ADVICE, uses=0, sampled=0, suggestions=())
    assert run(cache, monkeypatch, "advise").stdout == (
        "tier memory\nnothing to advise on: nobody asked for anything yet, or cache.trace_rate is 0\n"
    )


def test_warming_from_the_log_when_nothing_was_submitted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Cache(), monkeypatch, "warm", "--log", tasks={"list": lambda **options: iter(())})
    assert result.exit_code == 0
    assert result.stdout == "0 computed, 0 present, 0 uncacheable, 0 failed\n"
    assert result.stderr == "nothing was submitted lately that could be asked again\n"
