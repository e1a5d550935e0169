"""The trainer against the loop that it replaces."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from compare import assert_close

from minicnn import nn, optim
from minicnn.autograd import Tensor, no_grad
from minicnn.data import ArrayDataset, DataLoader
from minicnn.errors import ArgumentError, DataError, MinicnnError, ShapeError
from minicnn.training import Trainer, cosine, freeze
from minicnn.training.progress import Bar


def trainer_for(model, lr=0.1, **options):
    parameters = [p for p in model.parameters() if p.requires_grad]
    return Trainer(model, optim.SGD(parameters, lr=lr), nn.CrossEntropyLoss(), **{"progress": False, **options})


def same_state(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return all(np.array_equal(a[name], b[name]) for name in b)


def without_dropout(model):
    model.drop.p = 0.0
    return model


def test_fit_is_the_loop_that_everybody_writes(tiny, stripes):
    ours, theirs = without_dropout(tiny()), without_dropout(tiny())
    ours.eval()  # fit goes into training mode by itself
    loader = DataLoader(stripes(22), 8, shuffle=True, seed=5)
    history = trainer_for(ours, 0.1, schedule=cosine()).fit(loader, epochs=2)

    optimizer = optim.SGD(theirs.parameters(), lr=0.1)
    loader.set_epoch(0)
    step, losses, right = 0, [[], []], [0, 0]
    for epoch in range(2):
        for x, t in loader:
            optimizer.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 6)) / 2
            optimizer.zero_grad()
            logits = theirs(x)
            loss = nn.CrossEntropyLoss()(logits, t)
            loss.backward()
            optimizer.step()
            losses[epoch].append(loss.item() * len(t))
            right[epoch] += int((logits.detach().numpy().argmax(1) == t.numpy()).sum())
            step += 1
    assert same_state(ours, theirs)
    assert history.column("train_loss") == [pytest.approx(sum(part) / 22) for part in losses]
    assert history.column("train_accuracy") == [n / 22 for n in right]
    assert history.column("number") == [1, 2]
    assert history.column("validation_loss") == [None, None]
    assert history[1].lr == pytest.approx(0.1 * (1 + math.cos(math.pi * 5 / 6)) / 2)


def test_learns_and_validates(tiny, stripes):
    model = tiny()
    train, validation = DataLoader(stripes(48), 16, shuffle=True, seed=0), DataLoader(stripes(30, seed=1), 16)
    seen = []
    trainer = trainer_for(model, 0.3, on_epoch=seen.append)
    history = trainer.fit(train, validation, 6)
    assert history[-1].validation_accuracy > 0.9
    assert history[-1].train_loss < history[0].train_loss / 2
    assert seen == list(history) == list(trainer.history)
    again = trainer.evaluate(validation)
    assert (again.loss, again.metrics.macro_f1) == (history[-1].validation_loss, history[-1].macro_f1)
    assert all(epoch.images_per_second == pytest.approx(48 / epoch.seconds) for epoch in history)
    assert history.as_dict()["train_loss"] == history.column("train_loss")
    assert "epoch 6" in str(history).splitlines()[-1]


def test_the_learning_rate_is_the_optimizers_again_after_fit(tiny, stripes):
    trainer = trainer_for(tiny(), 0.25, schedule=cosine())
    trainer.fit(DataLoader(stripes(9), 4), epochs=2)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.25


def test_evaluate_by_hand_and_without_a_trace(tiny, stripes):
    model = tiny()
    model.bn.running_mean.array[...] = 0.1
    model.hidden.eval()
    before, modes = model.state_dict(), [module.training for module in model.modules()]
    dataset = stripes(11)
    result = trainer_for(model).evaluate(DataLoader(dataset, 4))
    assert [module.training for module in model.modules()] == modes
    assert all(np.array_equal(model.state_dict()[name], before[name]) for name in before)

    model.eval()
    with no_grad():
        logits = model(Tensor(dataset.images)).numpy().astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(result.probabilities, p.astype(np.float32), rtol=1e-5)
    assert np.array_equal(result.predictions, p.argmax(1))
    assert np.array_equal(result.targets, dataset.labels)
    assert result.loss == pytest.approx(-np.log(p[np.arange(11), dataset.labels]).mean(), rel=1e-5)
    assert result.metrics.accuracy == (p.argmax(1) == dataset.labels).mean()
    assert result.metrics.classes == ["red", "green", "blue"]


def test_validation_does_not_end_training_mode(tiny, stripes):
    model = tiny()
    loader = DataLoader(stripes(12), 6)
    tracked = []
    trainer = trainer_for(model, on_epoch=lambda epoch: tracked.append(int(model.bn.num_batches_tracked.array)))
    trainer.fit(loader, loader, 3)
    assert tracked == [2, 4, 6]
    assert model.training


def test_predict_takes_arrays_tensors_and_loaders(tiny, stripes):
    model = tiny()
    dataset = stripes(70)  # more than one batch of the array
    trainer = trainer_for(model)
    expected = trainer.predict(DataLoader(dataset, 7))
    assert expected.shape == (70, 3)
    assert expected.dtype == np.float32
    assert_close(expected.sum(axis=1), np.ones(70, np.float32), rtol=1e-6)
    assert_close(trainer.predict(dataset.images), expected, rtol=1e-6)
    assert_close(trainer.predict(Tensor(dataset.images)), expected, rtol=1e-6)
    assert_close(trainer.predict([Tensor(dataset.images)]), expected, rtol=1e-6)
    assert model.training


def test_modes_come_back_after_an_error(tiny, stripes):
    model = tiny()
    with pytest.raises(MinicnnError):
        trainer_for(model).predict(np.zeros((2, 5, 8, 8), np.float32))
    assert all(module.training for module in model.modules())


def test_frozen_below_the_head_the_tape_holds_the_head_only(tiny, stripes):
    model = tiny()
    freeze(model, "backbone")
    before = model.state_dict()
    scores = model.train()(Tensor(stripes(4).images))
    assert scores.node.operation.name == "linear"
    assert scores.node.parents[0] is None
    trainer_for(model).fit(DataLoader(stripes(12), 6), epochs=2)
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    assert changed == {"top.weight", "top.bias"}


def test_a_loss_that_is_not_finite_names_epoch_and_step(tiny, stripes):
    dataset = stripes(12)
    images = dataset.images.copy()
    images[9] = np.nan
    model = tiny()
    done = []
    trainer = trainer_for(model, on_epoch=done.append)
    with pytest.raises(MinicnnError, match="step 3 of 3: the loss is nan; seen the images of the batch hold it"):
        trainer.fit(DataLoader(ArrayDataset(images, dataset.labels, dataset.classes), 4), epochs=2)
    with pytest.raises(MinicnnError, match="the validation after epoch 1: the loss is nan"):
        trainer.fit(DataLoader(dataset, 4), DataLoader(ArrayDataset(images, dataset.labels, dataset.classes), 4), 2)
    assert done == []


def test_a_training_that_diverges_is_one_error_and_no_warning(tiny, stripes):
    trainer = trainer_for(tiny(), 1e30)
    with pytest.raises(MinicnnError, match=r"epoch \d, step \d of 2: the loss is (nan|inf)"):
        trainer.fit(DataLoader(stripes(8), 4), epochs=9)
    assert trainer.optimizer.param_groups[0]["lr"] == 1e30


def test_history_of_a_training_that_was_interrupted(tiny, stripes):
    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    trainer = trainer_for(tiny(), on_epoch=stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(DataLoader(stripes(8), 4), epochs=9)
    assert trainer.history.column("number") == [1, 2]


class Flat(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_bad_epochs(tiny, stripes, epochs):
    with pytest.raises(
        ArgumentError, match=f"Trainer.fit: epochs is not valid; seen epochs={epochs}; rule: epochs >= 1"
    ):
        trainer_for(tiny()).fit(DataLoader(stripes(8), 4), epochs=epochs)


def test_a_label_out_of_range(tiny, stripes):
    dataset = ArrayDataset(stripes(4).images, [0, 1, 2, 3], ["a", "b", "c", "d"])
    for method in ("fit", "evaluate"):
        with pytest.raises(MinicnnError, match=r"a label is out of range; seen target\[3\] = 3, 3 classes"):
            getattr(trainer_for(tiny()), method)(DataLoader(dataset, 4))


def test_a_model_that_does_not_classify(stripes, tiny):
    trainer = Trainer(Flat(), optim.SGD(tiny().parameters()), nn.CrossEntropyLoss(), progress=False)
    with pytest.raises(ShapeError, match=r"the model does not classify; seen images \(4, 3, 8, 8\), output"):
        trainer.evaluate(DataLoader(stripes(4), 4))


@pytest.mark.parametrize("method", ["evaluate", "predict", "fit"])
def test_no_batch(tiny, method):
    with pytest.raises(DataError, match=r"no batch|no images"):
        getattr(trainer_for(tiny()), method)([])


def test_the_bar_shows_loss_accuracy_and_speed(tiny, stripes, capfd):
    history = trainer_for(tiny(), progress=True).fit(Slow(DataLoader(stripes(8), 4)), epochs=2, name="tiny")
    lines = capfd.readouterr().err.split("\r")
    assert any("tiny epoch 1/2" in line for line in lines)
    first = f"loss {history[0].train_loss:.3f}, accuracy {history[0].train_accuracy:.1%}, "
    assert any("tiny epoch 1/2  50%" in line and first in line and "images/s" in line for line in lines)


class Slow:
    """A loader that takes longer than the bar waits between two pictures of itself."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            time.sleep(0.15)
            yield batch


@pytest.mark.parametrize("progress", [False, None])
def test_no_bar(tiny, stripes, progress, capfd):
    trainer_for(tiny(), progress=progress).fit(DataLoader(stripes(8), 4))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_bar_that_is_never_moved_can_be_closed():
    Bar(3, None).close()
    Bar(3, False).close()
