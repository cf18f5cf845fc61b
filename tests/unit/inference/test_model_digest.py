"""What can change an answer of a model changes what its runners announce, and so the key of every question to it."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import pytest

from cache.key import EmbedQuestion, Keys, Model, Question, identity_of
from inference import model_digest
from inference.artifacts import digest, inspect
from inference.engine import EngineKind, ModelCard, Signature
from inference.model_digest import (
    PACKAGES,
    ModelTraits,
    definition_parts,
    digest_of,
    model_traits,
    settings_parts,
)
from inference.repository.definition import (
    EnsembleStep,
    InputDefinition,
    ModelDefinition,
    OutputDefinition,
)
from inference.repository.folder import read_folder
from inference.settings import EngineSettings
from tests.unit.inference.tensor import onnx_models

SETTINGS: Final = EngineSettings()
ON_THE_CARD: Final = {"providers", "gpu_only", "context_length"}
"""Settings whose effect the card tells: the provider in use, and what is left of the context."""
CHANGE_ANSWERS: Final = {"tensorrt_fp16", "decode"}
CHANGE_NOTHING: Final = {
    *("device", "gpu_memory_bytes", "threads", "max_batch", "capacity", "batch_time_s", "batching", "slots"),
    *("prefill_tokens", "kv_memory_bytes", "prefix_cache_bytes", "prefix_cache_shared", "preemption_bytes"),
    *("watchdog_s", "cache"),
}
"""Settings that decide what runs at once, and what is kept in memory or on disk."""
OF_THE_DEFINITION: Final = {"max_batch_size", "inputs", "outputs", "ensemble", "file"}
NOT_OF_THE_DEFINITION: Final = {
    "name",
    "declared",
    "batching",
    "sequences",
    "instances",
    "versions",
    "warmup",
    "parameters",
}
"""A model with sequences is never cached; parameters act through the settings."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a language model, as far as its files go."""
    made = tmp_path / "model"
    onnx_models.add(made / "model.onnx")
    (made / "genai_config.json").write_text("{}")
    (made / "tokenizer.json").write_text('{"model": 1}')
    (made / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (made / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return made


def card_of(path: Path, **changes: Any) -> ModelCard:
    card = ModelCard(EngineKind.GENERATE, digest(inspect(path)), "CPUExecutionProvider", context_length=2048)
    return replace(card, **changes)


def traits(path: Path, settings: EngineSettings = SETTINGS, **changes: Any) -> ModelTraits:
    return model_traits(read_folder(path, lambda _: None), 1, card_of(path, **changes), settings)


def key_with(announced: str, version: int = 1) -> bytes:
    question = Question(Model("m", version, identity_of([announced])), EmbedQuestion(("a",), normalize=True))
    return Keys(b"a secret of some bytes").key("tenant", question).digest


@pytest.mark.parametrize(
    "file",
    ["model.onnx", "tokenizer.json", "chat_template.jinja", "tokenizer_config.json", "genai_config.json"],
)
def test_a_change_of_any_file_changes_the_key(folder: Path, file: str) -> None:
    before = traits(folder).digest
    assert traits(folder).digest == before
    path = folder / file
    if file == "model.onnx":
        onnx_models.centred(path)
    else:
        path.write_text(path.read_text() + " ")
    assert key_with(traits(folder).digest) != key_with(before)


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "CUDAExecutionProvider"},
        {"context_length": 1024},
        {"kind": EngineKind.TENSOR},
        {"digest": "0" * 64},
    ],
)
def test_a_change_of_provider_context_or_kind_changes_the_key(folder: Path, change: dict[str, Any]) -> None:
    assert key_with(traits(folder, **change).digest) != key_with(traits(folder).digest)


def test_another_version_changes_the_key_also_where_it_has_the_same_files() -> None:
    assert key_with("a" * 64, version=1) != key_with("a" * 64, version=2)


def test_what_else_a_card_tells_changes_nothing(folder: Path) -> None:
    other = traits(folder, batch_invariant=True, config=b"x", inputs=(Signature("x", "FP32", (1,)),))
    assert other == traits(folder)


def test_for_each_setting_it_is_decided_whether_it_changes_answers() -> None:
    names = [field.name for field in fields(EngineSettings)]
    assert sorted(names) == sorted([*ON_THE_CARD, *CHANGE_ANSWERS, *CHANGE_NOTHING])


@pytest.mark.parametrize("name", [field.name for field in fields(EngineSettings)])
def test_a_setting_changes_the_digest_exactly_when_it_changes_answers(name: str) -> None:
    value = getattr(SETTINGS, name)
    other: Any = (not value) if isinstance(value, bool) else "never" if isinstance(value, str) else 7
    changed = settings_parts(replace(SETTINGS, **{name: other})) != settings_parts(SETTINGS)
    assert changed is (name in CHANGE_ANSWERS)


