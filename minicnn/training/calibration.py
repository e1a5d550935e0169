r"""Whether a network is as sure as it is right: calibration, and the temperature that would mend it.

A network that says "90%" a hundred times should be right ninety times. The images are sorted into bins by the
probability of the class that they are called; in each bin stands the share that is right beside the mean probability.
The expected calibration error is the mean distance of the two (Guo et al. 2017: On Calibration of Modern Neural
Networks):

.. math:: \mathrm{ECE} = \sum_{b} \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

Temperature scaling divides all scores by one number T: :math:`p = \mathrm{softmax}(z / T)`. The order of the classes
stays, and with it the accuracy. T is the one with the smallest mean of :math:`-\log p_{\mathrm{target}}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, DataError
from minicnn.training.metrics import check_classification

BINS = 15
TEMPERATURES = (0.05, 20.0)  # where the best one is looked for
FEW = 50  # images: with fewer, halves of them say nothing
BLOCK = 2**20  # probabilities that are taken to float64 at once
MOST_FOR_TEMPERATURE = 5 * 2**20  # probabilities: of more images, the first ones of a random order find it


@dataclass(frozen=True)
class Calibration:
    """How sure, and how right.

    Attributes
    ----------
    ece : float
        Expected calibration error, 0..1.
    largest : float
        The largest distance in a bin.
    brier : float
        Mean over images of the squared distance of probabilities and truth, 0..2.
    nll : float
        Mean of -log of the probability of the true class (natural logarithm).
    edges : float array (bins + 1,)
        A bin is edges[i] < confidence <= edges[i + 1].
    counts : int array (bins,)
    accuracy, confidence : float array (bins,)
        Share that is right, mean probability; NaN in a bin without images.
    temperature : float
        By which to divide the scores; above 1 the network is too sure, below 1 not sure enough.
    ece_scaled, nll_scaled : float or None
        What they would become: each half of the images is scaled by the temperature of the other half, so that no image
        is measured with a temperature that has seen it. None with fewer than 50 images.
    """

    ece: float
    largest: float
    brier: float
    nll: float
    edges: np.ndarray
    counts: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray
    temperature: float
    ece_scaled: float | None
    nll_scaled: float | None

    @property
    def suggestion(self) -> str:
        """What to do, in a sentence."""
        if self.ece_scaled is None:
            return f"too few images to suggest a temperature (fewer than {FEW})"
        kind = "too sure of itself" if self.temperature > 1 else "not sure enough"
        if self.ece_scaled >= self.ece or abs(self.temperature - 1) < 0.02:
            return f"leave it: temperature scaling does not help (ECE {self.ece:.3f}, scaled {self.ece_scaled:.3f})"
        bound = ", the end of what was tried" if self.temperature in TEMPERATURES else ""
        return (
            f"the network is {kind}: divide its scores by T = {self.temperature:.2f}{bound} "
            f"(ECE {self.ece:.3f} -> {self.ece_scaled:.3f})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, text, lists and dicts, ready for JSON; NaN is None."""
        rows = zip(self.edges[:-1], self.edges[1:], self.counts, self.accuracy, self.confidence, strict=True)
        bins = [
            {
                "from": float(low),
                "to": float(high),
                "images": int(count),
                "accuracy": float(accuracy) if count else None,
                "confidence": float(confidence) if count else None,
            }
            for low, high, count, accuracy, confidence in rows
        ]
        names = ("ece", "largest", "brier", "nll", "temperature", "ece_scaled", "nll_scaled", "suggestion")
        return {**{name: getattr(self, name) for name in names}, "bins": bins}


def calibrate(targets: Any, probabilities: Any, bins: int = BINS, seed: int = 0) -> Calibration:
    """Measure calibration, and find the temperature.

    Parameters
    ----------
    targets : int array (N,)
    probabilities : float array (N, classes)
        Rows that add up to 1.
    bins : int
        Of equal width.
    seed : int
        Of the two halves.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    check_probabilities("calibrate", targets, probabilities)
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ArgumentError("bins is not valid", called="calibrate", seen=f"bins={bins!r}", rule="bins >= 1")
    logits = _logits(probabilities)
    right = probabilities.argmax(axis=1) == targets
    sure = probabilities.max(axis=1).astype(np.float64)
    edges, counts, accuracy, confidence = _binned(right, sure, bins)
    ece, largest = _error(counts, accuracy, confidence)
    scaled = _scaled_by_halves(logits, targets, right, bins, seed) if len(targets) >= FEW else (None, None)
    squares = np.einsum("nc,nc->n", probabilities, probabilities, dtype=np.float64)
    own = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return Calibration(
        ece=ece,
        largest=largest,
        brier=float((squares - 2 * own + 1).mean()),
        nll=_nll(logits, targets, 1.0),
        edges=edges,
        counts=counts,
        accuracy=accuracy,
        confidence=confidence,
        temperature=find_temperature(targets, probabilities),
        ece_scaled=scaled[0],
        nll_scaled=scaled[1],
    )


def find_temperature(targets: Any, probabilities: Any) -> float:
    """The T that makes the mean of -log softmax(log p / T)[target] smallest, between 0.05 and 20.

    Probabilities are enough: log p differs from the scores by one number an image, which softmax does not see.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    check_probabilities("find_temperature", targets, probabilities)
    return _best_temperature(_logits(probabilities), targets)


