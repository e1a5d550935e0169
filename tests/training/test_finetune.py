"""The main job, with a tiny network."""

from __future__ import annotations

import json
import sys
import tomllib

import numpy as np
import pytest

from minicnn import models, weights
from minicnn.errors import ArgumentError, DataError, MinicnnError, WeightsError
from minicnn.training import Settings, finetune

FILES = ["best.h5", "confusion.png", "curves.png", "metrics.json", "model.h5", "run.toml"]
TIMES = ("seconds", "compile_seconds", "images_per_second")


def run(tmp_path, tiny_weights, name="run", **settings):
    few = {} if "data" in settings else {"per_class": 3}
    settings = {"weights": tiny_weights, "out": tmp_path / name, "epochs": 2, **few, **settings}
    return finetune(Settings(**settings), announce=None)


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def metrics_of(result):
    return without_times(json.loads((result.folder / "metrics.json").read_text()))


def test_digits_three_ways(tmp_path, tiny_weights):
    lines = []
    settings = Settings(weights=tiny_weights, out=tmp_path / "run", epochs=2, per_class=3)
    result = finetune(settings, announce=lines.append)
    assert [row.way for row in result.rows] == ["from scratch", "frozen features", "fine-tuned"]
    assert (result.train_images, result.validation_images) == (30, 1767)
    assert result.classes == [str(i) for i in range(10)]
    assert sorted(path.name for path in result.folder.iterdir()) == FILES
    assert all(row.seconds > 0 for row in result.rows)
    assert "30 images to train on, 1,767 to test, 10 classes" in lines[0]
    assert lines[1] == "tiny-shapes: tiny; new head top, 8 -> 10"
    assert lines[-1].startswith(f"fine-tuned: accuracy {result.rows[2].accuracy:.1%}, macro F1 ")
    assert [line.split(":")[0] for line in lines[-3:]] == [row.way for row in result.rows]
    table = str(result).splitlines()
    assert table[0].split() == ["accuracy", "macro", "F1", "seconds"]
    assert table[4].startswith("fine-tuned ")
    assert table[4].split()[1:3] == [f"{result.rows[2].accuracy:.1%}", f"{result.rows[2].macro_f1:.3f}"]
    assert json.loads(json.dumps(result.as_dict()))["rows"][2]["way"] == "fine-tuned"

    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["way"] == "fine-tuned"
    for row, way in zip(result.rows, metrics["ways"], strict=True):
        assert (row.way, row.accuracy, row.macro_f1) == (way["way"], way["accuracy"], way["macro_f1"])
        assert way["history"]["validation_accuracy"][-1] == row.accuracy
        assert way["history"]["number"] == [1, 2]
        assert np.sum(way["confusion"]) == 1767
    settings = tomllib.loads((result.folder / "run.toml").read_text())
    assert settings["settings"]["seed"] == 0
    assert settings["settings"]["compare"] is True
    assert settings["ways"]["frozen features"] == {
        "pretrained": True,
        "freeze": "backbone",
        "lr": 0.03,
        "head_first": False,
        "unfreeze": "at once",
        "freeze_bn": "none",
    }
    assert settings["network"]["architecture"] == "tiny"
    assert settings["data"]["train_images"] == 30


def test_model_h5_is_the_fine_tuned_network(tmp_path, tiny_weights):
    result = run(tmp_path, tiny_weights, freeze="until=bn")
    state, info = weights.read(result.folder / "model.h5")
    before, _ = weights.read(tiny_weights)
    same = {name for name, array in state.items() if np.array_equal(array, before[name])}
    assert same == {name for name in before if name.startswith(("conv.", "bn."))}
    assert info.classes == result.classes
    assert info.arguments == {"num_classes": 10, "width": 4}
    assert info.accuracy == result.rows[-1].accuracy
    assert (info.input_size, info.mean, info.std) == (8, (0.5,) * 3, (0.25,) * 3)
    assert info.trained_on == "digits, 30 images; before that: shapes"
    assert len(info.log) == 2
    model = models.MODELS["tiny"](**info.arguments)
    assert weights.load(model, result.folder / "model.h5", head=()).missing == []


