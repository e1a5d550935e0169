"""Measure every algorithm of an operation on given work, next to each other and next to PyTorch.

Nothing wrong is timed: each algorithm's result is held against the formula in float64 before the timing, and again
after it. An algorithm may like its images in one of two layouts, channels first (NCHW) or channels last: both are
tried, the faster is measured; PyTorch gets the same choice.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicnn.backends.images import Images
from minicnn.errors import AlgorithmError, ArgumentError, MissingPackageError
from minicnn.study import peak, timing
from minicnn.study.work import Work

TOLERANCE = {"f": 5e-4, "d": 1e-9}  # of the largest value; sums of 10,000 products in float32 are far below it
NCHW, LAST = "NCHW", "channels last"
LONGEST = 10  # seconds of a call

Call = Callable[[], Any]
Results = tuple[np.ndarray, ...]


@dataclass
class Row:
    """One algorithm: `seconds` is NaN where `verdict` is not "ok"; `ratio` is that of the library's time to its own."""

    name: str
    layout: str
    error: float
    verdict: str = "ok"
    seconds: float = math.nan
    rate: float = math.nan
    share: float = math.nan
    ratio: float = math.nan
    peer: bool = False

    @property
    def ok(self) -> bool:
        """Whether its results were right, before and after."""
        return self.verdict == "ok"


