"""From the words of `forebay policy set` to changes of the policy, and from a policy to such words.

order=shortest  ageing=60s  express_slack=never     a field
weights.low=2  tenant_weights.a=3  routing.m=weighted      an entry of a field
routing=round_robin                                 every model without an entry of its own
limit.add='tenant=a queued=1000'                    a limit, in place of the one for the same tasks
limit.remove='tenant=a'  limit.clear                the limit for these tasks; all limits
order=default  tenant_weights.a=default             back to the default
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scheduler.policies.policy import LevelMode, Limit, Routing, TaskOrder
from scheduler.states import Level
from services.policy_texts import (
    limit_text,
    number_text,
    read_choice,
    read_limit,
    read_number,
    read_seconds,
    read_truth,
    read_whole,
)

if TYPE_CHECKING:
    from forebay.client import PolicyChanges, PolicyInfo, PolicyLimit

NEVER: Final = "never"
DEFAULT: Final = "default"


class Edit(NamedTuple):
    """A change of one field."""

    field: str
    """Name of the field in PolicyInfo and PolicyChanges."""
    change: Callable[[Any], Any]
    """From the field's value, None for its default, to its new one."""


def read_edits(words: Sequence[str]) -> list[Edit]:
    """Read what is to be changed. Raises ValueError with a sentence that names the word."""
    return [_edit(word) for word in words]


def changes(edits: Iterable[Edit], present: "PolicyInfo") -> "PolicyChanges":
    """Return every field that edits touch, with its new value."""
    draft: dict[str, Any] = {}
    for field, change in edits:
        draft[field] = change(draft[field] if field in draft else getattr(present, field))
    return draft  # type: ignore[return-value]  # its keys are names of fields, by the tables below


def shown(policy: "PolicyInfo") -> list[tuple[str, str]]:
    """Return name and text of every field, in the words that `set` takes."""
    weights = {level.value: str(weight) for level, weight in policy.weights.items()}
    tenants = {tenant: number_text(weight) for tenant, weight in policy.tenant_weights.items()}
    return [
        ("level_mode", policy.level_mode),
        ("weights", _joined(weights)),
        ("ageing", _time_text(policy.ageing_s)),
        ("ageing_every", str(policy.ageing_every)),
        ("order", policy.order),
        ("stretch", number_text(policy.stretch)),
        ("patience", _time_text(policy.patience_s)),
        ("express_slack", _time_text(policy.express_slack_s)),
        ("expire_early", str(policy.expire_early).lower()),
        ("tenant_weights", _joined(dict(sorted(tenants.items())))),
        *(("limit", limit_text(_limit_of(limit))) for limit in policy.limits),
        ("routing", _joined(dict(sorted(policy.routing.items())))),
        ("cost_label", policy.cost_label),
    ]


def _edit(word: str) -> Edit:
    head, dot, rest = word.partition(".")
    try:
        if dot and head == "limit":
            return Edit("limits", _limit_change(rest))
        if dot and head in _ENTRIES:
            # A tenant's name may have an equals sign; a value has none.
            key, equals, text = rest.rpartition("=")
            if equals and (key or head != "weights"):
                return Edit(head, _entry_change(head, key, text))
        name, equals, text = word.partition("=")
        if equals and name == "routing" and text != DEFAULT:
            return Edit(name, _entry_change(name, "", text))
        if equals and name in _FIELDS:
            field, read = _FIELDS[name]
            value = None if text == DEFAULT else read(text)
            return Edit(field, lambda _: value)
    except ValueError as fault:
        raise ValueError(f"{word}: {fault}") from None
    known = ", ".join([*_FIELDS, *(f"{name}.NAME" for name in _ENTRIES), "limit.add", "limit.remove"])
    raise ValueError(f"{word!r} is not FIELD=VALUE with a field of {known}, and not limit.clear")


def _entry_change(field: str, key: str, text: str) -> Callable[[Any], Any]:
    name = read_choice(Level, key).label if field == "weights" else key
    value = None if text == DEFAULT else _ENTRIES[field](text)

    def change(present: Mapping[str, Any] | None) -> dict[str, Any]:
        entries = dict(present or {})
        entries.pop(name, None)
        return entries if value is None else {**entries, name: value}

    return change


def _limit_change(word: str) -> Callable[[Any], Any]:
    if word == "clear":
        return lambda present: ()
    name, _, text = word.partition("=")
    if name not in ("add", "remove"):
        raise ValueError("a limit is changed by limit.add=, limit.remove= and limit.clear")
    limit = read_limit(text)

    def change(present: "Sequence[PolicyLimit] | None") -> "tuple[PolicyLimit, ...]":
        kept = tuple(one for one in present or () if _scope(_limit_of(one)) != _scope(limit))
        if name == "remove" and len(kept) == len(present or ()):
            raise ValueError(f"limit.{word}: there is no limit for these tasks")
        return kept if name == "remove" else (*kept, _to_client(limit))

    return change


def _scope(limit: Limit) -> tuple[str, int, bool]:
    return limit.tenant, limit.level, limit.shared


def _to_client(limit: Limit) -> "PolicyLimit":
    from forebay.client import PolicyLimit

    level = Level(limit.level).label if limit.level else None
    return PolicyLimit(limit.tenant, level, *limit[2:])


def _limit_of(limit: "PolicyLimit") -> Limit:
    level = int(read_choice(Level, limit.priority)) if limit.priority else 0
    return Limit(
        limit.tenant, level, limit.shared, limit.queued_tasks, limit.queued_work_s, limit.rate, limit.burst
    )


def _joined(entries: Mapping[str, str]) -> str:
    return " ".join(f"{name}={text}" for name, text in entries.items())


def _time_text(seconds: float) -> str:
    return f"{number_text(seconds)}s" if seconds else NEVER


def _time(text: str) -> float:
    return 0.0 if text == NEVER else read_seconds(text)


def _only_default(text: str) -> None:
    raise ValueError(f"takes {DEFAULT} as a whole; its entries are set one by one")


_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "level_mode": ("level_mode", lambda text: read_choice(LevelMode, text).name.lower()),
    "weights": ("weights", _only_default),
    "ageing": ("ageing_s", _time),
    "ageing_every": ("ageing_every", read_whole),
    "order": ("order", lambda text: read_choice(TaskOrder, text).name.lower()),
    "stretch": ("stretch", read_number),
    "patience": ("patience_s", read_seconds),
    "express_slack": ("express_slack_s", _time),
    "expire_early": ("expire_early", read_truth),
    "tenant_weights": ("tenant_weights", _only_default),
    "routing": ("routing", _only_default),
    "cost_label": ("cost_label", str),
}
"""Word -> the field of PolicyInfo, and how its value is read."""
_ENTRIES: Final[Mapping[str, Callable[[str], Any]]] = {
    "weights": read_whole,
    "tenant_weights": read_number,
    "routing": lambda text: read_choice(Routing, text).name.lower(),
}
"""Fields that have entries -> how the value of one is read."""
