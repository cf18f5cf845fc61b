"""What a client asks for and waits for on the line: running a model now, with nothing recorded. A request begins here
and goes on in services/gateway/inference_service.py.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Unpack

from numpy.typing import ArrayLike

from forebay.client import direct, methods
from forebay.client.calls import Calls
from forebay.client.direct import EmbedAnswer, GenerateChunk, InferAnswer
from forebay.client.generations import GenerateOptions
from forebay.client.tasks import Priority
from forebay.client.transport import complete, iterate


class AsyncInference:
    """These methods of AsyncClient."""

    _calls: Calls
    _timeout_s: float

    async def infer(
        self,
        model: str,
        tensors: Mapping[str, ArrayLike],
        *,
        outputs: Sequence[str] = (),
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        sequence: str = "",
        start: bool = False,
        end: bool = False,
        timeout_s: float | None = None,
    ) -> InferAnswer:
        """Run a tensor model (NAME or NAME@VERSION) now, and wait for its outputs; nothing is recorded.

        `outputs` names those that are wanted (default: all). What has the same `kind` meets the same runner where the
        policy routes by consistent hash. `cache` is what the call wants of the result cache: default, bypass (computed,
        nothing kept), refresh (computed anew and kept) or only (NotFound when it is not there). A model with state
        takes the id of a `sequence`, which a call with `start` begins and one with `end` ends; calls of sequences are
        never made again by themselves.
        """
        request = direct.infer_request(
            model, tensors, outputs, priority, pool, kind, sequence, start=start, end=end, cache=cache
        )
        limit_s = self._limit(timeout_s)
        return direct.infer_answer(
            await self._calls.unary(methods.INFER, request, limit_s, safe=not sequence)
        )

    async def embed(
        self,
        model: str,
        texts: Sequence[str],
        *,
        normalize: bool | None = None,
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        timeout_s: float | None = None,
    ) -> EmbedAnswer:
        """Turn texts into vectors now, and wait for them; nothing is recorded. `kind`, `cache`: see `infer`."""
        request = direct.embed_request(model, texts, normalize, priority, pool, kind, cache=cache)
        return direct.embed_answer(await self._calls.unary(methods.EMBED, request, self._limit(timeout_s)))

    async def generate(
        self,
        model: str,
        *,
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        timeout_s: float | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGenerator[GenerateChunk, None]:
        """Generate text now, and yield it as it is generated; nothing is recorded, and leaving off stops the work.

        Options: see GenerateOptions. `kind` and `cache`: see `infer`. `timeout_s` bounds the whole (default: five
        minutes).
        """
        request = direct.generate_request(model, options, priority, pool, kind, cache=cache)
        limit_s = direct.GENERATE_S if timeout_s is None else timeout_s
        async with aclosing(self._calls.stream(methods.GENERATE, request, limit_s)) as answers:
            async for answer in answers:
                yield direct.generate_chunk(answer)

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


class Inference:
    """These methods of Client: each blocks its thread until it is done. See AsyncInference for what each does."""

    _client: AsyncInference

    def infer(
        self,
        model: str,
        tensors: Mapping[str, ArrayLike],
        *,
        outputs: Sequence[str] = (),
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        sequence: str = "",
        start: bool = False,
        end: bool = False,
        timeout_s: float | None = None,
    ) -> InferAnswer:
        """Run a tensor model now, and wait for its outputs; see AsyncInference.infer."""
        return complete(
            self._client.infer(
                model,
                tensors,
                outputs=outputs,
                priority=priority,
                pool=pool,
                kind=kind,
                cache=cache,
                sequence=sequence,
                start=start,
                end=end,
                timeout_s=timeout_s,
            )
        )

    def embed(
        self,
        model: str,
        texts: Sequence[str],
        *,
        normalize: bool | None = None,
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        timeout_s: float | None = None,
    ) -> EmbedAnswer:
        """Turn texts into vectors now, and wait for them."""
        return complete(
            self._client.embed(
                model,
                texts,
                normalize=normalize,
                priority=priority,
                pool=pool,
                kind=kind,
                cache=cache,
                timeout_s=timeout_s,
            )
        )

    def generate(
        self,
        model: str,
        *,
        priority: Priority | str = Priority.NORMAL,
        pool: str = "",
        kind: str = "",
        cache: str = "default",
        timeout_s: float | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Iterator[GenerateChunk]:
        """Generate text now, and yield it as it is generated; see AsyncInference.generate."""
        return iterate(
            self._client.generate(
                model, priority=priority, pool=pool, kind=kind, cache=cache, timeout_s=timeout_s, **options
            )
        )