def test_the_same_seed_gives_the_same_bits(tmp_path, tiny_weights):
    first, second = (run(tmp_path, tiny_weights, name, seed=4) for name in ("a", "b"))
    other = run(tmp_path, tiny_weights, "c", seed=5, compare=False)
    assert metrics_of(first) == metrics_of(second)
    assert metrics_of(first)["ways"][-1] != metrics_of(other)["ways"][-1]
    for file in ("model.h5", "best.h5", "curves.png", "confusion.png"):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()
    assert (first.folder / "model.h5").read_bytes() != (other.folder / "model.h5").read_bytes()


def test_a_way_comes_out_the_same_alone_and_in_company(tmp_path, tiny_weights):
    alone = metrics_of(run(tmp_path, tiny_weights, "alone", compare=False))
    together = metrics_of(run(tmp_path, tiny_weights, "together"))
    assert alone["ways"] == together["ways"][2:]
    frozen = metrics_of(run(tmp_path, tiny_weights, "frozen", compare=False, freeze="backbone"))
    assert frozen["ways"] == together["ways"][1:2]


def test_photographs_one_way_and_three(tmp_path, tiny_weights, photos):
    data = photos({"train/ants": 9, "train/bees": 8, "val/ants": 4, "val/bees": 4})
    one = run(tmp_path, tiny_weights, "one", data=data, batch_size=4)  # 17 images: the last batch would be one image
    assert [row.way for row in one.rows] == ["fine-tuned"]
    assert (one.classes, one.train_images, one.validation_images) == (["ants", "bees"], 17, 8)
    three = run(tmp_path, tiny_weights, "three", data=data, batch_size=4, compare=True)
    assert len(three.rows) == 3
    frozen = run(tmp_path, tiny_weights, "two", data=data, compare=True, freeze="backbone")
    assert [row.way for row in frozen.rows] == ["from scratch", "frozen features"]
    few = run(tmp_path, tiny_weights, "few", data=data, batch_size=4, per_class=2, input_size=6, augment=False)
    assert (few.train_images, weights.describe(few.folder / "model.h5").input_size) == (4, 6)
    state, before = weights.read(frozen.folder / "model.h5")[0], weights.read(tiny_weights)[0]
    assert {name for name in state if np.array_equal(state[name], before[name])} == {
        name for name in before if not name.startswith("top.")
    }


def test_it_learns(tmp_path, tiny_weights, photos):
    data = photos({"ants": 30, "bees": 30, "cats": 30})
    result = run(tmp_path, tiny_weights, data=data, epochs=8, batch_size=8, lr=0.03)
    assert result.rows[0].accuracy > 0.9


def test_the_same_classes_go_on_with_their_head(tmp_path, tiny_weights, photos):
    data = photos({"circle": 5, "square": 5, "star": 5})
    lines = []
    settings = Settings(data=data, weights=tiny_weights, out=tmp_path / "run", epochs=1, lr=1e-12)
    result = finetune(settings, announce=lines.append)
    assert lines[1] == "tiny-shapes: tiny; head kept top, 8 -> 3"
    state, before = weights.read(result.folder / "model.h5")[0], weights.read(tiny_weights)[0]
    assert np.allclose(state["top.weight"], before["top.weight"], atol=1e-9)


def test_as_many_but_other_classes_get_a_new_head(tmp_path, tiny_weights, photos):
    data = photos({"ants": 5, "bees": 5, "cats": 5})
    result = run(tmp_path, tiny_weights, data=data, epochs=1, lr=1e-12)
    state, before = weights.read(result.folder / "model.h5")[0], weights.read(tiny_weights)[0]
    assert not np.isclose(state["top.weight"], before["top.weight"], atol=1e-3).all()
    assert not np.isclose(state["top.bias"], before["top.bias"], atol=1e-3).all()
    assert np.allclose(state["hidden.weight"], before["hidden.weight"], atol=1e-9)


