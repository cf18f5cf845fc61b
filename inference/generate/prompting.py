"""From a request to its rows: checks every field, lays out the prompt and tokenises it.

Nothing of a prompt goes into an error: faults name fields, limits and counts.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.engine import GenerateRequest
from inference.generate.chat_template import load_chat_template
from inference.generate.constraints import Constraints
from inference.generate.detokenize import StreamingDetokenizer
from inference.generate.faults import faults_of
from inference.generate.row import Generation, Row
from inference.generate.sampling import SamplerState, Sampling
from inference.generate.stops import StopScanner
from inference.rules.limits import MAX_FORMAT_BYTES
from scheduler.errors import InvalidInput, ModelUnusable


class Prompting:
    """Makes generations for one model."""

    def __init__(
        self,
        folder: Path,
        *,
        context_length: int,
        vocabulary: int,
        end_tokens: frozenset[int],
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
        self._constraints = Constraints(self._tokenizer, vocabulary, end_tokens, MAX_FORMAT_BYTES)

    def generation(self, key: str, request: GenerateRequest) -> Generation:
        """Check a request and make its rows. Raises InvalidInput with every fault found.

        Grammars may still be compiling when it returns: what is wrong with them is in `Generation.compiling`.
        """
        if faults := faults_of(request, self._vocabulary):
            raise InvalidInput(faults)
        prompt = self._prompt(request)
        generation = Generation(
            key=key,
            prompt=prompt,
            limit=min(request.max_tokens, self._context_length - len(prompt)),
            end_tokens=(frozenset() if request.ignore_eos else self._end_tokens)
            | frozenset(request.stop_token_ids),
            level=request.level,
            tenant=request.tenant,
        )
        generation.rows = [self._row(generation, request, index) for index in range(request.n)]
        if request.response_format is not None:
            generation.compiling = [
                self._constraints.submit(request.response_format) for _ in generation.rows
            ]
        return generation

    def close(self) -> None:
        """Let go of what compiles grammars. Idempotent."""
        self._constraints.close()

    def _row(self, generation: Generation, request: GenerateRequest, index: int) -> Row:
        return Row(
            generation=generation,
            index=index,
            sampler=SamplerState(Sampling.of(request), generation.prompt, request.seed, index),
            detokenizer=StreamingDetokenizer(self._tokenizer),
            stops=StopScanner(request.stop),
        )

    def _prompt(self, request: GenerateRequest) -> NDArray[np.int64]:
        """Return the tokens of the prompt. Raises InvalidInput when they can never be run."""
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
        return prompt

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
