"""Settings of a process: a frozen dataclass, filled once at start.

Later sources win: the field's default, the table `[section]` of a TOML file, `FOREBAY_<SECTION>_<FIELD>` in the
environment, flags of the command line. Every fault of every source is reported together, in one StartupRefused.
Fields may be str, int, float, bool, Path, tuple[str, ...], or one of these or None; a class may refuse combinations
by raising ValueError in `__post_init__`.
"""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from scheduler.errors import StartupRefused

T = TypeVar("T")

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_MINIMUM: Final = "minimum"
_MAXIMUM: Final = "maximum"


def ranged(default: T, *, minimum: float = -math.inf, maximum: float = math.inf) -> T:
    """Declare a number's default and the range, both ends included, that `load` holds it to."""
    return dataclasses.field(default=default, metadata={_MINIMUM: minimum, _MAXIMUM: maximum})


def load(
    cls: type[T],
    *,
    section: str,
    file: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> T:
    """Fill a settings class. Overrides that are None count as not given. Raises StartupRefused with every fault."""
    faults: list[str] = []
    table = _read_table(file, section, faults)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls)) if field.init}
    faults += [
        f"{file}: [{section}] has no setting {name!r}; it has {', '.join(fields)}"
        for name in table
        if name not in fields
    ]
    values: dict[str, object] = {}
    for name, field in fields.items():
        variable = f"FOREBAY_{section}_{name}".upper()
        given = (overrides or {}).get(name)
        if given is not None:
            source, raw = f"--{name.replace('_', '-')}", given
        elif variable in environ:
            source, raw = variable, environ[variable]
        elif name in table:
            source, raw = f"{file}: [{section}] {name}", table[name]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(f"{variable}: required, and not set")
            continue
        else:
            continue
        try:
            values[name] = _checked(_convert(raw, hints[name]), field)
        except ValueError as fault:
            faults.append(f"{source}: {fault}")
    if not faults:
        try:
            return cls(**values)
        except ValueError as fault:
            faults.append(f"[{section}]: {fault}")
    raise StartupRefused("; ".join(faults))


def _read_table(file: Path | None, section: str, faults: list[str]) -> dict[str, object]:
    if file is None:
        return {}
    try:
        table = tomllib.loads(file.read_text("utf-8")).get(section, {})
    except OSError as error:
        faults.append(f"{file}: {error.strerror}")
    except ValueError as error:
        faults.append(f"{file}: not TOML: {error}")
    else:
        if isinstance(table, dict):
            return table
        faults.append(f"{file}: {section} must be a table")
    return {}


def _checked(value: object, field: dataclasses.Field[Any]) -> object:
    if isinstance(value, int | float):
        low, high = field.metadata.get(_MINIMUM, -math.inf), field.metadata.get(_MAXIMUM, math.inf)
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, is {value}")
    return value


def _convert(raw: object, hint: Any) -> object:
    """Turn what a source gave into a field's type. Raises ValueError with what was expected."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return None if raw == "" else _convert(raw, inner)
    if origin is tuple:
        parts = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            raise ValueError("must be a list of texts, or one text with commas between")
        return tuple(stripped for part in parts if (stripped := part.strip()))
    converted = _SCALARS[hint](raw)
    if converted is None:
        raise ValueError(f"must be {_NAMES[hint]}, is {raw!r}")
    return converted


def _bool(raw: object) -> bool | None:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def _int(raw: object) -> int | None:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        return None
    try:
        return int(raw)
    except ValueError:
        return None


def _float(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        number = float(raw)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _str(raw: object) -> str | None:
    return raw if isinstance(raw, str) else None


def _path(raw: object) -> Path | None:
    return Path(raw).expanduser() if isinstance(raw, str | Path) and str(raw) else None


_SCALARS: Final[dict[Any, Any]] = {bool: _bool, int: _int, float: _float, str: _str, Path: _path}
_NAMES: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}
