"""Compile, fit, predict: the same numbers as `nn` and `Trainer`; labels and shapes that do not fit are one error."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close

import minicnn
from minicnn import nn, optim
from minicnn.data import ArrayDataset, DataLoader
from minicnn.errors import MinicnnError
from minicnn.training import Trainer
from minicnn.training.compiled import AveragePooling2D, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Sequential


def layers(classes=3):
    return [
        Conv2D(4, (3, 3), activation="relu", input_shape=(1, 8, 8)),
        MaxPooling2D((2, 2)),
        Flatten(),
        Dense(5, activation="relu"),
        Dense(classes, activation="softmax"),
    ]


@pytest.fixture
def images():
    """`(x, y)`: a bright row, column or corner."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(0, 0.2, (60, 1, 8, 8))
    x[y == 0, :, 3] += 1
    x[y == 1, :, :, 3] += 1
    x[y == 2, :, :3, :3] += 1
    return x, y


def compiled(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=("accuracy",), made=None):
    minicnn.manual_seed(0)
    model = Sequential(layers() if made is None else made)
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def test_the_same_numbers_as_the_trainer(images):
    x, y = images
    model = compiled(metrics=["accuracy", "macro_f1"])
    history = model.fit(x, y, epochs=3, batch_size=8, validation_data=(x[:9], y[:9]), verbose=False)
    minicnn.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3)
    )
    data = ArrayDataset(x.astype(np.float32), y, "abc")
    few = ArrayDataset(x[:9].astype(np.float32), y[:9], "abc")
    trainer = Trainer(network, optim.Adam(network.parameters()), nn.CrossEntropyLoss(), progress=False)
    expected = trainer.fit(DataLoader(data, 8, shuffle=True, seed=0), DataLoader(few, 128), epochs=3)
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        assert history.column(name) == expected.column(name)
    for name, array in network.state_dict().items():
        assert (model.network.state_dict()[name] == array).all()
    evaluation = trainer.evaluate(DataLoader(data, 128))
    assert model.evaluate(x, y) == [evaluation.loss, evaluation.metrics.accuracy, evaluation.metrics.macro_f1]
    assert_close(model.predict(x).sum(axis=1), np.ones(60, np.float32), rtol=1e-5, atol=0)
    assert_close(model.predict(x), evaluation.probabilities, rtol=1e-5, atol=1e-7)
    assert f"{4 * 10 + 37 * 5 + 6 * 3} parameters" in str(model.summary())


def test_it_learns_and_one_hot_labels_are_the_same(images):
    x, y = images
    rate = lambda parameters: optim.Adam(parameters, lr=0.01)  # noqa: E731
    numbers, rows = compiled(optimizer=rate), compiled("categorical_crossentropy", rate)
    one = numbers.fit(x, y, epochs=4, verbose=False)
    assert one.column("train_loss") == rows.fit(x, np.eye(3)[y], epochs=4, verbose=False).column("train_loss")
    first = numbers.evaluate(x, y)[0]
    numbers.fit(x, y, epochs=20, batch_size=8, verbose=False)  # goes on
    loss, accuracy = numbers.evaluate(x, y)
    assert loss < first
    assert accuracy > 0.95


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimizers_have_the_rates_of_keras(images, optimizer):
    model = compiled(optimizer=optimizer)
    model.fit(*images, verbose=False)
    assert model.trainer.optimizer.param_groups[0]["lr"] == {"adam": 1e-3, "sgd": 1e-2}[optimizer]


def test_shapes_come_from_the_images_and_any_module_is_a_layer(images):
    x, y = images
    made = [Conv2D(2, 3, padding="same"), nn.BatchNorm2d(2), AveragePooling2D(4), Flatten(), Dropout(0.1)]
    model = compiled(made=[*made, Dense(3, "softmax")])
    model.fit(x, y, verbose=False)
    assert [type(module).__name__ for module in model.network] == (
        ["Conv2d", "BatchNorm2d", "AvgPool2d", "Flatten", "Dropout", "Linear"]
    )
    assert model.network.training
    assert model.network[0].padding == (1, 1)


NUMBERS, ROWS = "sparse_categorical_crossentropy", "categorical_crossentropy"


@pytest.mark.parametrize(
    ("loss", "labels", "text"),
    [
        (NUMBERS, lambda y: np.eye(3)[y], "one-hot labels with a loss for numbers; seen y (60, 3) float64"),
        (ROWS, lambda y: y, "labels that are numbers with a loss for one-hot rows"),
        (NUMBERS, lambda y: y + 1, "labels that do not match the last layer; seen labels 1 .. 3, 3 classes"),
        (NUMBERS, lambda y: y - 1, "labels that do not match the last layer"),
        (ROWS, lambda y: np.eye(4)[y], "labels that do not match the last layer"),
        (ROWS, lambda y: np.eye(3)[y] / 2, "rows that are not one-hot"),
        (ROWS, lambda y: np.full((60, 3), np.nan), "rows that are not one-hot"),
        (NUMBERS, lambda y: y / 2, "labels are not numbers of classes"),
        (NUMBERS, lambda y: y[:-1], "not as many labels as images"),
    ],
)
def test_labels_that_do_not_fit(images, loss, labels, text):
    x, y = images
    model = compiled(loss)
    with pytest.raises(MinicnnError) as caught:
        model.fit(x, labels(y), verbose=False)
    assert text in str(caught.value)
    assert str(caught.value).startswith("fit: ")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda m, x, y: m.fit(x.transpose(0, 2, 3, 1), y), "hint: channels come first here"),
        (lambda m, x, y: m.fit(x[:, 0], y), "hint: one channel: x[:, None]"),
        (lambda m, x, y: m.fit((x * 9).astype(np.uint8), y), "images are not floats"),
        (lambda m, x, y: m.fit(x[:0], y[:0]), "no images"),
        (lambda m, x, y: m.fit(x, y, validation_data=x), "validation_data is not (x, y)"),
        (lambda m, x, y: m.fit(x, y, batch_size=0), "batch_size"),
        (lambda m, x, y: m.fit(x, y, epochs=0), "epochs is not valid"),
        (lambda m, x, y: m.compile("adamant"), "unknown optimizer"),
        (lambda m, x, y: m.compile(loss="hinge"), "unknown loss"),
        (lambda m, x, y: m.compile(metrics=["auc"]), "unknown metric"),
        (lambda m, x, y: m.add("Dense"), "not a layer"),
        (lambda m, x, y: Sequential(layers()).fit(x, y), "the model is not compiled"),
        (lambda m, x, y: compiled(made=[Flatten(), Dense(3)]).fit(x, y), "the last layer gives no probabilities"),
        (lambda m, x, y: compiled(made=[Dense(3, "softmax")]).fit(x, y), "hint: Flatten() before it"),
        (lambda m, x, y: compiled(made=[Flatten(), Dense(9, "softmax"), Dense(3, "softmax")]).fit(x, y), "softmax bef"),
        (lambda m, x, y: compiled(made=[Conv2D(1, 2, padding="same")]).fit(x, y), "no padding='same' here"),
        (lambda m, x, y: compiled(made=[Conv2D(1, 2, activation="gelu")]).fit(x, y), "unknown activation"),
        (lambda m, x, y: compiled(made=[Flatten()]).summary(), "the shape of the images is not known"),
        (lambda m, x, y: compiled(made=[]).fit(x, y), "no layers"),
    ],
)
def test_what_is_refused(images, act, text):
    with pytest.raises(MinicnnError) as caught:
        act(compiled(), *images)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