@dataclass
class Measurement:
    """What was measured on one work; `rows` begin with the fastest."""

    work: Work
    machine: peak.Peak
    rows: list[Row]
    left_out: dict[str, str]
    steps: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Of `rate`, in thousand millions."""
        return "GFLOP/s" if self.work.in_flops else "GB/s"

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        work = self.work
        return {
            "operation": work.operation,
            "pass": work.pass_name,
            "problem": work.title,
            "dtype": str(work.dtype),
            "flops": work.flops,
            "bytes": work.bytes,
            "intensity": work.intensity,
            "machine": asdict(self.machine),
            "unit": self.unit,
            "rows": [{**asdict(row), "ok": row.ok} for row in self.rows],
            "left_out": self.left_out,
            "steps": [{"from": a, "to": b, "times": times} for a, b, times in self.steps],
        }

    def __str__(self) -> str:
        """The table."""
        work, compared = self.work, any(row.peer for row in self.rows)
        limit = "of peak" if work.in_flops else "of memory"
        head = f"{'algorithm':20} {'layout':13} {'ms':>10} {self.unit:>9} {limit:>9} {'FLOP/byte':>9} {'error':>8}"
        lines = [
            f"{work.operation} {work.pass_name}: {work.title}, {work.dtype}",
            f"peak {self.machine.flops / 1e9:,.0f} GFLOP/s, memory {self.machine.bandwidth / 1e9:,.1f} GB/s, "
            f"{self.machine.threads} thread{'s' * (self.machine.threads > 1)}",
            "",
            head + (f" {'vs torch':>9}" if compared else ""),
        ]
        for row in self.rows:
            text = f"{row.name:20} {row.layout:13} "
            if row.ok:
                text += f"{row.seconds * 1e3:10.3f} {row.rate / 1e9:9,.1f} {row.share:9.1%} {work.intensity:9.1f}"
                text += f" {row.error:8.0e}" + (f" {row.ratio:8.2f}x" if compared else "")
            else:
                text += row.verdict
            lines.append(text.rstrip())
        lines += ["", *(f"from {a} to {b}: {times:,.1f} times faster" for a, b, times in self.steps)]
        lines += [f"left out: {name}: {rule}" for name, rule in self.left_out.items()]
        return "\n".join(lines).rstrip()


def measure(
    work: Work,
    *,
    begin: str | None = None,
    end: str | None = None,
    versus: str | None = None,
    rounds: int = timing.ROUNDS,
    repetitions: int = timing.REPETITIONS,
    pause: float = timing.PAUSE,
    machine: peak.Peak | None = None,
    progress: Callable[[str, int], Any] | None = None,
) -> Measurement:
    """Measure all algorithms that support the work, or those two that are named.

    Parameters
    ----------
    work : Work
    begin, end : str, optional
        Names of algorithms: measure these, and say how many times faster `end` (or else the fastest) is than `begin`.
    versus : "torch", optional
        Measure PyTorch too.
    rounds, repetitions, pause
        See `timing.interleaved`.
    machine : Peak, optional
        What `peak.measure` found.
    progress : callable, optional
        `progress(what, total)`, once for each of `total` steps.
    """
    names, left_out = choose(work, begin, end)
    torch: Any = load_torch() if versus is not None and check_versus(versus) else None
    threads = _same_threads(torch) if torch else 0
    total = len(names) + (2 if torch else 0)
    total += rounds * total + 2
    tick = (lambda what: progress(what, total)) if progress else (lambda what: None)

    machine = machine or peak.measure(work.dtype)
    tick("peak")
    reference = work.reference()
    tick("reference")
    rows, calls = [], {}
    for name in names:
        row, call = _try(work, name, reference)
        rows.append(row)
        calls[name] = call
        tick(name)
    if torch:
        for layout in _layouts(work):
            row, call = _try_torch(work, torch, layout, reference)
            rows.append(row)
            calls[row.name] = call
            tick(row.name)
    right = {row.name: calls[row.name] for row in rows if row.ok}
    seconds = timing.interleaved(right, rounds, repetitions, pause, lambda: tick("timing"))
    for row in rows:
        if row.ok:
            _finish(row, calls[row.name], seconds[row.name], work, machine, reference)
    if threads:
        torch.set_num_threads(threads)
    _compare(rows)
    rows.sort(key=lambda row: (not row.ok, row.seconds if row.ok else 0.0))
    return Measurement(work, machine, rows, left_out, _steps(rows, begin, end))


def choose(work: Work, begin: str | None, end: str | None) -> tuple[list[str], dict[str, str]]:
    """Names of the algorithms to measure, and why the others are not."""
    rules = work.op.supporting(work.problem())
    wanted = [name for name in (begin, end) if name is not None]
    for name in wanted:
        if work.op.algorithm(name) and rules[name]:
            fits = ", ".join(n for n, rule in rules.items() if not rule)
            raise AlgorithmError(
                f"algorithm {name!r} does not support this problem",
                called=f"bench {work.operation}",
                seen=work.title,
                rule=rules[name],
                hint=f"{fits or 'no algorithm'} would do",
            )
    if begin is not None and end is not None:
        return list(dict.fromkeys(wanted)), {}
    for name in [name for name, rule in rules.items() if not rule and name not in wanted]:
        rules[name] = _too_long(work, name)
    return [n for n, rule in rules.items() if not rule], {n: rule for n, rule in rules.items() if rule}


def _too_long(work: Work, name: str) -> str:
    """Why an algorithm that nobody asked for by name is not measured; "" for most."""
    try:
        seconds = work.estimate(name)
    except Exception:  # it will be called wrong in the table
        return ""
    return f"some {seconds:.0f} s a call; --from {name} measures it all the same" if seconds > LONGEST else ""


def check_versus(versus: str) -> bool:
    """Raise unless it is a library that we know."""
    if versus != "torch":
        raise ArgumentError("unknown library", called="bench", seen=f"--versus {versus}", rule="torch")
    return True


def load_torch() -> Any:
    """The module `torch`, or one clear error."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingPackageError(
            "PyTorch is not installed", called="bench", hint="pip install minicnn[bench]"
        ) from None


# ---- one candidate ---------------------------------------------------------------------------------------------------


def _layouts(work: Work) -> list[str]:
    images = len(work.request.shape) == 4 and any(a is not None and a.ndim == 4 for a in work.arrays)
    return [NCHW, LAST] if images else [""]


