"""What can go wrong with a database on disk, in place of what `rocksdict` raises, which has no classes of its own.

DatabaseFault           it did not do what was asked
└── DatabaseDamaged     what is there is not what was written
DiskInUse               it is another process's
"""

from collections.abc import Iterator
from contextlib import contextmanager


class DatabaseFault(Exception):
    """The database did not do what was asked: a full disk, a file that cannot be read, too many writes."""


class DatabaseDamaged(DatabaseFault):
    """What is in the files is not what was written."""


class DiskInUse(Exception):
    """Another process has the folder."""


@contextmanager
def faults() -> Iterator[None]:
    """Turn what rocksdict raises in the block into these."""
    try:
        yield
    except (MemoryError, DatabaseFault):
        raise
    except Exception as error:
        text = str(error)
        if "lock hold by current process" in text or "While lock file" in text:
            raise DiskInUse(text) from error
        if "orrupt" in text:
            raise DatabaseDamaged(text) from error
        raise DatabaseFault(text) from error