def scaled(probabilities: Any, temperature: float) -> np.ndarray:
    """The probabilities after the scores were divided by a temperature; float64 (N, classes)."""
    if not 0 < temperature < np.inf:
        raise ArgumentError("temperature is not valid", called="scaled", seen=str(temperature), rule="0 < T < infinity")
    logits = _logits(np.asarray(probabilities))
    return np.concatenate([np.exp(z) for _, z in _blocks(logits, temperature)])


def check_probabilities(called: str, targets: np.ndarray, probabilities: np.ndarray) -> None:
    """Raise unless these are labels, and one probability a class for each: 0..1, sums of 1."""
    check_classification(called, targets, probabilities, probabilities.shape[-1] if probabilities.ndim else 0)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise DataError(
            "not probabilities",
            called=called,
            seen=f"values from {probabilities.min():.3g}, sums {sums.min():.4g} .. {sums.max():.4g}",
            rule="0 or more, and a sum of 1 for each image",
            hint="softmax turns scores into probabilities",
        )


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """log p, where 0 is taken for the smallest number that float32 has: a share of nothing has no logarithm."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def _blocks(logits: np.ndarray, temperature: float) -> Iterator[tuple[slice, np.ndarray]]:
    """log softmax(logits / T) in float64, some images at a time."""
    from scipy.special import log_softmax

    step = max(BLOCK // logits.shape[1], 1)
    for start in range(0, len(logits), step):
        part = slice(start, start + step)
        yield part, log_softmax(logits[part].astype(np.float64) / temperature, axis=1)


def _nll(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    own = [z[np.arange(len(z)), targets[part]].sum() for part, z in _blocks(logits, temperature)]
    return -float(np.sum(own)) / len(targets)


def _best_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    most = max(MOST_FOR_TEMPERATURE // logits.shape[1], 1)
    if len(logits) > most:
        chosen = np.random.Generator(np.random.PCG64(0)).permutation(len(logits))[:most]
        logits, targets = logits[chosen], targets[chosen]
    ends = np.log(TEMPERATURES)
    found = minimize_scalar(lambda t: _nll(logits, targets, np.exp(t)), bounds=ends, method="bounded")
    best = float(np.exp(found.x))
    # The method never tries the ends themselves; where all is right, the best is there.
    return next((end for end in TEMPERATURES if abs(np.log(end / best)) < 1e-3), best)


def _binned(right: np.ndarray, sure: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    edges = np.linspace(0, 1, bins + 1)
    where = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(where, right, bins) / counts
        confidence = np.bincount(where, sure, bins) / counts
    return edges, counts, accuracy, confidence


def _error(counts: np.ndarray, accuracy: np.ndarray, confidence: np.ndarray) -> tuple[float, float]:
    """Mean and largest distance; a bin without images has none."""
    there = counts > 0
    distance = np.abs(accuracy[there] - confidence[there])
    return float((distance * counts[there]).sum() / counts.sum()), float(distance.max())


def _scaled_by_halves(
    logits: np.ndarray, targets: np.ndarray, right: np.ndarray, bins: int, seed: int
) -> tuple[float, float]:
    """ECE and -log p with each half scaled by the other half's temperature."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(targets))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    sure, nll = np.zeros(len(targets)), 0.0
    for mine, other in (halves, halves[::-1]):
        temperature = _best_temperature(logits[other], targets[other])
        half = logits[mine]
        sure[mine] = np.concatenate([np.exp(z.max(axis=1)) for _, z in _blocks(half, temperature)])
        nll += _nll(half, targets[mine], temperature) * len(mine)
    return _error(*_binned(right, sure, bins)[1:])[0], nll / len(targets)
