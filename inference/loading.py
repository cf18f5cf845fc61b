"""From a path to an engine: what kind of model it is decides which engine opens it."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from inference.artifacts import EMBED_CONFIG, GENAI_CONFIG, MODEL_FILE
from inference.engine import Engine, ModelCard, SharesRuns
from inference.model_digest import ModelTraits, model_traits
from inference.providers import installed_runtime
from inference.repository.completion import config_for
from inference.repository.folder import ModelFolder, read_folder
from inference.repository.tuning import gpu_place, tuned
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable

if TYPE_CHECKING:
    from inference.ensemble.engine import EnsembleEngine

Report = Callable[[str], None]

BY_MARK: Final = {
    GENAI_CONFIG: ("inference.generate.engine", "GenerateEngine"),
    EMBED_CONFIG: ("inference.embed.engine", "EmbedEngine"),
}
"""File beside a model -> the engine that runs it; a model without any has tensors."""


class _Described(Engine, Protocol):
    """An engine as it is opened here."""

    card: ModelCard
    """Gets what clients are told of the configuration once the model is open."""


def load_engine(
    path: Path, settings: EngineSettings, report: Report, version: int = 0, inside: tuple[str, ...] = ()
) -> Engine:
    """Open a model: an .onnx file, a folder with model.onnx, genai_config.json or embed_config.json, or a folder in
    Triton's layout, of which `version` is opened; 0 is the highest one that is served.

    `report` gets short sentences about what is going on. `inside` names the ensembles that the model is opened for.
    Blocks until the model is loaded; call `warm_up` then.

    Raises ModelUnusable with the file and the cause, RuntimeMissing when ONNX Runtime is not there, or twice.
    """
    installed_runtime()
    folder = read_folder(path, report)
    version = folder.version(version)
    settings = tuned(settings, folder.configuration, report)
    try:
        engine = _open(folder, version, settings, report, inside)
    except ModelUnusable as error:
        place = gpu_place(folder.configuration) if settings.gpu_only else ""
        if not place:
            raise
        raise ModelUnusable(f"{error} (KIND_GPU at {place}: nothing but a GPU may run it)")
    together = engine.together if isinstance(engine, SharesRuns) else 1
    try:
        traits = model_traits(folder, version, engine.card, settings, _traits_inside(folder, engine))
    except BaseException:
        engine.close()
        raise
    engine.card = replace(
        engine.card,
        config=config_for(folder, engine.card, together=together),
        answers_digest=traits.digest,
        unsteady_chats=traits.unsteady_chats,
        draws=traits.draws,
    )
    return engine


def _traits_inside(folder: ModelFolder, engine: Engine) -> dict[str, ModelTraits]:
    """Return what is announced of the models that an ensemble is made of, by their place and name."""
    if not folder.is_ensemble:
        return {}
    cards = cast("EnsembleEngine", engine).member_cards
    return {
        f"{place} {name}": ModelTraits(card.answers_digest, card.unsteady_chats, card.draws)
        for place, (name, card) in enumerate(cards)
    }


def _open(
    folder: ModelFolder, version: int, settings: EngineSettings, report: Report, inside: tuple[str, ...]
) -> _Described:
    # Each engine brings ONNX Runtime in, which takes a second: only now, and only the one that is needed.
    if folder.is_ensemble:
        from inference.ensemble.engine import EnsembleEngine

        def load(path: Path, version: int, report: Report, inside: tuple[str, ...]) -> Engine:
            return load_engine(path, settings, report, version, inside)

        return EnsembleEngine.open(folder, load, report, inside)
    where, name = folder.holder(version)
    for mark, (module, engine) in BY_MARK.items():
        if name == MODEL_FILE and (where / mark).is_file():
            _refuse_sequences(folder)
            opened: _Described = getattr(import_module(module), engine).open(where, settings, report)
            return opened
    from inference.tensor.engine import TensorEngine

    if folder.path.is_file():
        return TensorEngine.open(folder.path, settings, report)
    file = None if name == MODEL_FILE and folder.configuration is None else Path(name)
    return TensorEngine.open(where, settings, report, folder.definition, file)


def _refuse_sequences(folder: ModelFolder) -> None:
    """Refuse what only models with tensors can do."""
    configuration = folder.configuration
    if configuration is not None and folder.definition.sequences is not None:
        raise configuration.fault(("sequence_batching",), "only models with tensors keep state between calls")
