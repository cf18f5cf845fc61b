"""What may follow in one constrained answer."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from inference.engine import FormatKind
from inference.generate.constraints.definition import FIELD
from inference.generate.constraints.faults import TOO_COMPLEX, fault_of
from inference.generate.constraints.limits import MASK_GRACE_S, MASK_TOKEN_S, WARM_MASK_S
from scheduler.errors import InvalidInput

Mask = NDArray[np.int32]
"""One bit for each token, lowest bit first: (ceil(vocabulary / 32),) int32, set where the token may come next."""


class Constraint:
    """The state of one answer. Not thread-safe by itself; different answers may be asked on different threads."""

    def __init__(
        self,
        matcher: LLMatcher,
        kind: FormatKind,
        end_tokens: frozenset[int],
        text_tokens: Mask,
        learned: Callable[[float], None] = lambda _: None,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """Take a fresh matcher, the mask of all tokens that are no end tokens, whom to tell how many seconds went into
        new states of the lexer (infinity: it can take no more), and what measures processor time.
        """
        self._matcher = matcher
        self._kind = kind
        self._end_tokens = end_tokens
        self._text_tokens = text_tokens
        self._learned = learned
        self._cpu_s = cpu_s
        self._left_s = MASK_GRACE_S
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether the answer is complete and nothing but an end token can follow: generating can stop here.

        Known after `accept`; of a grammar that allows only the empty answer, after `mask`.
        """
        return self._closed or (self._matcher.is_stopped() and not self._matcher.is_error())

    @property
    def can_end(self) -> bool:
        """Whether the answer is complete as it is. An end token is allowed exactly then."""
        return self._closed or self._matcher.is_accepting()

    def mask(self, out: Mask) -> None:
        """Fill `out` (words,) int32, contiguous, with what may come next.

        Raises InvalidInput when nothing can, or when finding out takes too long; the constraint is of no use then.
        """
        began = self._cpu_s()
        self._matcher.unsafe_compute_mask_ptr(out.ctypes.data, out.nbytes)
        self._check(began)
        can_end = self.can_end
        if self._kind is FormatKind.GRAMMAR and not can_end:
            # Only a Lark grammar can name tokens, and so end tokens in its middle.
            np.bitwise_and(out, self._text_tokens, out=out)
        if not (out & self._text_tokens).any():
            if not can_end:
                self._give_up("NoExtension")
            self._closed = True

    def accept(self, token: int) -> None:
        """Take the token that was chosen. An end token closes the answer.

        Raises InvalidInput when the rest became too complex. Raises ValueError for a token that was not allowed.
        """
        if token in self._end_tokens:
            if not self.can_end:
                raise ValueError("the answer cannot end here")
            self._closed = True
            return
        began = self._cpu_s()
        if not self._closed and not self._matcher.consume_token(token):
            if "doesn't satisfy" in self._matcher.get_error():
                raise ValueError("the token is not allowed here")
            self._give_up(self._matcher.get_error())
        self._left_s += MASK_TOKEN_S
        self._check(began)

    def _check(self, began: float) -> None:
        """Raise InvalidInput when the matcher gave up, or the row has used up its time."""
        if self._matcher.is_error():
            self._give_up(self._matcher.get_error())
        took_s = self._cpu_s() - began
        if took_s > WARM_MASK_S:
            self._learned(took_s - WARM_MASK_S)
        self._left_s -= took_s
        if self._left_s < 0:
            raise InvalidInput.of(FIELD, f"{TOO_COMPLEX}: it slows down generating")

    def _give_up(self, message: str) -> None:
        self._learned(math.inf)
        raise InvalidInput.of(FIELD, fault_of(self._kind, message))


def fill_masks(constraints: Sequence[Constraint | None], out: Mask) -> Mapping[int, InvalidInput]:
    """Fill a row of `out` (rows, words) int32, C-contiguous, for each constraint; without one everything is allowed.

    Returns what is wrong with rows whose constraint is of no use any more, by index; everything is allowed there.
    One after the other: spreading 16 rows over 2 cores costs more than it saves. The interpreter lock is let go of.
    """
    faults: dict[int, InvalidInput] = {}
    for index, constraint in enumerate(constraints):
        if constraint is None:
            out[index] = -1
            continue
        try:
            constraint.mask(out[index])
        except InvalidInput as error:
            faults[index] = error
            out[index] = -1
    return faults
