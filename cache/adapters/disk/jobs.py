"""What the thread of the disk tier does: everything that reads, writes, packs or unpacks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from cache.adapters.disk.database import Database, discard
from cache.adapters.disk.faults import DatabaseDamaged, DatabaseFault
from cache.adapters.disk.layout import Facts, pieces_of
from cache.entry import Damaged, TooLarge, pack, unpack
from cache.ports import Entry, Key
from cache.tiers.partition import Partitions

logger = logging.getLogger(__name__)

LEAST_BYTES: Final = 4096
"""What the smallest entry counts for, which bounds the index: a tier of 1 GiB has at most 262,144 entries in it."""
_READ_AT_ONCE: Final = 1000


class Packed(NamedTuple):
    """An entry ready to be written."""

    key: Key
    facts: Facts | None
    """None: it cannot be stored."""
    stored: bytes


def load(folder: Path, index: Partitions[int], now_ms: int) -> Database:
    """Open the database, fill an empty index with what is in it, and remove what is too old or too much. A damaged
    database is thrown away, and an empty one returned. Raises DiskInUse, DatabaseFault, OSError.
    """
    try:
        return _load(folder, index, now_ms)
    except DatabaseDamaged as damage:
        logger.warning("cache on disk thrown away", extra={"cause": str(damage)})
    index.clear()
    discard(folder)
    return _load(folder, index, now_ms)


def shut(database: Database, folder: Path, damaged: bool) -> None:
    """Close a database that failed, and throw it away when it is damaged."""
    try:
        database.close()
    except DatabaseFault as error:
        logger.info("cache on disk not closed in order", extra={"cause": str(error)})
    if not damaged:
        return
    try:
        discard(folder)
    except OSError as error:
        # Whoever opens it next finds the damage, and tries again.
        logger.warning("cache on disk not thrown away", extra={"cause": str(error)})
    else:
        logger.warning("cache on disk thrown away")


def read(database: Database, wanted: Mapping[Key, int]) -> dict[Key, Entry | Damaged | None]:
    """Return entries, each asked for with its number of pieces; what damage there is in place of an entry."""
    found: dict[Key, Entry | Damaged | None] = {}
    for key, pieces in wanted.items():
        try:
            stored = database.read(key, pieces)
            found[key] = None if stored is None else unpack(key, stored)
        except Damaged as damage:
            found[key] = damage
        except DatabaseDamaged as damage:
            found[key] = Damaged(str(damage))
    return found


def pack_all(entries: Sequence[tuple[Key, Entry, int]]) -> list[Packed]:
    """Return entries, each given with the time of its end, as they are written."""
    packed: list[Packed] = []
    for key, entry, until_ms in entries:
        try:
            stored = pack(key, entry)
            facts = Facts(len(stored), until_ms, pieces_of(stored), pack(key, replace(entry, body=b"")))
        except TooLarge:
            packed.append(Packed(key, None, b""))
        else:
            packed.append(Packed(key, facts, stored))
    return packed


def without_bodies(database: Database, keys: Sequence[Key]) -> list[Entry | None]:
    """Return entries with empty bodies; None for one whose facts are gone or damaged."""
    return [_without_body(key, facts) for key, facts in zip(keys, database.facts_of(keys), strict=True)]


def counted(facts: Facts) -> int:
    """Return how many bytes an entry counts for."""
    return max(LEAST_BYTES, facts.size + len(facts.packed))


def _load(folder: Path, index: Partitions[int], now_ms: int) -> Database:
    database = Database(folder)
    try:
        _fill(index, database, now_ms)
    except BaseException:
        # An error keeps what raised it alive, and an open database keeps its folder locked.
        shut(database, folder, damaged=False)
        raise
    return database


def _fill(index: Partitions[int], database: Database, now_ms: int) -> None:
    known: list[tuple[int, Key, int, int]] = []
    removed: list[tuple[Key, int]] = []
    after: Key | None = None
    while part := database.facts(after, _READ_AT_ONCE):
        after = part[-1][0]
        for key, facts in part:
            if facts.until_ms <= now_ms:
                removed.append((key, facts.pieces))
            else:
                known.append((facts.until_ms, key, counted(facts), facts.pieces))
    # The order of use is not kept: what ends last counts as what came last.
    known.sort()
    for until_ms, key, size, pieces in known:
        gone = index.put(key, pieces, size, until_ms)
        removed += [(key, pieces)] if gone is None else [(victim, slot.value) for victim, slot in gone]
    for start in range(0, len(removed), _READ_AT_ONCE):
        database.put([], removed[start : start + _READ_AT_ONCE])


def _without_body(key: Key, facts: Facts | None) -> Entry | None:
    if facts is None:
        return None
    try:
        return unpack(key, facts.packed)
    except Damaged:
        # The entry can be neither purged nor trusted: whoever asks removes it.
        return None
