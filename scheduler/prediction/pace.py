"""What a model takes for each unit of input and for each token that it generates (for tensors: for each task).

Least squares of errors relative to what is usual, with decay, in two unknowns that are not negative. Where inputs and
outputs do not vary enough to be told apart, their usual ratio decides (ridge regression: Hoerl and Kennard, "Ridge
Regression: Biased Estimation for Nonorthogonal Problems", Technometrics, 1970).
"""

from typing import Final, NamedTuple

from scheduler.prediction.drift import OneSided
from scheduler.prediction.sketch import HALF_LIFE

_RIDGE: Final = 0.01
_REMEMBERED: Final = 0.5
"""How many tasks all that came before a drift weighs."""


class Rate(NamedTuple):
    """Milliseconds by what they are spent on."""

    per_input: float
    """For each character of a prompt, each element of a tensor."""
    per_output: float
    """For each generated token; for tensors, for each task."""

    def ms(self, inputs: float, outputs: float) -> float:
        """Return the time that so much takes."""
        return self.per_input * inputs + self.per_output * outputs


_STEP: Final = 0.01
"""By so much of itself the median moves with each task. A change that it keeps up with needs no alarm."""
_TOGETHER: Final = 7
"""Of more new tasks than this, new rates are made."""
_SETTLED: Final = 4096
"""Tasks after which twice as many say little new."""

OF_GENERATION: Final = Rate(0.01, 1.0)
"""Of a model that nothing is known of. The ratio is what counts: tasks are ordered by their limits then."""
OF_TENSORS: Final = Rate(1e-4, 1.0)


class Pace:
    """The rates of one model, for work and for execution."""

    __slots__ = (
        "_count",
        "_fresh",
        "_ie",
        "_ii",
        "_io",
        "_iw",
        "_middle",
        "_oe",
        "_oo",
        "_ow",
        "_usual",
        "drift",
        "epoch",
        "execute",
        "seen",
        "version",
        "work",
    )

    def __init__(self, usual: Rate) -> None:
        self._usual = usual
        self.work = self.execute = usual
        self.seen = 0
        """Tasks that the rates are made of, without regard to their age."""
        self._fresh = 0
        """Tasks that they do not have yet."""
        self.version = 0
        """Grows whenever the rates change."""
        self.epoch = 0
        """Grows whenever so much has changed that everything that was foretold should be looked at again."""
        self.drift = OneSided()
        self._middle = 1.0
        """What the median task costs of what is expected: less than all of it where tails are heavy."""
        self._count = 0.0
        """How many new tasks all that is remembered amounts to."""
        self._ii = self._io = self._oo = self._iw = self._ow = self._ie = self._oe = 0.0

    def learn(self, inputs: float, outputs: float, work_ms: float, execute_ms: float) -> None:
        """Take in one task."""
        usual_ms = self._usual.ms(inputs, outputs)
        if usual_ms <= 0.0:
            return
        expected_ms = self.work.ms(inputs, outputs) * self._middle
        # A fifth up or down is what neighbours in a batch make of it.
        side = 1 if work_ms > 1.2 * expected_ms else -1 if work_ms < 0.8 * expected_ms else 0
        if self._count and self.drift.note(side):
            self._fade(min(1.0, _REMEMBERED / self._count))
            self._middle = 1.0
            self.epoch += 1
        elif side:
            self._middle *= 1.0 + _STEP if side > 0 else 1.0 - _STEP
        i, o, w, e = inputs / usual_ms, outputs / usual_ms, work_ms / usual_ms, execute_ms / usual_ms
        self._count += 1.0
        self._ii += i * i
        self._io += i * o
        self._oo += o * o
        self._iw += i * w
        self._ow += o * w
        self._ie += i * e
        self._oe += o * e
        self._fresh += 1
        if self._fresh > min(_TOGETHER, self.seen // 4):
            self._settle()

    def _settle(self) -> None:
        """Make rates of what was taken in."""
        before = self.seen
        self.seen = before + self._fresh
        if self.seen.bit_length() != before.bit_length() and before < _SETTLED:
            self.epoch += 1
        self.work = self._solved(self._iw, self._ow)
        self.execute = self._solved(self._ie, self._oe)
        self.version += 1
        self._fade(2.0 ** (-self._fresh / HALF_LIFE))
        self._fresh = 0

    def _solved(self, it: float, ot: float) -> Rate:
        ii, io, oo = self._ii, self._io, self._oo
        usual_i, usual_o = self._usual
        norm = usual_i * usual_i * ii + 2 * usual_i * usual_o * io + usual_o * usual_o * oo
        if norm <= 0.0:
            return self._usual
        level = (usual_i * it + usual_o * ot) / norm
        prior_i, prior_o = level * usual_i, level * usual_o
        if ii <= 0.0:
            return Rate(prior_i, ot / oo)
        if oo <= 0.0:
            return Rate(it / ii, prior_o)
        a, d = ii * (1 + _RIDGE), oo * (1 + _RIDGE)
        p, q = it + _RIDGE * ii * prior_i, ot + _RIDGE * oo * prior_o
        det = a * d - io * io
        rate = Rate((p * d - q * io) / det, (a * q - io * p) / det)
        if rate.per_input < 0.0:
            return Rate(0.0, q / d)
        if rate.per_output < 0.0:
            return Rate(p / a, 0.0)
        return rate

    def _fade(self, part: float) -> None:
        self._count *= part
        self._ii *= part
        self._io *= part
        self._oo *= part
        self._iw *= part
        self._ow *= part
        self._ie *= part
        self._oe *= part
