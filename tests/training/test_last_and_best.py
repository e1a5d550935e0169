from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minicnn import weights
from minicnn.errors import MinicnnError
from minicnn.training import Epoch, LastAndBest
from minicnn.weights import WeightsInfo

INFO = WeightsInfo("tiny", {"num_classes": 3, "width": 4}, ["a", "b", "c"], input_size=8)


def epoch(number, accuracy, loss):
    return Epoch(number, 1 / number, 0.5, loss, accuracy, accuracy, 1e-3, 1.0, 8.0)


def test_last_and_best(tiny, tmp_path):
    model = tiny()
    checkpoint = LastAndBest(tmp_path, model, INFO, last="model.h5")
    accuracies, losses = [0.5, 0.8, 0.8, 0.8, 0.7], [1.0, 0.9, 0.7, 0.8, 0.1]
    for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1):
        model.top.bias.array[...] = number
        checkpoint(epoch(number, accuracy, loss))
    last, info = weights.read(tmp_path / "model.h5")
    assert last["top.bias"].tolist() == [5, 5, 5]
    assert info.accuracy == 0.7
    assert [row["epoch"] for row in info.log] == [1, 2, 3, 4, 5]
    assert info.log[1] == {"epoch": 2, "loss": 0.5, "accuracy": 0.5, "validation_accuracy": 0.8}
    best, info = weights.read(tmp_path / "best.h5")
    assert best["top.bias"].tolist() == [3, 3, 3]  # of three equal accuracies the one with the lowest loss
    assert info.accuracy == 0.8
    assert checkpoint.best_epoch.number == 3
    assert checkpoint.restore_best().number == 3
    assert model.top.bias.array.tolist() == [3, 3, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.h5", "model.h5"]


def test_without_validation_the_training_loss_decides(tiny, tmp_path):
    model = tiny()
    checkpoint = LastAndBest(tmp_path, model, INFO)
    for number, loss in enumerate([0.9, 0.3, 0.5], 1):
        model.top.bias.array[...] = number
        checkpoint(Epoch(number, loss, 0.5, None, None, None, 1e-3, 1.0, 8.0))
    assert weights.read(tmp_path / "best.h5")[0]["top.bias"].tolist() == [2, 2, 2]
    assert weights.read(tmp_path / "last.h5")[0]["top.bias"].tolist() == [3, 3, 3]


def test_a_network_that_is_broken_does_not_replace_a_good_file(tiny, tmp_path):
    model = tiny()
    checkpoint = LastAndBest(tmp_path, model, INFO)
    checkpoint(epoch(1, 0.5, 1.0))
    before = (tmp_path / "last.h5").read_bytes()
    model.top.bias.array[0] = np.nan
    with pytest.raises(MinicnnError, match=r"top\.bias holds NaN"):
        checkpoint(epoch(2, 0.9, 0.1))
    assert (tmp_path / "last.h5").read_bytes() == before
    assert (tmp_path / "best.h5").read_bytes() == before


def test_a_long_log_still_fits_into_the_file(tiny, tmp_path):
    checkpoint = LastAndBest(tmp_path, tiny(), INFO)
    checkpoint.history.epochs += [replace(epoch(1, 1 / 3, 1 / 3), number=i + 1) for i in range(999)]
    checkpoint(epoch(1000, 0.5, 1.0))
    assert len(weights.describe(tmp_path / "last.h5").log) == 200


def test_nothing_to_restore(tiny, tmp_path):
    assert LastAndBest(tmp_path, tiny(), INFO).restore_best() is None
