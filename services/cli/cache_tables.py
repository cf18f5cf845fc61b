"""The result cache as `forebay cache` shows it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from services.cli import render

if TYPE_CHECKING:
    from forebay.client import CacheAdvice, CachedAnswer, CacheForetold, CacheStats, CacheTier

TIERS: Final = (
    *("tier", ">entries", ">held", ">of", ">hits", ">misses", ">ratio"),
    *(">fills", ">evicted", ">refused", ">damaged", ">expired", ">purged", ">waiting", ">dropped", ""),
)
NAMESPACES: Final = ("tier", "namespace", ">entries", ">held", ">of", "")
MODELS: Final = ("model", ">hits", ">kept", ">size", ">saved")
KEPT: Final = ("tier", "model", "kind", ">size", ">took", "created", ">kept for", "")
TRIED: Final = ("", ">size", "policy", ">kept for", ">hit ratio", ">saved each", "")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_WORDS: Final = {
    "larger": "make it larger",
    "smaller": "it can be smaller",
    "policy": "evict by another policy",
    "longer_ttl": "keep answers for longer",
}


def size(count: int) -> str:
    """Write a number of bytes so that two of them can be compared at a glance."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 100 or not unit else f"{value:.1f} {_UNITS[unit]}"


def show_stats(stats: "CacheStats", *, namespaces: bool, models: bool) -> None:
    """Write the tiers as a table, and what else was asked for as others."""
    render.table(TIERS, map(_tier, stats.tiers), empty="no tiers")
    if namespaces or not any(tier.entries for tier in stats.tiers):
        rows = [
            (
                tier.name,
                one.name,
                one.entries,
                size(one.held_bytes),
                size(tier.settings.namespace_bytes),
                "shared" if one.shared else "",
            )
            for tier in stats.tiers
            for one in tier.namespaces
        ]
        if rows or namespaces:
            click.echo()
            render.table(NAMESPACES, rows, empty="no namespace holds anything")
    if models:
        click.echo()
        rows_ = [
            (
                one.model or "(others)",
                one.hits,
                one.fills,
                size(one.filled_bytes),
                render.seconds(one.saved_s),
            )
            for one in stats.models
        ]
        render.table(MODELS, rows_, empty="no model was asked yet")
    if stats.purges:
        purges = "purge is" if stats.purges == 1 else "purges are"
        click.echo(f"\n{stats.purges} {purges} in force")
    if not stats.purges_current:
        click.echo(
            "\npurges of other gateways are out of reach: until they are known the shared tier is not used"
        )


def _tier(tier: "CacheTier") -> Sequence[object]:
    asked = tier.hits + tier.misses
    return (
        *(tier.name, tier.entries, size(tier.held_bytes), size(tier.settings.capacity_bytes)),
        *(tier.hits, tier.misses, f"{tier.hits / asked:.1%}" if asked else ""),
        *(tier.fills, tier.evictions, tier.refusals, tier.damaged, tier.expired, tier.purged),
        *(tier.waiting, tier.dropped, "away" if tier.away else ""),
    )


def show_answer(answer: "CachedAnswer") -> None:
    """Write where an answer is kept."""
    render.facts([("key", answer.key), ("model digest", answer.kept[0].identity)])
    rows = [
        (
            kept.tier,
            f"{kept.model}@{kept.version}" if kept.version else kept.model,
            kept.kind,
            size(kept.size_bytes),
            render.seconds(kept.cost_s),
            kept.create_time,
            render.seconds((kept.fresh_until - kept.create_time).total_seconds()),
            " ".join(word for word, holds in (("stream", kept.stream), ("sampled", kept.sampled)) if holds),
        )
        for kept in answer.kept
    ]
    click.echo()
    render.table(KEPT, rows, empty="nowhere")
    if answer.unanswered:
        click.echo(f"{', '.join(answer.unanswered)} did not answer")


def show_advice(advice: "CacheAdvice") -> None:
    """Write an advice: first what to do, then the curves that it comes from."""
    click.echo(click.style(f"tier {advice.tier}", bold=True))
    if not advice.sampled:
        click.echo("nothing to advise on: nobody asked for anything yet, or cache.trace_rate is 0")
        return
    measured = "" if advice.measured_hit_ratio is None else f", measured {advice.measured_hit_ratio:.1%}"
    click.echo(
        f"{advice.now.hit_ratio:.1%} of {advice.uses} look-ups would be hits{measured}; "
        f"{advice.sampled} of them are in the sample"
    )
    if advice.doubtful:
        click.echo("too few to rely on: ask again when more was asked of the cache")
    for one in advice.suggestions:
        then = one.then
        change = {
            "policy": then.settings.policy,
            "longer_ttl": render.seconds(then.settings.ttl_s),
        }.get(one.kind, size(then.settings.capacity_bytes))
        click.echo(
            f"  {_WORDS.get(one.kind, one.kind)}: {change} would make it {then.hit_ratio:.1%}, "
            f"and save {render.seconds(then.saved_s)} for each look-up (now {render.seconds(advice.now.saved_s)})"
        )
    if not advice.suggestions:
        click.echo("  nothing is worth changing")
    if advice.knee_bytes:
        click.echo(f"  95 % of what size can bring comes with {size(advice.knee_bytes)} for a namespace")
    click.echo()
    rows = [*_tried("size", advice.by_size, advice), *_tried("policy", advice.by_policy, advice)]
    render.table(TRIED, [*rows, *_tried("time to live", advice.by_ttl, advice)], empty="nothing was tried")


def _tried(what: str, tried: Iterable["CacheForetold"], advice: "CacheAdvice") -> Iterable[Sequence[object]]:
    for one in tried:
        yield (
            what,
            size(one.settings.capacity_bytes),
            one.settings.policy,
            render.seconds(one.settings.ttl_s),
            f"{one.hit_ratio:.1%}",
            render.seconds(one.saved_s),
            "as it is" if one.settings == advice.settings else "",
        )
        what = ""
