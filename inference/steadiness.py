"""Whether a model gives the same answer each time it is asked the same, as far as its files tell.

A graph does not when any of its nodes, also in a branch, in the body of a loop or in a function of the model:

- is of an operator that draws random numbers: `OPERATORS`. A `seed` changes nothing: it is where the generator of a
  session begins, and the second run goes on from there. Only that of Sampling begins anew with each run, but then a
  row's numbers are others beside other rows;
- is a dropout whose input for training mode is connected: `TRAINING_INPUT`. Without it a dropout does nothing. What the
  input says is not looked at, as it can come from a request;
- is a BatchNormalization that gives more than its first output, which it does in training mode: ONNX Runtime lets it
  write into the constants of the model, which later runs begin with.

A tokenizer does not when its BPE leaves out merges at random (BPE-dropout: Provilkov, Emelianenko and Voita, ACL 2020).
A chat template does not when it writes the time, or something at random.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jinja2 import Environment, TemplateError, nodes

from inference.onnx_messages import (
    CHILDREN,
    MODEL,
    NODE,
    NODE_INPUT,
    NODE_OUTPUT,
    OP_TYPE,
    SPARSE,
    TENSOR,
    fields,
)
from scheduler.errors import ModelUnusable

OPERATORS: Final = frozenset(
    (
        b"Bernoulli",
        b"Multinomial",
        b"RandomNormal",
        b"RandomNormalLike",
        b"RandomUniform",
        b"RandomUniformLike",
        b"Sampling",
    )
)
"""Of ONNX and of com.microsoft: those that draw random numbers, whatever their inputs."""
TRAINING_INPUT: Final = {
    b"Dropout": 2,
    b"BitmaskDropout": 2,
    b"BiasDropout": 4,
    b"BitmaskBiasDropout": 4,
}
"""Of ONNX and of com.microsoft: operators that draw in training mode, and the place of the input that says so."""
_OF_TIME_OR_CHANCE: Final = frozenset(("strftime_now", "lipsum", "random"))
"""Functions and filters of chat templates that do not give the same each time."""
_DROPOUT: Final = re.compile(rb'"dropout"\s*:(?!\s*(?:null|\d{2,}\s*[,}]))')
"""A value that the setting can have; the token of that name has a number of several digits."""
_LETTER: Final = re.compile(rb"\\u00[67]")
"""A letter that is written as its number, as nobody does: the name of the setting may have one."""


@dataclass(slots=True)
class _Node:
    """What decides whether a node draws."""

    operators: set[bytes] = field(default_factory=set)
    """One, but in damaged files."""
    inputs: list[bool] = field(default_factory=list)
    """Whether each is connected."""
    outputs: list[bool] = field(default_factory=list)

    @property
    def draws(self) -> bool:
        if self.operators & OPERATORS or (b"BatchNormalization" in self.operators and any(self.outputs[1:])):
            return True
        places = (TRAINING_INPUT[name] for name in self.operators & TRAINING_INPUT.keys())
        return any(any(self.inputs[place : place + 1]) for place in places)


def draws_at_random(model: Path) -> bool:
    """Tell whether the graph of an ONNX file can give other answers to the same inputs. It may say so of one that does
    not; never the other way round. Takes as long as the model has nodes; weights are not read. Raises ModelUnusable.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(node.draws for node in _nodes(data))
    except (OSError, ValueError, IndexError) as error:
        raise ModelUnusable(f"{model} cannot be read: {error}")


def random_tokens(folder: Path) -> bool:
    """Tell whether the tokenizer of a folder can make different tokens of one text. Raises ModelUnusable."""
    path = folder / "tokenizer.json"
    try:
        content = path.read_bytes() if path.is_file() else b""
        # To parse a large vocabulary takes longer than all else here.
        if not (_DROPOUT.search(content) or _LETTER.search(content)):
            return False
        model = json.loads(content).get("model")
        return isinstance(model, dict) and bool(model.get("dropout"))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnusable(f"{path} cannot be read: {error}")


def unsteady_template(folder: Path) -> bool:
    """Tell whether the chat template of a folder can make different prompts of one chat. Raises ModelUnusable."""
    try:
        sources = _templates(folder)
        return any(_names(source) & _OF_TIME_OR_CHANCE for source in sources)
    except (OSError, ValueError, AttributeError, TemplateError) as error:
        raise ModelUnusable(f"the chat template in {folder} cannot be read: {error}")


def _nodes(data: mmap.mmap) -> Iterator[_Node]:
    """Return the nodes of all graphs and functions of a model. Raises ValueError and IndexError."""
    left = [(MODEL, 0, len(data))]
    while left:
        kind, start, end = left.pop()
        node = _Node()
        for number, first, last in fields(data, start, end):
            child = CHILDREN[kind].get(number)
            if child is not None:
                if child not in (TENSOR, SPARSE):
                    left.append((child, first, last))
            elif kind == NODE:
                if number == OP_TYPE:
                    node.operators.add(data[first:last])
                elif number == NODE_INPUT:
                    node.inputs.append(last > first)
                elif number == NODE_OUTPUT:
                    node.outputs.append(last > first)
        if kind == NODE:
            yield node


def _templates(folder: Path) -> Iterable[str]:
    """Return the sources that a folder may take its template from, as `inference.generate.chat_template` does."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return [path.read_text(encoding="utf-8")]
    path = folder / "tokenizer_config.json"
    source = json.loads(path.read_bytes()).get("chat_template") if path.is_file() else None
    if isinstance(source, list):
        return [text for one in source if isinstance(text := one.get("template"), str)]
    return [source] if isinstance(source, str) else []


def _names(source: str) -> set[str]:
    """Return the names of all functions, filters and variables that a template uses, and all its strings: a filter can
    be named by one.
    """
    tree = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False).parse(source)
    names = {node.name for node in tree.find_all(nodes.Name)} | {
        node.name for node in tree.find_all(nodes.Filter)
    }
    return names | {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
