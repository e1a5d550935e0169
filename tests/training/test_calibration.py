"""Calibration by hand, and against what scikit-learn has of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare import assert_close

from minicnn.errors import ArgumentError, DataError, ShapeError
from minicnn.training import calibration
from minicnn.training.calibration import calibrate, find_temperature, scaled

# Confidence 0.9 (right, right, wrong) and 0.6 (wrong): with 5 bins in (0.8, 1] and (0.4, 0.6], its upper end.
PROBABILITIES = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.4, 0.6]])
TARGETS = np.array([0, 1, 1, 0])


def sampled(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and softmax(z / temperature): a network that is too sure or not sure enough."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, 4))
    true = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    labels = (true.cumsum(1) > rng.random((n, 1))).argmax(1)
    said = np.exp(z / temperature)
    return labels, said / said.sum(1, keepdims=True)


def test_by_hand():
    found = calibrate(TARGETS, PROBABILITIES, bins=5)
    assert found.counts.tolist() == [0, 0, 1, 0, 3]
    assert_close(found.accuracy, [np.nan, np.nan, 0, np.nan, 2 / 3], nan_ok=True)
    assert_close(found.confidence, [np.nan, np.nan, 0.6, np.nan, 0.9], nan_ok=True)
    assert_close(found.ece, 1 / 4 * 0.6 + 3 / 4 * (0.9 - 2 / 3))
    assert_close(found.largest, 0.6)
    assert_close(found.brier, (2 * 0.01 + 2 * 0.01 + 2 * 0.81 + 2 * 0.36) / 4)
    assert_close(found.nll, -np.log([0.9, 0.9, 0.1, 0.4]).mean())
    assert found.ece_scaled is None
    assert "too few images" in found.suggestion
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert again["bins"][0] == {"from": 0.0, "to": 0.2, "images": 0, "accuracy": None, "confidence": None}


def test_the_bins_are_those_of_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import log_loss

    labels, said = sampled(3000, 0.5)
    found = calibrate(labels, said)
    accuracy, confidence = calibration_curve(said.argmax(1) == labels, said.max(1), n_bins=calibration.BINS)
    there = found.counts > 0
    assert_close(found.accuracy[there], accuracy)
    assert_close(found.confidence[there], confidence)
    assert_close(found.nll, log_loss(labels, said))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_hidden_is_found(temperature, monkeypatch):
    labels, said = sampled(6000, temperature)
    found = calibrate(labels, said)
    assert found.temperature == pytest.approx(1 / temperature, rel=0.07)
    assert found.ece_scaled < 0.025
    assert_close(scaled(said, 1), said, rtol=1e-6)
    if temperature != 1:
        assert found.ece_scaled < found.ece / 3
        assert found.nll_scaled < found.nll
        assert found.nll_scaled > calibrate(labels, scaled(said, found.temperature)).nll  # which has seen its images
        assert f"T = {found.temperature:.2f}" in found.suggestion
    monkeypatch.setattr(calibration, "BLOCK", 40)  # in blocks, and from a part of the images
    assert_close(calibrate(labels, said).nll, found.nll)
    monkeypatch.setattr(calibration, "MOST_FOR_TEMPERATURE", 4 * 3000)
    monkeypatch.setattr(calibration, "BLOCK", 2**20)
    assert find_temperature(labels, said) == pytest.approx(found.temperature, rel=0.1)


def test_a_network_that_is_always_right_and_one_that_knows_nothing():
    right = calibrate(np.arange(60) % 3, np.eye(3)[np.arange(60) % 3])
    assert right.ece == 0
    assert right.suggestion.startswith("leave it")
    nothing = calibrate(np.arange(60) % 3, np.full((60, 3), 1 / 3))
    assert_close(nothing.ece, 0.0, atol=1e-12)
    assert calibrate([0, 1] * 30, np.full((60, 2), 0.5), bins=4).counts.tolist() == [0, 60, 0, 0]  # (0.25, 0.5]
    careful = np.full((60, 3), 0.3)
    careful[np.arange(60), np.arange(60) % 3] = 0.4
    assert calibrate(np.arange(60) % 3, careful).temperature == 0.05  # the end of what is tried


@pytest.mark.parametrize(
    ("targets", "probabilities", "error", "text"),
    [
        (TARGETS, np.full((4, 2), np.nan), DataError, "not finite"),
        (TARGETS, np.full((4, 2), 0.9), DataError, "not probabilities; seen values from 0.9, sums 1.8 .. 1.8"),
        (TARGETS, np.array([[2.0, -1.0]] * 4), DataError, "values from -1"),
        (TARGETS + 1, PROBABILITIES, DataError, "labels 1 .. 2, 2 classes"),
        (TARGETS, PROBABILITIES[:3], ShapeError, "(4,) int64"),
        (TARGETS, 0.5, ShapeError, "probabilities ()"),
    ],
)
def test_bad_input(targets, probabilities, error, text):
    with pytest.raises(error) as caught:
        calibrate(targets, probabilities)
    assert text in str(caught.value)


def test_bad_numbers():
    with pytest.raises(ArgumentError, match="bins >= 1"):
        calibrate(TARGETS, PROBABILITIES, bins=0)
    with pytest.raises(ArgumentError, match="0 < T"):
        scaled(PROBABILITIES, 0)