DEFINITIONS: Final[Mapping[str, Any]] = {
    "name": "other",
    "max_batch_size": 4,
    "declared": True,
    "inputs": (InputDefinition(Signature("x", "FP32", (1,))),),
    "outputs": (OutputDefinition(Signature("y", "FP32", (1,))),),
    "batching": 7,
    "sequences": 7,
    "instances": 7,
    "versions": 7,
    "warmup": 7,
    "parameters": {"a": "b"},
    "ensemble": (EnsembleStep("a", 0, {"x": "y"}, {"z": "w"}),),
    "file": "other.onnx",
}


@pytest.mark.parametrize("name", [field.name for field in fields(ModelDefinition)])
def test_a_definition_changes_the_digest_exactly_when_it_changes_answers(name: str) -> None:
    assert DEFINITIONS.keys() == OF_THE_DEFINITION | NOT_OF_THE_DEFINITION
    other = replace(ModelDefinition(), **{name: DEFINITIONS[name]})
    changed = definition_parts(other) != definition_parts(ModelDefinition())
    assert changed is (name in OF_THE_DEFINITION)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, labels=("b", "a")),
        lambda one: replace(one, reshape=(1, 2)),
        lambda one: replace(one, signature=Signature("y", "INT64", (1,))),
    ],
)
def test_labels_shapes_and_datatypes_of_outputs_change_the_digest(
    change: Callable[[OutputDefinition], OutputDefinition],
) -> None:
    one = OutputDefinition(Signature("y", "FP32", (1,)), labels=("a", "b"))
    before, after = (definition_parts(ModelDefinition(outputs=(output,))) for output in (one, change(one)))
    assert before != after
    moved = replace(one, place="config.pbtxt:7:1")
    assert definition_parts(ModelDefinition(outputs=(moved,))) == before, "where it stands changes nothing"


def test_another_version_of_a_package_changes_the_digest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {traits(folder).digest}
    version = importlib.metadata.version
    for package in PACKAGES:

        def other(name: str, package: str = package) -> str:
            return "999" if name == package else version(name)

        monkeypatch.setattr(importlib.metadata, "version", other)
        found.add(traits(folder).digest)
    assert len(found) == 1 + len(PACKAGES)


def test_a_processor_that_multiplies_otherwise_changes_the_digest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for exact in (False, True):
        monkeypatch.setattr(model_digest, "multiplies_bytes_exactly", lambda exact=exact: exact)
        found.add(traits(folder).digest)
    assert len(found) == 2


def test_members_change_the_digest_of_an_ensemble(tmp_path: Path) -> None:
    ensemble = tmp_path / "both"
    ensemble.mkdir()
    (ensemble / "config.pbtxt").write_text(
        'platform: "ensemble"\n'
        'input { name: "x" data_type: TYPE_FP32 dims: 4 }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: 4 }\n'
        'ensemble_scheduling { step { model_name: "one" model_version: -1\n'
        '  input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }\n'
    )
    folder = read_folder(ensemble, lambda _: None)
    card = ModelCard(EngineKind.TENSOR, "d", "CPUExecutionProvider")
    made = [
        model_traits(folder, 1, card, SETTINGS, {"one@1": member})
        for member in (ModelTraits("a"), ModelTraits("b"), ModelTraits("a", draws=True))
    ]
    assert made[0].digest != made[1].digest
    assert [one.draws for one in made] == [False, False, True]


def test_parts_are_told_apart_and_have_no_order() -> None:
    ways = [{"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "b"}, {}]
    assert len({digest_of(way) for way in ways}) == len(ways)
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})


def test_chats_are_unsteady_where_the_template_is_and_only_of_language_models(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%d') }}")
    kinds = [kind for kind in EngineKind if traits(folder, kind=kind).unsteady_chats]
    assert kinds == [EngineKind.GENERATE]


def test_a_model_draws_where_its_graph_does(folder: Path) -> None:
    assert not traits(folder).draws
    onnx_models.dropout(folder / "wide.onnx")
    assert traits(folder).draws, "the other form of the model counts too"
    (folder / "wide.onnx").unlink()
    onnx_models.dropout(folder / "model.onnx")
    assert traits(folder).draws


def test_models_of_texts_draw_where_the_tokenizer_does(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "dropout": 0.1}}')
    kinds = {kind for kind in EngineKind if traits(folder, kind=kind).draws}
    assert kinds == {EngineKind.GENERATE, EngineKind.EMBED}