def last(a: np.ndarray, is_weight: bool = False) -> np.ndarray:
    """Images with their channels last, as minicnn's own kernels leave them; other arrays as they are."""
    return Images.copy(a).array if a.ndim == 4 and a.dtype.kind == "f" and not is_weight else a


def _try(work: Work, name: str, reference: Results) -> tuple[Row, Call]:
    """Whether an algorithm is right in each layout, and the one that it is faster in."""
    found: list[tuple[float, Row, Call]] = []
    for layout in _layouts(work):
        given = last_layout(work) if layout == LAST else work
        call: Call = _bound(given, name)
        row = _check(Row(name, layout, math.inf), call, reference, work)
        if not row.ok:
            return row, call
        found.append((_quickest(call), row, call))
    _, row, call = min(found, key=lambda item: item[0])
    return row, call


def _quickest(call: Call) -> float:
    """Seconds of the fastest of a few calls; of one that is long."""
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 0.1:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _bound(work: Work, name: str) -> Call:
    return lambda: work.run(name)


def last_layout(work: Work) -> Work:
    """The same work, its images with their channels last; the weights of a convolution stay as they are."""
    if work.operation in ("conv2d", "conv_transpose2d") and work.pass_name in ("forward", "grad_input"):
        w = work.arrays[1]
        return work.of(lambda a: last(a, is_weight=a is w))
    return work.of(last)


def _try_torch(work: Work, torch: Any, layout: str, reference: Results) -> tuple[Row, Call]:
    def tensor(a: np.ndarray) -> Any:
        made = torch.from_numpy(a)
        return made.contiguous(memory_format=torch.channels_last) if layout == LAST and a.ndim == 4 else made

    made = work.torch(torch, tensor)

    def call() -> Any:
        with torch.no_grad():
            return made()

    name = "torch" if len(_layouts(work)) == 1 else f"torch {layout}"
    return _check(Row(name, layout, math.inf, peer=True), call, reference, work), call


def _check(row: Row, call: Call, reference: Results, work: Work) -> Row:
    """Set the row's error and verdict from one call."""
    try:
        row.error = work.error(call(), reference, row.peer)
    except Exception as error:  # a kernel of a user's own may raise anything, and the others still count
        row.verdict = f"wrong: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return row
    if not row.error <= TOLERANCE[work.dtype.char]:
        row.verdict = f"wrong: error {row.error:.1e} of the largest value"
        if math.isinf(row.error):
            row.verdict = "wrong: NaN, infinity, or another shape"
    return row


def _finish(row: Row, call: Call, seconds: float, work: Work, machine: peak.Peak, reference: Results) -> None:
    """Enter the time of an algorithm that is still right after its timing."""
    first = row.error
    if not _check(row, call, reference, work).ok:
        row.verdict += " (after timing)"
        return
    row.error, row.seconds = max(first, row.error), seconds
    row.rate = (work.flops if work.in_flops else work.bytes) / seconds
    row.share = row.rate / (machine.flops if work.in_flops else machine.bandwidth)


def _compare(rows: list[Row]) -> None:
    base = min((row.seconds for row in rows if row.peer and row.ok), default=math.nan)
    for row in rows:
        row.ratio = base / row.seconds


def _steps(rows: list[Row], begin: str | None, end: str | None) -> list[tuple[str, str, float]]:
    """From `begin` to `end`, where both were right."""
    times = {row.name: row.seconds for row in rows if row.ok and not row.peer}
    if (begin is None and end is None) or not times:
        return []
    a = begin or max(times, key=lambda name: times[name])
    b = end or min(times, key=lambda name: times[name])
    return [(a, b, times[a] / times[b])] if a in times and b in times and a != b else []


def _same_threads(torch: Any) -> int:
    """Give PyTorch as many threads as Numba has; return what it had."""
    from numba import get_num_threads

    before = torch.get_num_threads()
    torch.set_num_threads(get_num_threads())
    return before
