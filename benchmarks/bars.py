"""How a figure stands to its bar: printed beside it, never a reason to fail."""


def at_least(value: float, bar: float) -> str:
    """Say whether a value reaches its bar."""
    return "met" if value >= bar else "MISSED"


def at_most(value: float, bar: float) -> str:
    """Say whether a value stays under its bar."""
    return "met" if value <= bar else "MISSED"