def test_compiling_is_announced_and_counted_apart(tmp_path, tiny_weights, monkeypatch):
    from minicnn.backends import jit

    class Clock(jit.CompileClock):
        """As if three kernels were compiled, 5 seconds in all."""

        def __enter__(self):
            if self._announce:
                for name in ("a", "b", "c"):
                    self.kernels.append(name)
                    self._announce(name)
                self.seconds = 5.0
            return super().__enter__()

    monkeypatch.setattr(jit, "CompileClock", Clock)
    lines = []
    settings = Settings(weights=tiny_weights, out=tmp_path / "run", epochs=1, per_class=3, compare=False)
    result = finetune(settings, announce=lines.append)
    assert lines[3:5] == [
        "compiling kernels for this machine; later runs find them compiled ...",
        "compiled 3 kernels in 5.0 s",
    ]
    assert len(lines) == 6
    assert result.compile_seconds >= 5
    assert "5.0 s of it compiling" in str(result)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epochs": 0}, "finetune: epochs is not valid; seen epochs=0; rule: a whole number, 1 or more"),
        ({"batch_size": 0}, "seen batch_size=0"),
        ({"per_class": 0}, "seen per_class=0"),
        ({"seed": -1}, "seen seed=-1; rule: a whole number, 0 or more"),
        ({"lr": 0}, "lr is not valid; seen lr=0; rule: a number > 0"),
        ({"lr": float("nan")}, "seen lr=nan"),
        ({"lr": float("inf")}, "seen lr=inf"),
        ({"freeze": "layer3"}, "freeze is not valid; seen 'layer3'"),
        ({"freeze": "until=hiden"}, "did you mean hidden?"),
        ({"freeze": "until=top"}, "nothing is left to learn"),
        ({"data": "nowhere"}, "nowhere: the folder cannot be read"),
        ({"weights": "nowhere.h5"}, "nowhere.h5: there is no such weights file"),
    ],
)
def test_bad_settings_leave_no_folder(tmp_path, tiny_weights, settings, text):
    with pytest.raises(MinicnnError) as caught:
        run(tmp_path, tiny_weights, **settings)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_class_with_one_image(tmp_path, tiny_weights, photos):
    with pytest.raises(DataError, match="class bees has too few images to be split"):
        run(tmp_path, tiny_weights, data=photos({"ants": 5, "bees": 1}))
    assert not (tmp_path / "run").exists()


def test_weights_of_another_architecture(tmp_path, tiny_weights, monkeypatch):
    monkeypatch.delitem(models.MODELS, "tiny")
    with pytest.raises(WeightsError, match="weights of an unknown architecture; seen tiny; rule: one of resnet18"):
        run(tmp_path, tiny_weights)
    monkeypatch.setitem(models.MODELS, "tiny", models.cnn)
    with pytest.raises(WeightsError, match=r"arguments that the architecture does not have; seen tiny: .*width"):
        run(tmp_path, tiny_weights)
    monkeypatch.setitem(models.MODELS, "tiny", lambda num_classes, width: models.cnn(num_classes))
    with pytest.raises(WeightsError, match="no name in the file matches the network"):
        run(tmp_path, tiny_weights)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path, tiny_weights):
    (tmp_path / "file").write_text("")
    with pytest.raises(MinicnnError, match="cannot be written; seen Not a directory"):
        run(tmp_path, tiny_weights, out=tmp_path / "file" / "run")
    with pytest.raises(ArgumentError, match="the folder is not empty"):
        run(tmp_path, tiny_weights, out=tmp_path)


def test_a_training_that_diverges_at_once_leaves_no_folder(tmp_path, tiny_weights):
    with pytest.raises(MinicnnError, match=r"training: .*epoch 1.*: the loss is"):
        run(tmp_path, tiny_weights, lr=1e30)
    assert not (tmp_path / "run").exists()


def test_only_the_way_of_the_model_writes_checkpoints(tmp_path, tiny_weights, monkeypatch):
    module = sys.modules["minicnn.training.finetune"]  # the package's name for it is the function
    written = []

    class Counted(module.LastAndBest):
        def __call__(self, epoch):
            super().__call__(epoch)
            written.append(epoch)

    monkeypatch.setattr(module, "LastAndBest", Counted)
    result = run(tmp_path, tiny_weights)
    assert [epoch.number for epoch in written] == [1, 2]
    assert written[-1].validation_accuracy == result.rows[-1].accuracy


def test_a_training_that_is_interrupted_keeps_whole_files(tmp_path, tiny_weights, monkeypatch):
    module = sys.modules["minicnn.training.finetune"]  # the package's name for it is the function

    class Interrupted(module.LastAndBest):
        def __call__(self, epoch):
            super().__call__(epoch)
            if epoch.number == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "LastAndBest", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_weights, epochs=3, compare=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.h5",
        "checkpoints",
        "model.h5",
        "run.toml",
    ]
    assert len(weights.read(tmp_path / "run" / "model.h5")[1].log) == 2
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["settings"]["epochs"] == 3
