"""What the runs of a model were and took, since it was loaded."""

from inference.engine import RunCounts, RunSize


class RunCounter:
    """Counts runs that succeeded. Times are in seconds."""

    def __init__(self) -> None:
        self._by_rows: dict[int, list[float]] = {}
        """Runs, and seconds of input, inference and output, by the rows of a run."""
        self._rows = 0
        self._input_s = 0.0
        self._infer_s = 0.0
        self._output_s = 0.0

    def ran(
        self, rows: int, answered: tuple[int, int], input_s: float, infer_s: float, output_s: float
    ) -> None:
        """Count one run of so many rows; `answered` are the requests that got an answer by it, and their rows."""
        requests, answered_rows = answered
        size = self._by_rows.get(rows)
        if size is None:
            size = self._by_rows[rows] = [0, 0.0, 0.0, 0.0]
        size[0] += 1
        size[1] += input_s
        size[2] += infer_s
        size[3] += output_s
        self._rows += answered_rows
        self._input_s += requests * input_s
        self._infer_s += requests * infer_s
        self._output_s += requests * output_s

    def counts(self) -> RunCounts:
        """Return what was counted so far."""
        by_rows = {
            rows: RunSize(int(runs), input_s, infer_s, output_s)
            for rows, (runs, input_s, infer_s, output_s) in sorted(self._by_rows.items())
        }
        return RunCounts(self._rows, by_rows, self._input_s, self._infer_s, self._output_s)
