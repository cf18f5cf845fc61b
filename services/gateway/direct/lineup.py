"""Who is there: the runners' cards, put in order by pool, model and version. Plain data; read by `fleet.py`."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from cache.key import identity_of
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.errors import ModelNotFound
from services.gateway.direct.wanted import DEFAULT_POOL, KnownModel

READY: Final = model_service_pb2.RUNNER_STATE_READY
LATEST: Final = 0
"""In place of a version: the highest one that is READY; the highest of all while none is."""

_AHEAD: Final = 2
"""Generations for each place that a runner of a language model takes from a scheduler."""
_AHEAD_ALONE: Final = 3
"""Tasks that every other runner takes at least."""
_USUAL_WEIGHT: Final = 100

Key = tuple[str, str, int]
"""Pool, name without a version, and version."""


class Place(NamedTuple):
    """A runner that is READY, as far as calls need to know it."""

    id: str
    address: str
    slots: int
    held: int
    """Tasks that it held when it announced itself."""
    ahead: int = 3
    """So many requests it may hold and still have room for more, however long they take."""
    weight: int = 100
    zone: str = ""


class Lineup:
    """The fleet at one moment."""

    def __init__(self, cards: Mapping[str, WatchStatusResponse]) -> None:
        """`cards` is by runner."""
        by_key: dict[Key, list[WatchStatusResponse]] = {}
        for card in cards.values():
            by_key.setdefault(key_of(card.runner), []).append(card)
        self.ready: Final[dict[str, Place]] = {
            card.runner.id: _place(card.runner) for card in cards.values() if card.runner.state == READY
        }
        """Every runner that takes calls, by id."""
        self.present: Final = frozenset(card.runner.id for card in cards.values())
        self.models: Final[dict[Key, KnownModel]] = {}
        """Also under version LATEST."""
        versions: dict[tuple[str, str], list[int]] = {}
        serving: dict[tuple[str, str], list[int]] = {}
        for (pool, name, version), group in by_key.items():
            versions.setdefault((pool, name), []).append(version)
            if any(card.runner.state == READY for card in group):
                serving.setdefault((pool, name), []).append(version)
        for (pool, name), every in versions.items():
            served = sorted(serving.get((pool, name), ()))
            latest = max(served or every)
            for version in every:
                group = by_key[pool, name, version]
                known = _known((pool, name, version), group, served, version == latest)
                self.models[pool, name, version] = known
                if known.latest:
                    self.models[pool, name, LATEST] = known

    def model(self, name: str, version: int = LATEST, pool: str = DEFAULT_POOL) -> KnownModel:
        """Return what is known of a model, NAME or NAME@VERSION. Raises ModelNotFound."""
        known = self.models.get((pool, name, version))
        if known is None and not version and "@" in name:
            bare, _, number = name.rpartition("@")
            if number.isascii() and number.isdigit() and len(number) < 19:
                known = self.models.get((pool, bare, int(number))) if int(number) else None
        if known is None:
            raise ModelNotFound(f"{name}@{version}" if version else name, pool)
        return known


def key_of(runner: model_service_pb2.Runner) -> Key:
    """Return where a runner belongs."""
    return runner.pool or DEFAULT_POOL, runner.model.partition("@")[0], runner.version


def read_cards(
    members: Iterable[tuple[str, bytes]], before: Mapping[str, tuple[bytes, WatchStatusResponse]]
) -> dict[str, tuple[bytes, WatchStatusResponse]]:
    """Read announced cards; those that are as `before` are taken from there, and one that cannot be read is left out:
    it must not hide the others.
    """
    read: dict[str, tuple[bytes, WatchStatusResponse]] = {}
    for member, raw in members:
        known = before.get(member)
        if known is not None and known[0] == raw:
            read[member] = known
            continue
        try:
            card = WatchStatusResponse.FromString(raw)
        except DecodeError:
            continue
        if card.runner.id:
            read[member] = raw, card
    return read


def _place(runner: model_service_pb2.Runner) -> Place:
    slots = max(1, runner.capacity)
    return Place(
        id=runner.id,
        address=runner.address,
        slots=slots,
        held=runner.held,
        ahead=_AHEAD * slots if runner.engine == model_service_pb2.ENGINE_KIND_GENERATE else _AHEAD_ALONE,
        weight=runner.weight or _USUAL_WEIGHT,
        zone=runner.zone,
    )


def _known(key: Key, group: list[WatchStatusResponse], served: list[int], latest: bool) -> KnownModel:
    pool, name, version = key
    group.sort(key=lambda card: card.runner.id)
    best = max(
        group, key=lambda card: (card.runner.state == READY, card.HasField("model"), card.runner.generation)
    )
    model = model_service_pb2.Model()
    if best.HasField("model"):
        model.CopyFrom(best.model)
    ready = [card.runner for card in group if card.runner.state == READY]
    failed = [card.runner.reason for card in group if card.runner.reason]
    model.name = name
    model.version = version
    model.engine = model.engine or max(card.runner.engine for card in group)
    model.ready_runners = len(ready)
    model.providers[:] = sorted({runner.provider for runner in ready if runner.provider})
    model.failures[:] = sorted(set(failed))
    return KnownModel(
        name=name,
        version=version,
        pool=pool,
        model=model,
        runners=[card.runner for card in group],
        ready=bool(ready),
        versions=served,
        latest=latest,
        identity=identity_of(runner.answers_digest for runner in ready),
        unsteady_chats=any(runner.unsteady_chats for runner in ready),
        draws=any(runner.draws for runner in ready),
    )
