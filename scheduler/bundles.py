"""What one message of the log may hold. Whoever publishes keeps to it: the gateway, and the scheduler's republisher."""

from collections.abc import Mapping
from typing import Final

MAX_BUNDLE_TASKS: Final = 256
MAX_BUNDLE_BYTES: Final = 256 * 1024
"""A single task that is larger travels alone."""

BUNDLE_PROPERTIES: Final[Mapping[str, str]] = {"forebay-bundle": "1"}
"""Properties of every message, beside its trace context: the version of the format."""
