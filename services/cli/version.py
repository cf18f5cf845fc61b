"""Which Forebay this is."""

from importlib import metadata


def version() -> str:
    """Return the installed version, or "unknown (not installed)" for a bare source tree."""
    try:
        return metadata.version("forebay")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"
