"""Which runs are over sooner than another thread would wake up for them: those of small models on few values.

Handing a run to the engine's thread and its outcome back costs two wake-ups, some 100 µs; a small network runs in 10.
But whoever runs it on the event loop must know that it ends at once, whatever is in it: a length is learned from what
ran, and believed only of models whose runs depend on the shapes of their inputs and on nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from inference.engine import Array

SHORT_S: Final = 0.0003
"""What is as short as this may be done at once, in seconds."""
LEARNED: Final = 64
"""So many runs are seen before anything is believed; about so many are remembered."""
LATE: Final = 1 / 16
"""Share of runs that may have been longer: any thread is put aside by the kernel now and then."""
MOST_BYTES: Final = 64 << 10
"""Inputs of more are never done at once."""
MOST_SHAPES: Final = 64
"""Shapes that are remembered; when there are more, all are forgotten."""

SIZED_BY_SHAPE: Final = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization BiasGelu Cast Ceil Celu Clip Concat Constant Conv
    ConvTranspose Cos DequantizeLinear Div Dropout DynamicQuantizeLinear DynamicQuantizeMatMul Elu Equal Erf Exp
    FastGelu Flatten Floor FusedConv FusedGemm FusedMatMul GRU Gather Gelu Gemm GlobalAveragePool GlobalMaxPool
    Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LSTM
    LayerNormalization LeakyRelu Less LessOrEqual LinearClassifier LinearRegressor Log LogSoftmax LpNormalization
    MatMul MatMulInteger MatMulNBits Max MaxPool Mean Min Mish Mul Neg Normalizer Not Or PRelu Pow QLinearConv
    QLinearMatMul QuantizeLinear RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round SVMClassifier SVMRegressor Scaler Selu Shape Sigmoid
    Sign SimplifiedLayerNormalization Sin SkipLayerNormalization Slice Softmax Softplus Softsign Split Sqrt Squeeze
    Sub Sum Swish Tanh ThresholdedRelu Transpose TreeEnsembleClassifier TreeEnsembleRegressor Unsqueeze Where Xor
    """.split()
)
"""Operators whose work follows from the shapes of what they are given, never from the values: none that repeats, none
that makes a tensor as large as a value says.
"""


Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class ShortRuns:
    """Learns from the steps of one engine, shape by shape: two of as many bytes may cost very different times."""

    def __init__(self, sized_by_shape: bool) -> None:
        """`sized_by_shape` is whether a run's length follows from the shapes of its inputs alone."""
        self._sized_by_shape = sized_by_shape
        self._runs = 0
        self._late = 0.0
        self._most: dict[Shapes, int] = {}
        """Requests of these shapes that ran together in a short time."""

    def ran(self, requests: Sequence[Mapping[str, Array]], seconds: float) -> None:
        """Take note of a run with the inputs of these requests."""
        if not self._sized_by_shape or (shapes := _shapes(requests)) is None:
            return
        late = seconds > SHORT_S
        if len(requests) > self._most.get(shapes, 0):
            if not late:
                if len(self._most) >= MOST_SHAPES:
                    self._most.clear()
                self._most[shapes] = len(requests)
            return
        self._runs += 1
        self._late += (late - self._late) / LEARNED

    def known(self, requests: Sequence[Mapping[str, Array]]) -> bool:
        """Tell whether a run with the inputs of these requests is known to be short."""
        if self._runs < LEARNED or self._late >= LATE or (shapes := _shapes(requests)) is None:
            return False
        if len(requests) > self._most.get(shapes, 0):
            return False
        return len(requests) * sum([array.nbytes for array in requests[0].values()]) <= MOST_BYTES


def _shapes(requests: Sequence[Mapping[str, Array]]) -> Shapes | None:
    """Return the shapes that all of them have; None when they differ."""
    first = tuple([(name, array.shape) for name, array in requests[0].items()])
    for other in requests[1:]:
        if tuple([(name, array.shape) for name, array in other.items()]) != first:
            return None
    return first
