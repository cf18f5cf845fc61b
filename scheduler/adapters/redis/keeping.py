"""Tells the scripts how long records stay."""

import json

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.retention import Retention


def retention_argument(retention: Retention) -> Argument:
    """Return milliseconds, or JSON of milliseconds by tenant with the ordinary ones under '' (scripts/keeping.lua).

    A plain number spares the scripts from looking up whose a record is.
    """
    if not retention.tenants:
        return retention.retention_s * 1000
    by_tenant = {tenant: str(seconds * 1000) for tenant, seconds in retention.tenants.items()}
    return json.dumps({**by_tenant, "": str(retention.retention_s * 1000)})
