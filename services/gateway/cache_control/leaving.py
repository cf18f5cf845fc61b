"""Tenants who are no more: what they had is purged, so that nobody who is given such a name later gets it."""

import logging
from collections.abc import Collection, Mapping
from typing import Final

from cache.ports import Away
from cache.tenants import TenantTags, strangers, tenant_tag
from services.gateway.caching import CacheControl

_LOG: Final = logging.getLogger(__name__)


async def tenants_are(control: CacheControl, tenants: Mapping[str, Collection[str]]) -> bool:
    """Purge what those had who are not among the tenants any more, or have none of the keys any more that they had;
    also those who went while no gateway ran. What they shared belongs to those who are left. `tenants` gives for each
    the digests of its keys. False when something did not answer: then it is to be called again.
    """
    shared = control.settings.shared
    present = frozenset(
        tenant_tag(control.keys.namespace(tenant), key)
        for tenant, keys in tenants.items()
        if tenant not in shared
        for key in keys
    )
    done = True
    before: list[tuple[TenantTags, frozenset[bytes]]] = []
    for tags in control.tenants:
        try:
            before.append((tags, await tags.read()))
        except Away as away:
            done = _not_done(away)
    try:
        for namespace in frozenset().union(*(strangers(known, present) for _, known in before)):
            await control.board.purge(namespace=namespace)
            _LOG.info("cache purged", extra={"of": control.keys.name(namespace)[0], "why": "no key is left"})
    except Away as away:
        # What could not be told holds here, and the board tells the others when they are reached.
        return _not_done(away)
    for tags, known in before:
        try:
            await tags.change(present - known, known - present)
        except Away as away:
            done = _not_done(away)
    return done


def _not_done(away: Away) -> bool:
    _LOG.warning("tenants not compared", extra={"cause": str(away)})
    return False
