"""What the cache keeps on the gateway's own disk: a RocksDB database that survives restarts."""

from cache.adapters.disk.faults import DiskInUse
from cache.adapters.disk.purges import DiskPurgeCopy
from cache.adapters.disk.tenants import DiskTenants
from cache.adapters.disk.tier import DiskTier

__all__ = ["DiskInUse", "DiskPurgeCopy", "DiskTenants", "DiskTier"]
