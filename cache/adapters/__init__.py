"""Where entries, flights and purge markers really live; each fulfils a port of `cache.ports`."""
