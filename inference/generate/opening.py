"""Loading a model folder: what an engine is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.artifacts import WIDE_FILE, Artifact, digest, inspect
from inference.engine import EngineKind, ModelCard
from inference.generate.cache_memory import take_memory
from inference.generate.config import read_config
from inference.generate.plan import SMALLEST_BUDGET
from inference.generate.prefix_cache import PrefixCache
from inference.generate.prompting import Prompting
from inference.generate.run_shapes import run_shapes
from inference.generate.seating import Seating
from inference.generate.session import DecoderSession
from inference.processor import multiplies_bytes_exactly
from inference.provider_options import Shapes
from inference.providers import PROVIDERS, first_candidate, open_session, session_options
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable

MAX_CONTEXT: Final = 8192
"""Context length when the settings leave it to the model and the model would take more."""
DECODE: Final = ("narrow", "wide", "auto")


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of."""

    session: DecoderSession
    prompting: Prompting
    seating: Seating
    prefixes: PrefixCache | None
    card: ModelCard
    slots: int


def open_parts(folder: Path, settings: EngineSettings, report: Callable[[str], None]) -> Parts:
    """Load the model in `folder`. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
    if settings.decode not in DECODE:
        raise ModelUnusable(f"engine.decode is {settings.decode!r}, expected one of {', '.join(DECODE)}")
    if settings.prefill_tokens < SMALLEST_BUDGET:
        raise ModelUnusable(
            f"engine.prefill_tokens is {settings.prefill_tokens}, expected at least {SMALLEST_BUDGET}"
        )
    artifact = inspect(folder)
    config = read_config(artifact.root)
    context = min(settings.context_length or MAX_CONTEXT, config.context_length)
    size = sum(file.stat().st_size for file in artifact.files)
    report(f"loading {folder.name}, {size / 1e6:.0f} MB")
    prompting = Prompting(
        artifact.root,
        context_length=context,
        vocabulary=config.vocabulary,
        end_tokens=config.end_tokens,
    )
    shapes = run_shapes(config, slots=settings.slots, context=context, prefill_tokens=settings.prefill_tokens)
    forms = _open_forms(artifact, settings, shapes, report)
    try:
        cache, parking, prefixes = take_memory(forms.generates, config, settings, context, report)
    except MemoryError as error:
        raise ModelUnusable(f"there is no memory for the attention cache: {error}")
    slots = cache.slots
    session = DecoderSession(
        forms.narrow, forms.wide, config, cache, slots=slots, context=context, decode=settings.decode
    )
    return Parts(
        session=session,
        prompting=prompting,
        seating=Seating(cache, slots, context, parking),
        prefixes=prefixes,
        card=ModelCard(
            kind=EngineKind.GENERATE,
            digest=digest(artifact, settings.cache),
            provider=forms.provider,
            context_length=context,
        ),
        slots=slots,
    )


def options(settings: EngineSettings) -> Any:
    """Return the session options that decode fastest (measured on 2 cores, in benchmarks/bench_llm_bare.py).

    Threads spin between the operators of a run (a third faster than sleeping), but for 50 µs at most: on a machine
    whose cores others use too, threads that spin without end take the core from the one they wait for, and a step
    takes twice as long as without spinning. Between runs they never spin, so an idle engine costs nothing. Work is cut
    into small blocks, so a core that others use does not hold up the run.
    """
    options = session_options(settings, spinning=True)
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.dynamic_block_base", "8")
    return options


@dataclass(frozen=True, slots=True)
class _Forms:
    """The sessions of a model; at least one is there."""

    narrow: Any | None
    wide: Any | None
    provider: str

    @property
    def generates(self) -> Any:
        """One of them: their caches have one layout."""
        return self.narrow or self.wide


def _open_forms(
    artifact: Artifact, settings: EngineSettings, shapes: Shapes, report: Callable[[str], None]
) -> _Forms:
    """Open what the settings need. The arithmetic of the wide form is that of CPUs: elsewhere it is not used."""
    path = artifact.root / WIDE_FILE
    has_wide = path.is_file()
    if has_wide and not multiplies_bytes_exactly():
        report(f"{path.name} is not used: this processor has no VNNI")
        has_wide = False
    if has_wide and settings.decode == "wide" and first_candidate(settings) == "cpu":
        wide = open_session(path, settings, report, options(settings))
        return _Forms(None, wide.session, wide.provider)
    narrow = open_session(artifact.model, settings, report, options(settings), shapes)
    wide_session = None
    if has_wide and narrow.provider == PROVIDERS["cpu"]:
        wide_session = open_session(path, settings, report, options(settings)).session
    return _Forms(narrow.session, wide_session, narrow.provider)
