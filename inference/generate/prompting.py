"""From a request to a row: checks every field, lays out the prompt and tokenises it.

Nothing of a prompt goes into an error: faults name fields, limits and counts.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.engine import GenerateRequest
from inference.generate.chat_template import load_chat_template
from inference.generate.detokenize import StreamingDetokenizer
from inference.generate.row import Row
from inference.generate.sampling import Sampler, Sampling
from inference.generate.stops import StopScanner
from scheduler.errors import FieldFault, InvalidInput, ModelUnusable

MAX_STOPS = 16


class Prompting:
    """Makes rows for one model."""

    def __init__(
        self, folder: Path, *, context_length: int, vocabulary: int, end_tokens: frozenset[int]
    ) -> None:
        """Read tokenizer and chat template of a model folder. Raises ModelUnusable."""
        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelUnusable(f"{path} cannot be used: {error}")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = load_chat_template(folder)
        self._context_length = context_length
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens

    def row(self, key: str, request: GenerateRequest) -> Row:
        """Check a request and make its row. Raises InvalidInput with every fault found."""
        if faults := _faults(request):
            raise InvalidInput(faults)
        prompt = self._tokens(request)
        field = "generate.messages" if request.prompt is None else "generate.prompt"
        if len(prompt) == 0:
            raise InvalidInput.of(field, "has no tokens")
        if len(prompt) >= self._context_length:
            raise InvalidInput.of(
                field,
                f"has {len(prompt)} tokens; the model's context is {self._context_length}, and at least 1 is generated",
            )
        if int(prompt.max()) >= self._vocabulary:
            raise InvalidInput.of(field, "holds a token that the model does not know")
        sampling = Sampling(request.temperature, request.top_p, request.top_k, request.min_p)
        return Row(
            key=key,
            prompt=prompt,
            limit=min(request.max_tokens, self._context_length - len(prompt)),
            end_tokens=frozenset() if request.ignore_eos else self._end_tokens,
            sampler=Sampler(sampling, request.seed),
            detokenizer=StreamingDetokenizer(self._tokenizer),
            stops=StopScanner(request.stop),
        )

    def _tokens(self, request: GenerateRequest) -> NDArray[np.int64]:
        """Tokenise: a plain prompt gets the model's begin marker, a chat has what its template wrote."""
        if request.prompt is not None:
            encoding = self._tokenizer.encode(request.prompt, add_special_tokens=True)
        elif self._template is None:
            raise InvalidInput.of("generate.messages", "the model has no chat template: send a prompt")
        else:
            encoding = self._tokenizer.encode(
                self._template.render(request.messages), add_special_tokens=False
            )
        return np.array(encoding.ids, np.int64)


def _faults(request: GenerateRequest) -> list[FieldFault]:
    """Return what is wrong with the fields by themselves. Comparisons are written so that NaN is a fault."""
    checks = [
        (
            "input",
            (request.prompt is None) != (not request.messages),
            "exactly one of prompt and messages is needed",
        ),
        ("max_tokens", request.max_tokens >= 1, f"must be at least 1, is {request.max_tokens}"),
        ("temperature", 0 <= request.temperature <= 2, f"must be from 0 to 2, is {request.temperature}"),
        ("top_p", 0 < request.top_p <= 1, f"must be over 0 and at most 1, is {request.top_p}"),
        ("top_k", request.top_k >= 0, f"must be 0 or more, is {request.top_k}"),
        ("min_p", 0 <= request.min_p <= 1, f"must be from 0 to 1, is {request.min_p}"),
        ("seed", request.seed is None or 0 <= request.seed < 1 << 64, "must be from 0 to 2^64 - 1"),
        (
            "stop",
            len(request.stop) <= MAX_STOPS,
            f"has {len(request.stop)} strings, at most {MAX_STOPS} are taken",
        ),
    ]
    faults = [FieldFault(f"generate.{name}", fault) for name, good, fault in checks if not good]
    faults += [
        FieldFault(f"generate.stop[{index}]", "must not be empty")
        for index, stop in enumerate(request.stop)
        if not stop
    ]
    return faults
